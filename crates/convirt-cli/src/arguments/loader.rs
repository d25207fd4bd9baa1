//! The options for loading images and texts, and the list of the images left out.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use anyhow::Result;
use clap::Args;
use convirt::data::{ImageFiles, LoaderConfig, Unreadable};
use log::info;

/// Maximum number of images left out that are listed.
const MAX_LISTED: usize = 10;

#[derive(Args)]
pub struct LoaderArguments {
    /// Number of images or texts in a batch
    #[arg(long, value_name = "N", default_value_t = LoaderConfig::default().batch_size)]
    batch_size: usize,

    /// Number of threads that read images; by default, the number of cores
    #[arg(long, value_name = "N")]
    workers: Option<usize>,

    /// Share of unreadable images or rows that is accepted, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    pub max_bad_share: f64,
}

impl LoaderArguments {
    /// Returns the loader's settings.
    pub fn config(&self) -> LoaderConfig {
        let cores = || available_parallelism().map_or(1, NonZero::get);
        LoaderConfig {
            batch_size: self.batch_size,
            num_workers: self.workers.unwrap_or_else(cores),
            ..LoaderConfig::default()
        }
    }
}

/// Lists the images in a folder and its subfolders, and logs what other files there are.
pub fn images_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let files = ImageFiles::below(folder)?;
    if files.passed_over.total() > 0 {
        info!("{}: {}", folder.display(), files.passed_over);
    }
    Ok(files.images)
}

/// Logs which images were left out.
pub fn print_unreadable(unreadable: &[Unreadable]) {
    if unreadable.is_empty() {
        return;
    }
    info!("left out {} unreadable images:", unreadable.len());
    for image in unreadable.iter().take(MAX_LISTED) {
        info!("  {image}");
    }
    if unreadable.len() > MAX_LISTED {
        info!("  and {} more", unreadable.len() - MAX_LISTED);
    }
}
