//! `convirt prepare mimic`: prepares MIMIC-CXR or MIMIC-CXR-JPG.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use convirt::data::{MimicConfig, MimicSplit, SplitConfig};

use super::{finish, view_filter};
use crate::arguments::{ImageArguments, ResultsArguments};
use crate::program::{Ending, ProgressBars};

/// Prepare MIMIC-CXR (DICOM) or MIMIC-CXR-JPG, as PhysioNet distributes them
#[derive(Args)]
#[command(after_help = "Examples:
  convirt prepare mimic --root mimic-cxr-jpg/2.1.0 --reports mimic-cxr-reports.zip --out data/mimic
  convirt prepare mimic --root mimic-cxr/2.1.0 --tables mimic-cxr-jpg/2.1.0 --out data/mimic
  convirt prepare mimic --root mimic-cxr/2.1.0 --split patient --out data/mimic

Views come from the metadata table or, without it, from the DICOM files. The text is made of the
findings and the impression, or of the last paragraph if a report has neither. Omissions are counted
by reason. After an interruption, run the command again: existing images are kept.")]
pub struct Arguments {
    /// Folder with files/p10/p10000032/s50414267/*.jpg or *.dcm
    #[arg(long, value_name = "DIR")]
    root: PathBuf,

    /// Folder to write into: pairs.csv and images/
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Reports, as zip or folder; by default mimic-cxr-reports.zip in --root, or --root itself
    #[arg(long, value_name = "PATH")]
    reports: Option<PathBuf>,

    /// Folder with the tables (metadata, split, chexpert, negbio); --root by default
    #[arg(long, value_name = "DIR")]
    tables: Option<PathBuf>,

    /// Views to select, separated by commas, or all
    #[arg(long, value_name = "VIEWS", value_delimiter = ',', default_values = ["PA", "AP"])]
    views: Vec<String>,

    /// Split to write
    #[arg(long, value_enum, default_value_t = SplitSource::Official)]
    split: SplitSource,

    /// Share of the pairs to hold out with --split patient
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    valid_size: f64,

    /// Seed of the split by patient
    #[arg(long, default_value_t = 0)]
    seed: u64,

    #[command(flatten)]
    images: ImageArguments,

    #[command(flatten)]
    results: ResultsArguments,
}

#[derive(Clone, Copy, ValueEnum)]
enum SplitSource {
    /// The data set's own train, validate and test
    Official,
    /// Training and validation pairs drawn at random by patient
    Patient,
}

pub fn run(arguments: Arguments) -> Result<Ending> {
    let results = arguments.results.begin();
    let config = MimicConfig {
        tables: arguments.tables,
        reports: arguments.reports,
        views: view_filter(arguments.views),
        split: match arguments.split {
            SplitSource::Official => MimicSplit::Official,
            SplitSource::Patient => MimicSplit::ByPatient(SplitConfig {
                valid_size: arguments.valid_size,
                seed: arguments.seed,
            }),
        },
        images: arguments.images.config(),
        ..MimicConfig::new(arguments.root, arguments.out)
    };
    let bars = ProgressBars::default();
    let prepared = config.prepare(|progress| bars.show(progress))?;
    drop(bars);
    finish(results, &prepared)
}
