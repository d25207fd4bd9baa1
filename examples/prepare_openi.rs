//! Makes pairs of OpenI, the chest X-rays of Indiana University.
//!
//! `cargo run --release --example prepare_openi -- --root DIR --out DIR` reads the XML reports of a
//! folder or an archive, shrinks the images and writes one manifest that `train_mimic` reads.

#[path = "prepare/images.rs"]
mod images;
#[path = "prepare/made.rs"]
mod made;
#[path = "program/program.rs"]
mod program;
#[path = "terminal/progress.rs"]
mod progress;
#[path = "prepare/views.rs"]
mod views;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use convirt::data::{OpenIConfig, SplitConfig};
use images::Images;
use program::Ending;
use progress::ProgressBars;

/// Makes pairs of OpenI: XML reports with PNG, JPEG or DICOM images.
#[derive(Parser)]
#[command(after_help = "Examples:
  prepare_openi --root NLMCXR_png --reports NLMCXR_reports.tgz --out data/openi
  prepare_openi --root NLMCXR_dcm --reports NLMCXR_reports.tgz --views PA,AP --out data/openi

Reports without findings and impression are left out, as are images that are missing or broken;
all are counted. DICOM files tell their view, in most cases; PNG files and reports do not, so that
with --views only images count whose DICOM file is below --root. Run again after an interruption:
images that are there are kept.")]
struct Arguments {
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

    /// Views to take, separated by commas, or all
    #[arg(
        long,
        value_name = "VIEWS",
        value_delimiter = ',',
        default_value = "all"
    )]
    views: Vec<String>,

    #[command(flatten)]
    images: Images,

    /// Share of the pairs to hold out, by report; 0 leaves it to the training
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    valid_size: f64,

    /// Seed of that choice
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn main() -> ExitCode {
    program::run(|| prepare(Arguments::parse()))
}

fn prepare(arguments: Arguments) -> Result<Ending> {
    let split = SplitConfig {
        valid_size: arguments.valid_size,
        seed: arguments.seed,
    };
    let config = OpenIConfig {
        reports: arguments.reports,
        views: views::chosen(arguments.views),
        images: arguments.images.prepared(),
        split: (arguments.valid_size != 0.0).then_some(split),
        ..OpenIConfig::new(arguments.root, arguments.out)
    };
    let bars = ProgressBars::default();
    let prepared = config.prepare(|progress| bars.show(progress))?;
    drop(bars);
    made::print(&prepared);
    Ok(Ending::Done)
}
