//! `convirt transfer`: compares image encoders on labelled images.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use convirt::scores::Bootstrap;
use convirt::transfer::{EncoderSource, Transfer, TransferConfig, TransferMode};

use crate::arguments::{
    ComputeArguments, LabelledArguments, Output, OverwriteArguments, ResultsArguments, run_folder,
};
use crate::program::{Ending, Misuse};

/// Train and score classifiers on image encoders, by linear probes or fine-tuning
#[derive(Args)]
#[command(after_help = "Examples:
  convirt transfer --encoder runs/2026-01-16_02-27-36_phantom --encoder random:resnet18 --encoder pixels \\
      --csv labels.csv --label-col label --group-col patient
  convirt transfer --encoder model.pth --csv train.csv --image-col Path --label-cols Edema,Consolidation \\
      --uncertain ones --split-col split --mode fine-tune --fractions 0.1

Without a split column, the test images are those that the pretraining of an encoder held out, if it
knows the images; otherwise a share of the groups is the test set (--test-size). If a split column has no
test rows, the valid rows are the test set. Ctrl-C ends it with the results so far.")]
pub struct Arguments {
    /// Run, weights file or name on the Hugging Face hub; or imagenet[:DEPTH], random[:DEPTH],
    /// pixels[:SIDE]; may be given several times to compare encoders
    #[arg(
        long = "encoder",
        alias = "run",
        value_name = "ENCODER",
        required = true
    )]
    encoders: Vec<EncoderSource>,

    /// Prefix of the encoder's tensor names, for a weights file with several encoders
    #[arg(long, value_name = "PREFIX")]
    weights_prefix: Option<String>,

    #[command(flatten)]
    labelled: LabelledArguments,

    /// Share of the groups held out for the test, without a split column; by default 0.2, or the
    /// images that the pretraining of an encoder held out
    #[arg(long, value_name = "SHARE", conflicts_with = "split_col")]
    test_size: Option<f64>,

    /// What is trained: linear (only the head) or fine-tune (encoder and head)
    #[arg(long, value_name = "MODE", default_value = "linear")]
    mode: TransferMode,

    /// Fractions of the training images to learn from
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "0.01,0.1,1"
    )]
    fractions: Vec<f64>,

    /// Number of runs for each fraction
    #[arg(long, value_name = "N", default_value_t = 5)]
    seeds: usize,

    /// Seed of the first run and of the split
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Side of the inputs, in pixels; by default, the size that the run was trained on, or 224
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<usize>,

    /// Number of images in a batch
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch_size: usize,

    /// Number of bootstrap resamples for the 95 % intervals
    #[arg(long, value_name = "N", default_value_t = 1000)]
    resamples: usize,

    /// Maximum number of epochs of a fine-tuning; 100 by default
    #[arg(long, value_name = "N")]
    max_epochs: Option<usize>,

    #[command(flatten)]
    compute: ComputeArguments,

    /// Folder for transfer.json and a classifier of each encoder
    #[arg(long, value_name = "DIR", default_value = "transfer")]
    out: PathBuf,

    #[command(flatten)]
    overwrite: OverwriteArguments,

    #[command(flatten)]
    results: ResultsArguments,
}

pub fn run(arguments: Arguments) -> Result<Ending> {
    let results = arguments.results.begin();
    let data = arguments.labelled.config()?;
    let data = data.context("no labels: give --csv with --label-col or --label-cols")?;
    let encoders = arguments.encoders.iter().map(ToString::to_string);
    let inputs = encoders.map(|encoder| run_folder(encoder.as_ref()));
    let inputs = inputs.chain([data.csv_file.clone()]);
    let out = arguments.out;
    arguments.overwrite.check(Output::Folder(&out), inputs)?;
    let mut config = TransferConfig {
        weights_prefix: arguments.weights_prefix,
        mode: arguments.mode,
        fractions: arguments.fractions,
        runs: arguments.seeds,
        seed: arguments.seed,
        test_size: arguments.test_size,
        image_size: arguments.image_size,
        batch_size: arguments.batch_size,
        bootstrap: Bootstrap {
            resamples: arguments.resamples,
            seed: arguments.seed,
        },
        device: arguments.compute.device.device,
        precision: arguments.compute.precision,
        ..TransferConfig::new(arguments.encoders, data)
    };
    if let Some(max_epochs) = arguments.max_epochs {
        if config.mode == TransferMode::LinearProbe {
            let problem = "--max-epochs has an effect with --mode fine-tune only";
            return Err(Misuse(problem.to_string()).into());
        }
        config.fine_tune.max_epochs = max_epochs;
    }

    let transfer = Transfer::prepare(config)?.stopping_on_signals();
    results.announce(&transfer);
    let report = transfer.run()?;
    results.print(&report)?;
    report.save(&out)?;
    results.announce(format_args!(
        "written: {}",
        out.join("transfer.json").display()
    ));
    for kept in &report.classifiers {
        let path = out.join("classifiers").join(&kept.folder);
        let is_best = report.best().is_some_and(|(_, best)| best.row == kept.row);
        let best = if is_best { " (best in validation)" } else { "" };
        results.announce(format_args!("classifier: {}{best}", path.display()));
    }
    Ok(if report.interrupted {
        Ending::Interrupted
    } else {
        Ending::Done
    })
}
