//! `convirt zero-shot`: classifies images by prompts.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::Args;
use convirt::Model;
use convirt::data::{LabelledImage, LabelledManifest, LoaderConfig, Split, path_text};
use convirt::run::RowChoice;
use convirt::scores::Bootstrap;
use convirt::zero_shot::{ZeroShot, ZeroShotPrompts};
use log::info;
use serde_json::json;

use crate::arguments::{
    ComputeArguments, LabelledArguments, Output, OverwriteArguments, ResultsArguments, choose_rows,
    images_below, run_folder,
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

With a split column, the test rows are classified, or the valid rows if there are no test rows. Without
one, of images that the run knows those that it held out are classified. --split chooses others.")]
pub struct Arguments {
    /// Run (a path, a name in `runs` or its beginning, or `latest`), model folder, checkpoint
    /// (checkpoint/model-<step>.bpk), or a model on the Hugging Face hub (owner/name)
    run: PathBuf,

    /// Images, or folders of them
    #[arg(conflicts_with = "csv")]
    images: Vec<PathBuf>,

    /// YAML file with the prompts of each class
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,

    #[command(flatten)]
    labelled: LabelledArguments,

    /// Rows to classify: train, valid, test, or all
    #[arg(long, value_name = "SPLIT", requires = "csv")]
    split: Option<RowChoice>,

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
    let max_bad_share = arguments.labelled.max_bad_share;
    let config = arguments.labelled.config()?;
    let csv = config.iter().map(|config| config.csv_file.clone());
    let inputs = csv.chain([run_folder(&arguments.run), arguments.prompts.clone()]);
    let output = Output::File(&arguments.out);
    arguments.overwrite.check(output, inputs)?;
    let manifest = config.as_ref().map(LabelledManifest::read);
    let mut manifest = manifest.transpose()?;
    if let (Some(manifest), Some(config)) = (&mut manifest, &config) {
        let images = std::mem::take(&mut manifest.images);
        let has_column = config.split.is_some();
        let choice = match arguments.split {
            Some(choice) => choice,
            None if has_column => held_out_side(&images)?,
            None => RowChoice::HeldOut,
        };
        manifest.images =
            choose_rows(&config.csv_file, images, choice, has_column, &arguments.run)?;
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
    arguments.overwrite.check(output, &images)?;

    let prompts = ZeroShotPrompts::from_file(&arguments.prompts)?;
    let devices = arguments.compute.find_devices()?;
    let model = Model::load_on(&arguments.run, devices.device())?;
    let model = model.with_precision(arguments.compute.precision);
    let model = model.with_assistants(devices);
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

/// Returns the held-out side of a split column: test, or valid if there are no test rows.
fn held_out_side(images: &[LabelledImage]) -> Result<RowChoice> {
    let has = |split: Split| images.iter().any(|image| image.split == Some(split));
    let side = [Split::Test, Split::Valid]
        .into_iter()
        .find(|side| has(*side));
    if side.is_none() {
        ensure!(
            !has(Split::Train),
            "the split column has train rows only; --split chooses them"
        );
    }
    Ok(side.map_or(RowChoice::All, RowChoice::Side))
}
