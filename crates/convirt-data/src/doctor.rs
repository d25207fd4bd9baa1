//! What is wrong with a data set, found before a run instead of in it.
//!
//! First each row, with its text, and each image is looked at by itself; then groups, texts and
//! images are compared. Besides the table, which stays in memory, a row and an image leave some
//! 100 bytes, however many pixels they have.

mod error;
mod finding;
mod diagnosis;
mod encoding;
mod identifiers;
mod texts;
mod tokens;
mod views;
mod metadata;
mod likeness;
mod image_look;
mod compared;
mod rows;
mod sides;
mod cleaned;

use std::collections::BTreeMap;
use std::path::PathBuf;

use rayon::prelude::*;

use crate::image::{Fault, Radiograph, Thumbnail, probe_image};
use crate::manifest::{Cells, ManifestConfig, ManifestError, RowReader, Split, SplitConfig, Table};
use crate::progress::{Progress, Stage, Steps};
use finding::Ledger;
use image_look::{ImageFacts, ImageReader};
use likeness::Likener;
use views::view_column;

pub use cleaned::Cleaned;
pub use diagnosis::{DataCounts, Diagnosis};
pub use error::DoctorError;
pub use finding::{Finding, FindingKind, Findings, Severity};
pub use tokens::TokenCheck;

/// Rows or images looked at before what was found is put in order.
const AT_ONCE: usize = 1024;

/// Images that a finding shows.
const IMAGES_SHOWN: usize = 3;

/// What to examine, and how a run would read it.
#[derive(Debug, Clone)]
pub struct DoctorConfig {
    /// The CSV and its columns. Its `max_bad_share` is of no account here.
    pub manifest: ManifestConfig,
    /// How pairs are divided where no column does it.
    pub split: SplitConfig,
    /// Side of the network's input, in pixels.
    pub image_size: usize,
    /// Whether texts are read whole, in training or in evaluation, and not sentence by sentence.
    pub whole_reports: bool,
    /// Pairs in a batch; a validation set with fewer is told of.
    pub batch_size: usize,
    /// How tokens are counted.
    pub tokens: TokenCheck,
}

/// An examination under way.
struct Examination<'a> {
    config: &'a DoctorConfig,
    table: &'a Table,
    reader: &'a RowReader<'a>,
    rows: Vec<Row>,
    /// What is known of each image file that can be read.
    image_facts: Vec<Option<ImageFacts>>,
    ledger: Ledger,
    /// Rows that a cleaned manifest leaves out, by number, and why.
    removed: BTreeMap<usize, FindingKind>,
    unchecked: Vec<String>,
}

/// What is kept of a row. Names and texts are hashes.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// Position of its image file.
    image: Option<u32>,
    group: u64,
    text: u64,
    side: Option<Split>,
    /// Whether a run takes it in when it reads the manifest.
    is_read: bool,
    /// Whether a run can train on it.
    is_usable: bool,
}

impl DoctorConfig {
    /// Divides a tenth of the pairs of `manifest` off, reads whole reports into an input of 224
    /// pixels, in batches of at least 2, and counts no tokens.
    pub fn new(manifest: ManifestConfig) -> Self {
        Self {
            manifest,
            split: SplitConfig {
                valid_size: 0.1,
                seed: 0,
            },
            image_size: 224,
            whole_reports: true,
            batch_size: 2,
            tokens: TokenCheck::Off {
                reason: "no text encoder was named".into(),
            },
        }
    }

    /// Reads the CSV, all texts and all images, on all cores, and tells what is wrong with them.
    ///
    /// No row, text or image ends the examination: what cannot be read is a finding.
    ///
    /// # Errors
    ///
    /// - `FileError::Read`, `TableError::Csv`, `TableError::UnclosedQuote`,
    ///   `TableError::NoHeader`, [`ManifestError::DataInHeader`], `TableError::HeaderNotUtf8`,
    ///   `FileError::NotUtf8`, `TableError::AmbiguousSeparator`: no such CSV
    /// - [`ManifestError::MissingColumn`], [`ManifestError::AmbiguousColumn`],
    ///   [`ManifestError::ColumnOutOfRange`]: no such column
    /// - `SettingError::OutOfRange`: `valid_size` is not between 0 and 1
    pub fn examine(&self, progress: impl Fn(Progress) + Sync) -> Result<Diagnosis, ManifestError> {
        let table = Table::read(&self.manifest.csv_file)?;
        let reader = RowReader::new(&self.manifest, &table.header)?;
        reader.check_header(&table.header)?;
        let mut examination = Examination {
            config: self,
            table: &table,
            reader: &reader,
            rows: Vec::with_capacity(table.rows.len()),
            image_facts: Vec::new(),
            ledger: Ledger::default(),
            removed: BTreeMap::new(),
            unchecked: Vec::new(),
        };
        examination.look_at_rows(&progress);
        examination.look_at_images(&progress);
        let are_drawn = examination.divide()?;
        examination.compare_groups(are_drawn);
        examination.compare_texts();
        examination.look_for_contrast();
        examination.compare_images(are_drawn);
        examination.count_tokens(&progress);
        examination.give_up_unusable();

        let counts = examination.counts();
        let mut findings = std::mem::take(&mut examination.ledger).finish();
        findings
            .par_iter_mut()
            .flat_map(|findings| &mut findings.examples)
            .for_each(|finding| finding.thumbnails = examination.thumbnails(&finding.rows));
        let Examination {
            removed, unchecked, ..
        } = examination;
        drop(reader);
        Ok(Diagnosis {
            counts,
            findings,
            unchecked,
            config: self.manifest.clone(),
            removed,
            table,
        })
    }
}

