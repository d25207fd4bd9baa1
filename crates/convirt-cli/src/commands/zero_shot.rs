//! `convirt zero-shot`: classifies images by prompts.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::Args;
use convirt::Model;
use convirt::data::{LabelledImage, LabelledManifest, LoaderConfig, Split, path_text};
use convirt::scores::Bootstrap;
use convirt::zero_shot::{ZeroShot, ZeroShotPrompts};
use log::info;
use serde_json::json;

use crate::arguments::{
    ComputeArguments, LabelledArguments, OverwriteArguments, ResultsArguments, images_below,
};
use crate::program::Ending;

/// Classify images by prompts, without training; with labels, score the predictions
#[derive(Args)]
#[command(after_help = "The prompts are a YAML file:

  Pneumonia:
    positive: [Findings suggesting pneumonia., There is focal consolidation.]
    negative: [No evidence of pneumonia.]

Without `negative` prompts, the classes exclude each other.

Examples:
  convirt zero-shot RUN --prompts prompts.yaml chest.png more/
  convirt zero-shot RUN --prompts prompts.yaml --csv labels.csv --label-col label --group-col patient
  convirt zero-shot RUN --prompts prompts.yaml --csv labels.csv --label-col label --split-col split

With a split column, the test rows are classified, or the valid rows if there are no test rows.")]
pub struct Arguments {
    /// Run, model folder, or checkpoint (checkpoint/model-<step>.bpk)
    run: PathBuf,

    /// Images, or folders of them
    #[arg(conflicts_with = "csv")]
    images: Vec<PathBuf>,

    /// YAML file with the prompts of each class
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,

    #[command(flatten)]
    labelled: LabelledArguments,

    /// Classify the rows of this split instead: train, valid or test
    #[arg(long, value_name = "SPLIT", requires = "split_col")]
    split: Option<Split>,

    /// Number of images in a batch
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch_size: usize,

    #[command(flatten)]
    compute: ComputeArguments,

    /// CSV file to write, with the probabilities of each image
    #[arg(long, value_name = "FILE", default_value = "zero_shot.csv")]
    out: PathBuf,

    #[command(flatten)]
    overwrite: OverwriteArguments,

    #[command(flatten)]
    results: ResultsArguments,
}

pub fn run(arguments: Arguments) -> Result<Ending> {
    let results = arguments.results.begin();
    arguments.overwrite.check(&arguments.out)?;
    let max_bad_share = arguments.labelled.max_bad_share;
    let manifest = arguments.labelled.config()?;
    let manifest = manifest.map(|config| LabelledManifest::read(&config));
    let mut manifest = manifest.transpose()?;
    if let Some(manifest) = &mut manifest {
        select_split(&mut manifest.images, arguments.split)?;
    }
    let mut images = Vec::new();
    match &manifest {
        Some(manifest) => images.extend(manifest.images.iter().map(|image| image.image.clone())),
        None => {
            for path in arguments.images {
                if path.is_dir() {
                    images.extend(images_below(&path)?);
                } else {
                    images.push(path);
                }
            }
        }
    }
    if images.is_empty() {
        bail!("no images: give some, or a --csv of them with labels");
    }

    let prompts = ZeroShotPrompts::from_file(&arguments.prompts)?;
    let device = arguments.compute.find_device()?;
    let model = Model::load_on(&arguments.run, &device)?;
    let model = model.with_precision(arguments.compute.precision)?;
    let zero_shot = ZeroShot::new(&model, &prompts)?;
    if let Some(manifest) = &manifest {
        zero_shot.check(&manifest.labels)?;
    }
    let loader = LoaderConfig {
        batch_size: arguments.batch_size,
        ..LoaderConfig::default()
    };
    let predictions = zero_shot.predict(&images, &loader, max_bad_share)?;
    for image in &predictions.unreadable {
        info!("left out: {image}");
    }
    let score = |manifest| zero_shot.score(&predictions, manifest, &Bootstrap::default());
    let scores = manifest.as_ref().map(score).transpose()?;
    predictions.write_csv(&images, &arguments.out)?;
    let written = format!("written: {}", arguments.out.display());
    let text = match &scores {
        Some(scores) => format!("{scores}\n{written}"),
        None => written,
    };
    let unreadable = predictions.unreadable.iter().map(ToString::to_string);
    let document = json!({
        "out": path_text(&arguments.out),
        "images": predictions.indices.len(),
        "unreadable": unreadable.collect::<Vec<_>>(),
        "classes": predictions.classes,
        "scores": scores,
    });
    results.print_as(text, document)?;
    Ok(Ending::Done)
}

/// Selects the images of a split, if there is a split column: the requested split, or else the test
/// images, or the validation images if there is no test.
fn select_split(images: &mut Vec<LabelledImage>, requested: Option<Split>) -> Result<()> {
    let has = |split: Split| images.iter().any(|image| image.split == Some(split));
    if images.iter().all(|image| image.split.is_none()) {
        ensure!(
            requested.is_none(),
            "the split column assigns no row to a split"
        );
        return Ok(());
    }
    let split = match requested {
        Some(split) => split,
        None if has(Split::Test) => Split::Test,
        None => Split::Valid,
    };
    ensure!(has(split), "the split column marks no row as {split}");
    images.retain(|image| image.split == Some(split));
    info!("{} images of the split {split}", images.len());
    Ok(())
}
