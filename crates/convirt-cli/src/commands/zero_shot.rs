//! `convirt zero-shot`: classes told by prompts alone.

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

/// Classify images by prompts, without training; scored where labels are given
#[derive(Args)]
#[command(after_help = "Prompts are YAML, some for each class:

  Pneumonia:
    positive: [Findings suggesting pneumonia., There is focal consolidation.]
    negative: [No evidence of pneumonia.]

Without `negative` classes exclude each other.

Examples:
  convirt zero-shot RUN --prompts prompts.yaml chest.png more/
  convirt zero-shot RUN --prompts prompts.yaml --csv labels.csv --label-col label --group-col patient
  convirt zero-shot RUN --prompts prompts.yaml --csv labels.csv --label-col label --split-col split

With a split column the images of the test are told, or of the validation where there is no test.")]
pub struct Arguments {
    /// Run, model folder, or checkpoint (checkpoint/model-<step>.bpk)
    run: PathBuf,

    /// Images, or folders of them
    #[arg(conflicts_with = "csv")]
    images: Vec<PathBuf>,

    /// What is said of each class
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,

    #[command(flatten)]
    labelled: LabelledArguments,

    /// Rows of this side of the split instead: train, valid or test
    #[arg(long, value_name = "SIDE", requires = "split_col")]
    split: Option<Split>,

    /// Images in a batch
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch_size: usize,

    #[command(flatten)]
    compute: ComputeArguments,

    /// CSV for the probabilities of each image
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
        keep_side(&mut manifest.images, arguments.split)?;
    }
    let mut images = Vec::new();
    match &manifest {
        Some(manifest) => images.extend(manifest.images.iter().map(|image| image.image.clone())),
        None => {
            for path in arguments.images {
                if path.is_dir() {
                    images.extend(images_below(&path)?)
                } else {
                    images.push(path)
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

/// Keeps the images of a side of the split, if there is one: the side that was asked for, or else
/// the test, or the validation where no row is of the test.
fn keep_side(images: &mut Vec<LabelledImage>, asked: Option<Split>) -> Result<()> {
    let has = |side: Split| images.iter().any(|image| image.split == Some(side));
    if images.iter().all(|image| image.split.is_none()) {
        ensure!(asked.is_none(), "the split column marks no row as a side");
        return Ok(());
    }
    let side = match asked {
        Some(side) => side,
        None if has(Split::Test) => Split::Test,
        None => Split::Valid,
    };
    ensure!(has(side), "the split column marks no row as {side}");
    images.retain(|image| image.split == Some(side));
    info!("{} images of the side {side}", images.len());
    Ok(())
}