impl Examination<'_> {
    /// Decodes each image file once.
    fn look_at_images(&mut self, progress: &(impl Fn(Progress) + Sync)) {
        let reader = ImageReader {
            limits: &self.config.manifest.limits,
            input_size: self.config.image_size,
            asks_for_views: view_column(&self.table.header).is_none(),
            likener: Likener::new(),
        };
        // Images are numbered in the order of their first rows.
        let by_image = self.rows_alike(|row| row.image.map(u64::from));
        let steps = Steps::new(Stage::Images, by_image.len(), progress);
        for images in by_image.chunks(AT_ONCE) {
            let looks: Vec<_> = images
                .par_iter()
                .map(|rows| {
                    let path = self.cells(rows[0]).map(|cells| cells.image);
                    let path = path.unwrap_or_default();
                    let look = reader.look(&path);
                    let is_read = look.is_ok() || probe_image(&path, reader.limits).is_ok();
                    steps.one_more();
                    (path, look, is_read)
                })
                .collect();
            for (rows, (path, look, is_read)) in images.iter().zip(looks) {
                let (facts, complaints) = match look {
                    Ok(look) => (Some(look.facts), look.complaints),
                    Err((reason, detail)) => {
                        let kind = FindingKind::Unusable(reason);
                        (None, vec![(kind, detail)])
                    }
                };
                for &row in rows {
                    self.rows[row].is_read &= is_read;
                    self.rows[row].is_usable &= facts.is_some();
                }
                for (kind, detail) in complaints {
                    self.add(kind, rows, || (vec![path.clone()], detail));
                }
                self.image_facts.push(facts);
            }
        }
    }

    /// Takes the cells of a row, by position.
    fn cells(&self, row: usize) -> Result<Cells, Fault> {
        self.reader.cells(&self.table.rows[row])
    }

    /// Takes the text of a row, by position; none where images are alone.
    fn text(&self, row: usize) -> Result<String, Fault> {
        Ok(self.reader.text(&self.cells(row)?)?.unwrap_or_default())
    }

    /// Gathers the positions of rows that share a key, in the order of their first rows; rows
    /// without a key are left out.
    fn rows_alike(&self, key: impl Fn(&Row) -> Option<u64>) -> Vec<Vec<usize>> {
        let keyed = self.rows.iter().enumerate();
        let mut sorted: Vec<_> = keyed
            .filter_map(|(at, row)| Some((key(row)?, at)))
            .collect();
        sorted.sort_unstable();
        let sets = sorted.chunk_by(|a, b| a.0 == b.0);
        let sets = sets.map(|set| set.iter().map(|&(_, row)| row).collect());
        let mut sets: Vec<Vec<usize>> = sets.collect();
        sets.sort_unstable_by_key(|rows| rows[0]);
        sets
    }

    /// Adds a finding about rows, by position.
    fn add(
        &mut self,
        kind: FindingKind,
        rows: &[usize],
        describe: impl FnOnce() -> (Vec<PathBuf>, String),
    ) {
        let numbers: Vec<_> = rows.iter().map(|row| row + 1).collect();
        self.ledger.add(kind, &numbers, describe);
    }

    /// Makes small copies of the first images of rows, by number, as far as they can be read.
    fn thumbnails(&self, rows: &[usize]) -> Vec<Thumbnail> {
        let mut paths: Vec<PathBuf> = Vec::new();
        for row in rows {
            if let Ok(cells) = self.cells(row - 1)
                && !paths.contains(&cells.image)
            {
                paths.push(cells.image);
            }
        }
        let images = paths.iter().take(IMAGES_SHOWN);
        images
            .filter_map(|path| {
                let limits = &self.config.manifest.limits;
                Radiograph::read_within(path, Thumbnail::LONGER_SIDE, limits).ok()
            })
            .map(|image| Thumbnail::new(&image))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    mod faults;
}
