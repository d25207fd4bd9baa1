//! How images and texts are fed to a model, and what of them was left out.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use anyhow::Result;
use clap::Args;
use convirt::data::{ImageFiles, LoaderConfig, Unreadable};
use log::info;

/// Images left out that are named.
const SHOWN: usize = 10;

#[derive(Args)]
pub struct LoaderArguments {
    /// Images or texts embedded at once
    #[arg(long, value_name = "N", default_value_t = LoaderConfig::default().batch_size)]
    batch_size: usize,

    /// Threads that read images; as many as there are cores by default
    #[arg(long, value_name = "N")]
    workers: Option<usize>,

    /// Share of images or rows that may be unreadable, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    pub max_bad_share: f64,
}

impl LoaderArguments {
    /// Returns what they say.
    pub fn config(&self) -> LoaderConfig {
        let cores = || available_parallelism().map_or(1, NonZero::get);
        LoaderConfig {
            batch_size: self.batch_size,
            num_workers: self.workers.unwrap_or_else(cores),
            ..LoaderConfig::default()
        }
    }
}

/// Lists the images of a folder and those below it, and tells what else is there.
pub fn images_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let found = ImageFiles::below(folder)?;
    if found.passed_over.total() > 0 {
        info!("{}: {}", folder.display(), found.passed_over);
    }
    Ok(found.images)
}

/// Tells which images were left out.
pub fn tell_unreadable(unreadable: &[Unreadable]) {
    if unreadable.is_empty() {
        return;
    }
    info!("left out {} unreadable images:", unreadable.len());
    for image in unreadable.iter().take(SHOWN) {
        info!("  {image}");
    }
    if unreadable.len() > SHOWN {
        info!("  and {} more", unreadable.len() - SHOWN);
    }
}
