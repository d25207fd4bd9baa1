//! The options for the columns and rows of a manifest.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::Args;
use convirt::data::{Column, Manifest, ManifestConfig, Split, Study};
use log::{info, warn};

use crate::program::Misuse;

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

    /// Folder that relative image paths start from; by default, the folder of the manifest
    #[arg(long, value_name = "DIR")]
    image_root: Option<PathBuf>,

    /// Folder that relative text paths start from; by default, the folder of the manifest
    #[arg(long, value_name = "DIR", requires = "text_from_files")]
    text_root: Option<PathBuf>,

    /// Use only the rows of this split: train, valid or test
    #[arg(long, value_name = "SPLIT", requires = "split_col")]
    pub split: Option<Split>,

    /// Column of the split
    #[arg(long, value_name = "COLUMN", requires = "split")]
    split_col: Option<String>,
}

impl ManifestArguments {
    /// Checks that no option for a manifest is given without one.
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

    /// Reads the rows of a manifest. Without `with_texts`, rows without a text are read as well.
    pub fn studies(&self, csv: &Path, with_texts: bool, max_bad_share: f64) -> Result<Vec<Study>> {
        if !with_texts && (self.text_col.is_some() || self.text_from_files) {
            warn!("--text-col and --text-from-files have no effect: no texts are read");
        }
        let manifest = Manifest::read(&ManifestConfig {
            img_root_dir: self.image_root.clone(),
            text_root_dir: self.text_root.clone(),
            text_from_files: self.text_from_files,
            image: column(self.image_col.as_deref().unwrap_or("image")),
            text: with_texts.then(|| column(self.text_col.as_deref().unwrap_or("text"))),
            split: self.split_col.as_deref().map(column),
            // Even the shortest text is embedded.
            min_words: 0,
            max_bad_share,
            ..ManifestConfig::new(csv)
        })?;
        if !manifest.skips.list().is_empty() {
            info!("{}", manifest.skips);
        }
        let mut studies = manifest.studies;
        if let Some(side) = self.split {
            studies.retain(|study| study.split == Some(side));
            ensure!(
                !studies.is_empty(),
                "{}: no row is in the split {}",
                csv.display(),
                side.name()
            );
        }
        Ok(studies)
    }
}

fn column(name: &str) -> Column {
    match name.parse() {
        Ok(position) => Column::Position(position),
        Err(_) => Column::Name(name.to_string()),
    }
}
