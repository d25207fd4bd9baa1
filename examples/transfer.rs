//! Compares image encoders on labelled images: `cargo run --release --example transfer -- --help`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{ArgGroup, Parser};
use convirt::data::{BlankPolicy, Column, LabelColumns, LabelledConfig, UncertainPolicy};
use convirt::{Bootstrap, EncoderSource, Transfer, TransferConfig, TransferMode};

/// Trains classifiers on image encoders and scores them: linear probes, or fine-tuning.
#[derive(Parser)]
#[command(
    group(ArgGroup::new("labels").required(true).args(["label_col", "label_cols"])),
    after_help = "Examples:
  transfer --encoder runs/2026-01-16_02-27-36_phantom --encoder random:resnet18 --encoder pixels \\
      --csv labels.csv --label-col label --group-col patient
  transfer --encoder model.pth --csv train.csv --image-col Path --label-cols Edema,Consolidation \\
      --uncertain ones --split-col split --mode fine-tune --fractions 0.1

Ctrl-C ends it with what has been done."
)]
struct Arguments {
    /// Run, file of weights or name on the Hugging Face hub; or imagenet[:DEPTH], random[:DEPTH],
    /// pixels[:SIDE]; several are compared
    #[arg(long = "encoder", value_name = "ENCODER", required = true)]
    encoders: Vec<EncoderSource>,

    /// CSV of images and labels, with a header
    #[arg(long, value_name = "FILE")]
    csv: PathBuf,

    /// Folder that image paths start from; that of the CSV by default
    #[arg(long, value_name = "DIR")]
    image_root: Option<PathBuf>,

    /// Column of the image path
    #[arg(long, value_name = "NAME", default_value = "image")]
    image_col: String,

    /// Column with the name of a class in each row
    #[arg(long, value_name = "NAME")]
    label_col: Option<String>,

    /// Of two classes, the positive one; the last by name by default
    #[arg(long, value_name = "CLASS", requires = "label_col")]
    positive: Option<String>,

    /// Columns of 1, 0, -1 (uncertain) or nothing, one a finding
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    label_cols: Option<Vec<String>>,

    /// What -1 counts as: ones, zeros, or ignore
    #[arg(long, value_name = "POLICY", default_value = "ignore")]
    uncertain: UncertainPolicy,

    /// What an empty cell counts as: zeros (not mentioned, as in CheXpert), or ignore
    #[arg(long, value_name = "POLICY", default_value = "zeros")]
    blank: BlankPolicy,

    /// Column of what is never divided, such as the patient
    #[arg(long, value_name = "NAME")]
    group_col: Option<String>,

    /// Column of train, valid and test; without one a share of the groups is the test
    #[arg(long, value_name = "NAME")]
    split_col: Option<String>,

    /// Share of the groups held out for the test where there is no split column
    #[arg(long, value_name = "SHARE", default_value_t = 0.2)]
    test_size: f64,

    /// Share of bad rows that is borne
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    max_bad_share: f64,

    /// What is trained: linear (the head) or fine-tune (all)
    #[arg(long, value_name = "MODE", default_value = "linear")]
    mode: TransferMode,

    /// Parts of the training images to learn from
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "0.01,0.1,1"
    )]
    fractions: Vec<f64>,

    /// Runs of each fraction
    #[arg(long, value_name = "N", default_value_t = 5)]
    seeds: usize,

    /// Seed of the first run and of the division
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Side of the inputs in pixels; that of the runs, or else 224, by default
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<usize>,

    /// Images in a batch
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch_size: usize,

    /// Tests drawn anew for the 95 % intervals
    #[arg(long, value_name = "N", default_value_t = 1000)]
    resamples: usize,

    /// Epochs of a fine-tuning at the most
    #[arg(long, value_name = "N")]
    max_epochs: Option<usize>,

    /// Device to compute on (flex, cuda, cuda:1, vulkan, ...); the best one of this build by default
    #[arg(long, value_name = "NAME")]
    device: Option<String>,

    /// Folder for transfer.json and the best classifier
    #[arg(long, value_name = "DIR", default_value = "transfer")]
    out: PathBuf,
}

impl Arguments {
    fn config(self) -> TransferConfig {
        let labels = match self.label_col {
            Some(column) => LabelColumns::Class {
                column: Column::Name(column),
                positive: self.positive,
            },
            None => LabelColumns::Findings {
                columns: self
                    .label_cols
                    .into_iter()
                    .flatten()
                    .map(Column::Name)
                    .collect(),
                uncertain: self.uncertain,
                blank: self.blank,
            },
        };
        let data = LabelledConfig {
            img_root_dir: self.image_root,
            image: Column::Name(self.image_col),
            group: self.group_col.map(Column::Name),
            split: self.split_col.map(Column::Name),
            max_bad_share: self.max_bad_share,
            ..LabelledConfig::new(self.csv, labels)
        };
        let mut config = TransferConfig {
            mode: self.mode,
            fractions: self.fractions,
            runs: self.seeds,
            seed: self.seed,
            test_size: self.test_size,
            image_size: self.image_size,
            batch_size: self.batch_size,
            bootstrap: Bootstrap {
                resamples: self.resamples,
                seed: self.seed,
            },
            device: self.device,
            ..TransferConfig::new(self.encoders, data)
        };
        if let Some(max_epochs) = self.max_epochs {
            config.fine_tune.max_epochs = max_epochs;
        }
        config
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let out = arguments.out.clone();
    let transfer = Transfer::prepare(arguments.config()).context("the comparison cannot begin")?;
    println!("{transfer}");
    let report = transfer.run()?;
    println!("{report}");
    report.save(&out)?;
    println!("written: {}", out.join("transfer.json").display());
    if report.best().is_some() {
        println!("classifier: {}", out.join("classifier").display());
    }
    Ok(())
}
