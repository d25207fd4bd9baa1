//! `convirt prepare openi`: prepares OpenI, the chest X-rays of Indiana University.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use convirt::data::{OpenIConfig, SplitConfig};

use super::{finish, view_filter};
use crate::arguments::{ImageArguments, ResultsArguments};
use crate::program::{Ending, ProgressBars};

/// Prepare OpenI of Indiana University: XML reports with PNG, JPEG or DICOM images
#[derive(Args)]
#[command(after_help = "Examples:
  convirt prepare openi --root NLMCXR_png --reports NLMCXR_reports.tgz --out data/openi
  convirt prepare openi --root NLMCXR_dcm --reports NLMCXR_reports.tgz --views PA,AP --out data/openi

Reports without findings and impression are left out, and so are missing or broken images; all are
counted. Most DICOM files contain their view, but PNG files and reports do not: with --views, only
images whose DICOM file is below --root are selected. After an interruption, run the command again:
existing images are kept.")]
pub struct Arguments {
    /// Folder with the images, at any depth
    #[arg(long, value_name = "DIR")]
    root: PathBuf,

    /// Reports, as .tgz, .tar or folder; by default the XML files below --root, or else
    /// NLMCXR_reports.tgz in it
    #[arg(long, value_name = "PATH")]
    reports: Option<PathBuf>,

    /// Folder to write into: pairs.csv and images/
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Views to select, separated by commas, or all
    #[arg(
        long,
        value_name = "VIEWS",
        value_delimiter = ',',
        default_value = "all"
    )]
    views: Vec<String>,

    #[command(flatten)]
    images: ImageArguments,

    /// Share of the pairs to hold out, by report; with 0, the training splits them
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    valid_size: f64,

    /// Seed of the split
    #[arg(long, default_value_t = 0)]
    seed: u64,

    #[command(flatten)]
    results: ResultsArguments,
}

pub fn run(arguments: Arguments) -> Result<Ending> {
    let results = arguments.results.begin();
    let split = SplitConfig {
        valid_size: arguments.valid_size,
        seed: arguments.seed,
    };
    let config = OpenIConfig {
        reports: arguments.reports,
        views: view_filter(arguments.views),
        images: arguments.images.config(),
        split: (arguments.valid_size != 0.0).then_some(split),
        ..OpenIConfig::new(arguments.root, arguments.out)
    };
    let bars = ProgressBars::default();
    let prepared = config.prepare(|progress| bars.show(progress))?;
    drop(bars);
    finish(results, &prepared)
}
