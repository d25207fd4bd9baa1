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

/// The model, and how it is fed.
#[derive(Args)]
pub struct ModelArguments {
    /// Run, model folder, or checkpoint (checkpoint/model-<step>.bpk)
    #[arg(long)]
    run: PathBuf,

    #[command(flatten)]
    compute: ComputeArguments,

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
    /// Column of the image paths, by name or by position from 0
    #[arg(long, value_name = "COLUMN", default_value = "image")]
    image_col: String,

    /// Column of the texts
    #[arg(long, value_name = "COLUMN", default_value = "text")]
    text_col: String,

    /// The text column holds paths of text files
    #[arg(long)]
    text_from_files: bool,

    /// Folder that relative image paths start from; that of the manifest by default
    #[arg(long, value_name = "DIR")]
    image_root: Option<PathBuf>,

    /// Folder that relative text paths start from; that of the manifest by default
    #[arg(long, value_name = "DIR")]
    text_root: Option<PathBuf>,

    /// Rows of this side of the split only: train, valid or test
    #[arg(long, value_name = "SIDE", requires = "split_col")]
    split: Option<Split>,

    /// Column of the split
    #[arg(long, value_name = "COLUMN")]
    split_col: Option<String>,
}

impl ModelArguments {
    /// Finds the device, and says what multiplies there and how.
    pub fn device(&self) -> Result<Device> {
        let device = device(self.compute.device.as_deref())?;
        eprint!("{}", describe_device(&device, self.compute.precision));
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

    pub fn loader(&self) -> LoaderConfig {
        let cores = || available_parallelism().map_or(1, NonZero::get);
        LoaderConfig {
            batch_size: self.batch_size,
            num_workers: self.workers.unwrap_or_else(cores),
            ..LoaderConfig::default()
        }
    }
}

impl ManifestArguments {
    /// Reads the rows; without texts, those that lack one count as well.
    pub fn studies(&self, csv: &Path, with_texts: bool, max_bad_share: f64) -> Result<Vec<Study>> {
        let manifest = Manifest::read(&ManifestConfig {
            img_root_dir: self.image_root.clone(),
            text_root_dir: self.text_root.clone(),
            text_from_files: self.text_from_files,
            image: column(&self.image_col),
            text: with_texts.then(|| column(&self.text_col)),
            split: self.split_col.as_deref().map(column),
            // Whatever was written is embedded.
            min_words: 0,
            max_bad_share,
            ..ManifestConfig::new(csv)
        })?;
        if !manifest.skips.list().is_empty() {
            eprintln!("{}", manifest.skips);
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
        eprintln!("{}: {}", folder.display(), found.passed_over);
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

/// Tells which images were left out.
pub fn tell_unreadable(unreadable: &[Unreadable]) {
    if unreadable.is_empty() {
        return;
    }
    eprintln!("left out {} unreadable images:", unreadable.len());
    for image in unreadable.iter().take(10) {
        eprintln!("  {image}");
    }
    if unreadable.len() > 10 {
        eprintln!("  and {} more", unreadable.len() - 10);
    }
}
