//! The doctor: finds problems of a data set before a run.
//!
//! First, each row with its text and each image is examined by itself. Then groups, texts and
//! images are compared. The table stays in memory; each row and each image need about 100 bytes
//! more, whatever the size of the images.

mod error;
mod finding;
mod diagnosis;
mod texts;
mod tokens;
mod views;
mod image_check;
mod duplicates;
mod rows;
mod sides;
mod cleaned;

use std::collections::BTreeMap;
use std::path::PathBuf;

use rayon::prelude::*;

use crate::image::{Fault, Radiograph, Thumbnail, probe_image};
use crate::manifest::{Cells, ManifestConfig, ManifestError, RowReader, Split, SplitConfig, Table};
use crate::progress::{Progress, Stage, Steps};
use finding::{Ledger, Problem};
use image_check::{ImageChecker, ImageFacts, PerceptualHasher};
use views::view_column;

pub use cleaned::Cleaned;
pub use diagnosis::{DataCounts, Diagnosis};
pub use error::DoctorError;
pub use finding::{Finding, FindingKind, Findings, Severity};
pub use tokens::TokenCheck;

/// Rows or images examined in parallel before their findings are collected in order.
const CHUNK_SIZE: usize = 1024;

/// Images shown for a finding.
const IMAGES_SHOWN: usize = 3;

/// Texts shown for a finding.
const TEXTS_SHOWN: usize = 3;

/// Configures the examination of a data set.
///
/// # Examples
///
/// ```
/// use convirt_data::{DoctorConfig, FindingKind, ManifestConfig, SkipReason};
///
/// # let folder = tempfile::tempdir()?;
/// let csv = folder.path().join("pairs.csv");
/// std::fs::write(&csv, "image,text\nmissing.png,The lungs are clear.\n")?;
/// let diagnosis = DoctorConfig::new(ManifestConfig::new(&csv)).examine(|_| ())?;
/// let missing = diagnosis.get(FindingKind::Unusable(SkipReason::MissingImage)).unwrap();
/// assert!(missing.rows.contains(&1));
/// assert_eq!(diagnosis.counts().usable, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct DoctorConfig {
    /// The CSV and its columns; `max_bad_share` is ignored.
    pub manifest: ManifestConfig,
    /// [`PairColumns::remarks`](crate::PairColumns::remarks) of columns that were recognized; each is
    /// a finding.
    pub column_remarks: Vec<String>,
    /// How validation is drawn if no row is marked for it.
    pub split: SplitConfig,
    /// Side of the network's input, in pixels.
    pub image_size: usize,
    /// Whether training or evaluation reads whole texts instead of sentences.
    pub whole_reports: bool,
    /// Pairs in a batch; a smaller validation set is a finding.
    pub batch_size: usize,
    /// Whether and how tokens are counted.
    pub tokens: TokenCheck,
}

/// The state of an examination.
struct Examination<'a> {
    config: &'a DoctorConfig,
    table: &'a Table,
    reader: &'a RowReader<'a>,
    rows: Vec<Row>,
    /// Facts about each image file; `None` if it cannot be read.
    image_facts: Vec<Option<ImageFacts>>,
    ledger: Ledger,
    /// Rows that a cleaned manifest leaves out, by number, with the reason.
    removed: BTreeMap<usize, FindingKind>,
    unchecked: Vec<String>,
}

/// The stored facts of a row; group and text are hashes.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// Number of its image file.
    image: Option<u32>,
    group: u64,
    text: u64,
    side: Option<Split>,
    /// Whether [`Manifest::read`](crate::Manifest::read) would accept the row.
    is_read: bool,
    /// Whether a run can train on it.
    is_usable: bool,
}

