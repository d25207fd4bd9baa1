//! Makes pairs of OpenI, the chest X-rays of Indiana University.
//!
//! `cargo run --release --example prepare_openi -- --root DIR --out DIR` reads the XML reports
//! below a folder, shrinks the images beside them and writes one manifest that `train_mimic` reads.

#[path = "prepare/made.rs"]
mod made;
#[path = "terminal/progress.rs"]
mod progress;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use convirt::data::{OpenIConfig, PreparedImages, SplitConfig};
use progress::ProgressBars;

/// Makes pairs of OpenI: XML reports with PNG, JPEG or DICOM images.
#[derive(Parser)]
#[command(after_help = "Examples:
  prepare_openi --root data/openi --out data/openi_pairs
  prepare_openi --root NLMCXR_reports --out data/openi_texts --no-images

Reports without findings and impression are left out, as are images that are missing or broken;
all are counted. Run again after an interruption: images that are there are kept.")]
struct Arguments {
    /// Folder with the reports and the images, at any depth
    #[arg(long, value_name = "DIR")]
    root: PathBuf,

    /// Folder to write into: pairs.csv and images/
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Longer side of the images written, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = PreparedImages::default().longer_side)]
    longer_side: usize,

    /// Write no images: the manifest names those below --root, whether they are there or not
    #[arg(long)]
    no_images: bool,

    /// Share of the pairs to hold out, by report; 0 leaves it to the training
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    valid_size: f64,

    /// Seed of that choice
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let images = PreparedImages {
        longer_side: arguments.longer_side,
        ..PreparedImages::default()
    };
    let split = SplitConfig {
        valid_size: arguments.valid_size,
        seed: arguments.seed,
    };
    let config = OpenIConfig {
        images: (!arguments.no_images).then_some(images),
        split: (arguments.valid_size != 0.0).then_some(split),
        ..OpenIConfig::new(arguments.root, arguments.out)
    };
    let bars = ProgressBars::default();
    let prepared = config.prepare(|progress| bars.show(progress))?;
    drop(bars);
    made::print(&prepared);
    Ok(())
}
