//! The options for the columns and rows of a manifest.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::Args;
use convirt::Config;
use convirt::data::{Choice, Column, ColumnChoices, Grouped, Manifest, ManifestConfig, Study};
use convirt::run::{RowChoice, RunSplit};
use log::{info, warn};

use crate::program::Misuse;

#[derive(Args)]
pub struct ManifestArguments {
    /// Column of the image paths, by name or by position from 0; recognized by default
    #[arg(long, value_name = "COLUMN")]
    image_col: Option<String>,

    /// Column of the texts or of their paths; recognized by default
    #[arg(long, value_name = "COLUMN")]
    text_col: Option<String>,

    /// The text column holds paths of text files; recognized by default
    #[arg(long)]
    text_from_files: bool,

    /// Folder that relative image paths start from; by default, the folder of the manifest
    #[arg(long, value_name = "DIR")]
    image_root: Option<PathBuf>,

    /// Folder that relative text paths start from; by default, the folder of the manifest
    #[arg(long, value_name = "DIR")]
    text_root: Option<PathBuf>,

    /// Let the manifest name files outside of its own folder and of the folders above
    #[arg(long)]
    allow_outside_roots: bool,

    /// Rows to use: train, valid, test, or all
    #[arg(long, value_name = "SPLIT")]
    split: Option<RowChoice>,

    /// Column of the split; by default, the sides on which the run had the images count, or a
    /// recognized column if the run does not know them
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
            (self.allow_outside_roots, "--allow-outside-roots"),
            (self.split_col.is_some(), "--split-col"),
            (self.split.is_some(), "--split"),
        ] {
            if is_given {
                let problem = format!("{option} has an effect with --manifest only");
                return Err(Misuse(problem));
            }
        }
        Ok(())
    }

    /// Reads the rows of a manifest, and chooses those of `--split`: by default `default` of the
    /// sides on which the run had the images. Without `with_texts`, rows without a text are read as
    /// well.
    pub fn studies(
        &self,
        csv: &Path,
        with_texts: bool,
        max_bad_share: f64,
        run: &Path,
        default: RowChoice,
    ) -> Result<Vec<Study>> {
        if !with_texts && (self.text_col.is_some() || self.text_from_files) {
            warn!("--text-col and --text-from-files have no effect: no texts are read");
        }
        let given = |name: &Option<String>| name.as_deref().map(column);
        let choices = ColumnChoices {
            img_root_dir: self.image_root.clone(),
            text_root_dir: self.text_root.clone(),
            allow_outside_roots: self.allow_outside_roots,
            image: given(&self.image_col).map_or(Choice::Auto, Choice::Given),
            text: match given(&self.text_col) {
                _ if !with_texts => Choice::Given(None),
                None => Choice::Auto,
                column => Choice::Given(column),
            },
            text_from_files: if self.text_from_files {
                Choice::Given(true)
            } else {
                Choice::Auto
            },
            group: Choice::Given(None),
            split: match (&self.split_col, self.split) {
                (Some(name), _) => Choice::Given(Some(column(name))),
                (None, Some(RowChoice::Side(_))) => Choice::Auto,
                (None, _) => Choice::Given(None),
            },
            ..ColumnChoices::new(csv)
        };
        let columns = choices.recognize()?;
        let manifest = Manifest::read(&ManifestConfig {
            img_root_dir: self.image_root.clone(),
            text_root_dir: self.text_root.clone(),
            allow_outside_roots: self.allow_outside_roots,
            // Even the shortest text is embedded.
            min_words: 0,
            max_bad_share,
            ..ManifestConfig::with_columns(csv, &columns)
        })?;
        if !manifest.skips.list().is_empty() {
            info!("{}", manifest.skips);
        }
        let choice = self.split.unwrap_or(default);
        choose_rows(csv, manifest.studies, choice, self.split_col.is_some(), run)
    }
}

/// Chooses rows by the sides on which the run had their images. The split column counts instead if
/// it was given, or if the run knows none of the images. Logs which rows are used, and warns of
/// those that were trained on.
pub fn choose_rows<T: Grouped>(
    csv: &Path,
    mut rows: Vec<T>,
    choice: RowChoice,
    by_column: bool,
    run: &Path,
) -> Result<Vec<T>> {
    let name = csv.display();
    let record = RunSplit::load(run)?;
    let total = rows.len();
    let is_known = |record: &&RunSplit| record.count(&rows).iter().any(|known| *known > 0);
    match (record.as_ref().filter(is_known), choice) {
        (Some(record), _) if !by_column => {
            let selection = record.select(rows, choice);
            ensure!(
                !selection.rows.is_empty(),
                "{name}: no row to use: {selection}; choose others with --split"
            );
            info!("{name}: {selection}");
            rows = selection.rows;
        }
        (_, RowChoice::Side(side)) => {
            rows.retain(|row| row.side() == Some(side));
            let hint = if by_column {
                ""
            } else {
                ": the run does not know its images, and no split column was recognized \
                 (--split-col names one)"
            };
            ensure!(
                !rows.is_empty(),
                "{name}: no row is in the split {side}{hint}"
            );
            info!("{name}: {} of {total} rows: the split {side}", rows.len());
        }
        (_, RowChoice::HeldOut | RowChoice::All) => {}
    }
    match record {
        Some(record) => {
            let run = record.run();
            let known: usize = record.count(&rows).iter().sum();
            let (trained, rows) = (record.trained(&rows), rows.len());
            if trained > 0 {
                warn!("{name}: {trained} of these {rows} rows were trained on by the run {run}");
            }
            if known < rows {
                warn!(
                    "{name}: {} of these {rows} images have a content that the run {run} does not \
                     know; if they are its training images in other files, or other images of their \
                     patients, what is measured on them is too good",
                    rows - known
                );
            }
        }
        None if was_trained_on(run, csv) => warn!(
            "{name}: the run was trained on rows of it, and has no record of which; these may \
             include them"
        ),
        None => warn!(
            "{name}: this model has no record of what it was trained on; if these rows are \
             among it, what is measured on them is too good"
        ),
    }
    Ok(rows)
}

/// Returns whether the run's own configuration names this manifest.
fn was_trained_on(run: &Path, manifest: &Path) -> bool {
    let is_same = || {
        // Its other files may be gone.
        let config = Config::from_written(&run.join("config.yaml"), &[]).ok()?;
        let csv = config.dataset.csv_file;
        Some(csv.canonicalize().ok()? == manifest.canonicalize().ok()?)
    };
    is_same().unwrap_or(false)
}

fn column(name: &str) -> Column {
    match name.parse() {
        Ok(position) => Column::Position(position),
        Err(_) => Column::Name(name.to_string()),
    }
}