impl DoctorConfig {
    /// Assumes a validation set of a tenth of the pairs, an input of 224 pixels, whole reports and
    /// batches of at least 2, and counts no tokens.
    pub fn new(manifest: ManifestConfig) -> Self {
        Self {
            manifest,
            column_remarks: Vec::new(),
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

    /// Examines the CSV, all texts and all images, on all cores.
    ///
    /// Rows, texts or images that cannot be read are findings and do not end the examination.
    ///
    /// # Errors
    ///
    /// - `FileError::Read`, `TableError::Csv`, `TableError::UnclosedQuote`,
    ///   `TableError::NoHeader`, [`ManifestError::DataInHeader`], `TableError::HeaderNotUtf8`,
    ///   `FileError::NotUtf8`, `TableError::AmbiguousSeparator`: the CSV cannot be read
    /// - [`ManifestError::MissingColumn`], [`ManifestError::AmbiguousColumn`],
    ///   [`ManifestError::ColumnOutOfRange`]: a column does not exist
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
        examination.check_rows(&progress);
        examination.check_images(&progress);
        examination.check_columns();
        let is_drawn = examination.draw_valid()?;
        examination.compare_texts();
        examination.check_contrast();
        examination.compare_images(is_drawn);
        examination.count_tokens(&progress);
        examination.remove_unusable();

        let counts = examination.counts();
        let mut findings = std::mem::take(&mut examination.ledger).finish();
        findings
            .par_iter_mut()
            .flat_map(|findings| &mut findings.examples)
            .for_each(|finding| {
                finding.thumbnails = examination.thumbnails(&finding.rows);
                if finding.kind.is_about_texts() {
                    finding.texts = examination.texts_shown(&finding.rows);
                }
            });
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
    fn check_images(&mut self, progress: &(impl Fn(Progress) + Sync)) {
        let checker = ImageChecker {
            limits: &self.config.manifest.limits,
            input_size: self.config.image_size,
            reads_view: view_column(&self.table.header).is_none(),
            hasher: PerceptualHasher::new(),
        };
        // Images are numbered in the order of their first rows.
        let by_image = self.rows_by_key(|row| row.image.map(u64::from));
        let steps = Steps::new(Stage::Images, by_image.len(), progress);
        for images in by_image.chunks(CHUNK_SIZE) {
            let results: Vec<_> = images
                .par_iter()
                .map(|rows| {
                    let path = self.cells(rows[0]).map(|cells| cells.image);
                    let path = path.unwrap_or_default();
                    let result = checker.check(&path);
                    let is_read = result.is_ok() || probe_image(&path, checker.limits).is_ok();
                    steps.one_more();
                    (path, result, is_read)
                })
                .collect();
            for (rows, (path, result, is_read)) in images.iter().zip(results) {
                let (facts, problems) = match result {
                    Ok(check) => (Some(check.facts), check.problems),
                    Err((reason, detail)) => {
                        let kind = FindingKind::Unusable(reason);
                        (None, vec![Problem::new(kind, detail)])
                    }
                };
                for &row in rows {
                    self.rows[row].is_read &= is_read;
                    self.rows[row].is_usable &= facts.is_some();
                }
                for problem in problems {
                    self.add(rows, problem, || vec![path.clone()]);
                }
                self.image_facts.push(facts);
            }
        }
    }

    /// Returns the cells of a row, by position.
    fn cells(&self, row: usize) -> Result<Cells, Fault> {
        self.reader.cells(&self.table.rows[row])
    }

    /// Returns the text of a row, by position; empty without a text column.
    fn text(&self, row: usize) -> Result<String, Fault> {
        Ok(self.reader.text(&self.cells(row)?)?.unwrap_or_default())
    }

    /// Groups the positions of rows by key, in the order of their first rows; rows without a key
    /// are left out.
    fn rows_by_key(&self, key: impl Fn(&Row) -> Option<u64>) -> Vec<Vec<usize>> {
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
    fn add(&mut self, rows: &[usize], problem: Problem, files: impl FnOnce() -> Vec<PathBuf>) {
        let numbers: Vec<_> = rows.iter().map(|row| row + 1).collect();
        self.ledger.add(&numbers, problem, files);
    }

    /// Returns the first distinct texts of rows, by number, as a finding may show them.
    fn texts_shown(&self, rows: &[usize]) -> Vec<String> {
        let mut shown = Vec::new();
        for text in rows.iter().filter_map(|row| self.text(row - 1).ok()) {
            let text = texts::shown(&text);
            if shown.len() < TEXTS_SHOWN && !text.is_empty() && !shown.contains(&text) {
                shown.push(text);
            }
        }
        shown
    }

    /// Makes thumbnails of the first readable images of rows, by number.
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
