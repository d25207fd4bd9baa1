//! What the programs that embed have in common to be told.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use anyhow::{Result, ensure};
use burn::tensor::Device;
use clap::Args;
use convirt::data::{
    Column, ImageFiles, LoaderConfig, Manifest, ManifestConfig, Split, Study, Unreadable,
};
use convirt::{ConVirt, ImageTower, TowerOutput, describe_device, device};

use crate::compute::ComputeArguments;
use crate::program::{Misuse, tell};

/// The model, and how it is fed.
#[derive(Args)]
pub struct ModelArguments {
    /// Run, model folder, or checkpoint (checkpoint/model-<step>.bpk)
    #[arg(long)]
    pub run: PathBuf,

    #[command(flatten)]
    compute: ComputeArguments,
}

/// How images and texts are fed to it.
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

/// Which columns and rows of a manifest are meant.
#[derive(Args)]
pub struct ManifestArguments {
    /// Column of the image paths, by name or by position from 0; `image` by default
    #[arg(long, value_name = "COLUMN")]
    image_col: Option<String>,

    /// Column of the texts; `text` by default
    #[arg(long, value_name = "COLUMN")]
    text_col: Option<String>,

    /// The text column holds paths of text files
    #[arg(long)]
    text_from_files: bool,

    /// Folder that relative image paths start from; that of the manifest by default
    #[arg(long, value_name = "DIR")]
    image_root: Option<PathBuf>,

    /// Folder that relative text paths start from; that of the manifest by default
    #[arg(long, value_name = "DIR", requires = "text_from_files")]
    text_root: Option<PathBuf>,

    /// Rows of this side of the split only: train, valid or test
    #[arg(long, value_name = "SIDE", requires = "split_col")]
    pub split: Option<Split>,

    /// Column of the split
    #[arg(long, value_name = "COLUMN", requires = "split")]
    split_col: Option<String>,
}

impl ModelArguments {
    /// Finds the device, and says what multiplies there and how.
    pub fn device(&self) -> Result<Device> {
        let device = device(self.compute.device.as_deref())?;
        tell(describe_device(&device, self.compute.precision).trim_end());
        Ok(device)
    }

    /// Loads the image side of the model.
    pub fn image_tower(&self, device: &Device) -> Result<ImageTower> {
        let tower = ImageTower::load_on(&self.run, device)?;
        Ok(tower.with_precision(self.compute.precision)?)
    }

    /// Loads both sides of the model.
    pub fn convirt(&self, device: &Device) -> Result<ConVirt> {
        let model = ConVirt::load_on(&self.run, device)?;
        Ok(model.with_precision(self.compute.precision)?)
    }
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

impl ManifestArguments {
    /// Checks that no option speaks of a manifest where there is none.
    #[allow(dead_code, reason = "an evaluation always has a manifest")]
    pub fn check_unused(&self) -> Result<(), Misuse> {
        for (is_given, option) in [
            (self.image_col.is_some(), "--image-col"),
            (self.text_col.is_some(), "--text-col"),
            (self.text_from_files, "--text-from-files"),
            (self.image_root.is_some(), "--image-root"),
            (self.text_root.is_some(), "--text-root"),
            (self.split_col.is_some(), "--split-col"),
        ] {
            if is_given {
                let problem = format!("{option} has an effect with --manifest only");
                return Err(Misuse(problem));
            }
        }
        Ok(())
    }

    /// Reads the rows; without texts, those that lack one count as well.
    pub fn studies(&self, csv: &Path, with_texts: bool, max_bad_share: f64) -> Result<Vec<Study>> {
        if !with_texts && (self.text_col.is_some() || self.text_from_files) {
            tell("warning: --text-col and --text-from-files have no effect: no texts are read");
        }
        let manifest = Manifest::read(&ManifestConfig {
            img_root_dir: self.image_root.clone(),
            text_root_dir: self.text_root.clone(),
            text_from_files: self.text_from_files,
            image: column(self.image_col.as_deref().unwrap_or("image")),
            text: with_texts.then(|| column(self.text_col.as_deref().unwrap_or("text"))),
            split: self.split_col.as_deref().map(column),
            // Whatever was written is embedded.
            min_words: 0,
            max_bad_share,
            ..ManifestConfig::new(csv)
        })?;
        if !manifest.skips.list().is_empty() {
            tell(&manifest.skips);
        }
        let mut studies = manifest.studies;
        if let Some(side) = self.split {
            studies.retain(|study| study.split == Some(side));
            ensure!(
                !studies.is_empty(),
                "{}: no row is of the side {}",
                csv.display(),
                side.name()
            );
        }
        Ok(studies)
    }
}

/// Lists the images of a folder, and tells what else is there.
pub fn images_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let found = ImageFiles::below(folder)?;
    if found.passed_over.total() > 0 {
        tell(format_args!("{}: {}", folder.display(), found.passed_over));
    }
    Ok(found.images)
}

/// What `--features` asks for.
pub fn output(features: bool) -> TowerOutput {
    match features {
        true => TowerOutput::Features,
        false => TowerOutput::Embedding,
    }
}

fn column(name: &str) -> Column {
    match name.parse() {
        Ok(position) => Column::Position(position),
        Err(_) => Column::Name(name.to_string()),
    }
}

/// Images left out that are named.
const SHOWN: usize = 10;

/// Tells which images were left out.
pub fn tell_unreadable(unreadable: &[Unreadable]) {
    if unreadable.is_empty() {
        return;
    }
    tell(format_args!(
        "left out {} unreadable images:",
        unreadable.len()
    ));
    for image in unreadable.iter().take(SHOWN) {
        tell(format_args!("  {image}"));
    }
    if unreadable.len() > SHOWN {
        tell(format_args!("  and {} more", unreadable.len() - SHOWN));
    }
}
