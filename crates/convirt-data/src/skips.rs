//! The list of skipped rows with their reasons, shared by the manifest and the loader.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::files::{beginning, path_text, printable, shown};

/// Examples shown in an error, and for each reason in a summary.
const EXAMPLES: usize = 5;

/// Longest path that is shown whole, in characters.
const LONGEST_SHOWN: usize = 300;

/// Why a row was skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SkipReason {
    /// The row has more or fewer cells than the header.
    RaggedRow,
    /// A required cell is empty.
    EmptyCell,
    /// A cell or a text file is not UTF-8.
    NotUtf8,
    /// A path leads outside of the folders that the table may read from. Only the doctor lists it;
    /// reading a manifest stops there.
    OutsideRoots,
    /// The image file does not exist.
    MissingImage,
    /// The image file is empty or cannot be decoded.
    UnreadableImage,
    /// The text file does not exist.
    MissingText,
    /// The text file cannot be read.
    UnreadableText,
    /// The text file contains only whitespace.
    EmptyText,
    /// No sentence of the text has enough words. The paper drops such texts too (Zhang et al. 2022,
    /// section 4.1), so this does not count as bad input.
    TooShort,
    /// Every label of the row is unknown. This follows from the policies for uncertain and blank
    /// labels and does not count as bad input.
    Unlabelled,
}

/// A skipped row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// The file at fault: the image, the text file, or the CSV itself.
    pub file: PathBuf,
    /// Row of the CSV, counted like [`Study::row`](crate::Study::row).
    pub row: usize,
    /// Why.
    pub reason: SkipReason,
    /// What is wrong in detail; may be empty.
    pub detail: String,
}

/// The skipped rows of a CSV, and a limit on the fraction of bad input.
///
/// Workers share it behind an `Arc`. Each row is listed once, with the first reason given.
///
/// # Examples
///
/// ```
/// use convirt_data::{Skip, SkipReason, Skips};
///
/// let skips = Skips::new("pairs.csv", 200, 0.01);
/// let missing = |row| Skip {
///     file: format!("images/{row}.png").into(),
///     row,
///     reason: SkipReason::MissingImage,
///     detail: String::new(),
/// };
/// // 1 % of 200 rows are 2: the third missing image is an error.
/// assert!(skips.record(missing(3)).is_ok());
/// assert!(skips.record(missing(8)).is_ok());
/// assert_eq!(skips.record(missing(9)).unwrap_err().bad_rows, 3);
/// assert_eq!(skips.counts()[&SkipReason::MissingImage], 3);
/// ```
#[derive(Debug)]
pub struct Skips {
    manifest: PathBuf,
    rows: usize,
    max_bad_share: f64,
    ledger: Mutex<Ledger>,
}

/// Too many rows are bad input.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}: {bad_rows} of {rows} rows are bad input ({:.2} %), more than \
     `max_bad_share` = {max_bad_share} allows; mend the data or raise that share. \
     The first: {}",
    shown(manifest), 100.0 * *bad_rows as f64 / (*rows).max(1) as f64, listed(first)
)]
pub struct TooManyBadRows {
    /// The CSV.
    pub manifest: PathBuf,
    /// Bad rows so far.
    pub bad_rows: usize,
    /// Rows of the CSV.
    pub rows: usize,
    /// Largest tolerated fraction of bad rows, from 0 to 1.
    pub max_bad_share: f64,
    /// The first few bad rows, in the order of the CSV.
    pub first: Vec<Skip>,
}

#[derive(Debug, Default)]
struct Ledger {
    by_row: BTreeMap<usize, Skip>,
    bad_rows: usize,
}

impl SkipReason {
    /// Whether the row counts as bad input, of which only a fraction is tolerated.
    pub fn is_bad_input(self) -> bool {
        !matches!(self, Self::TooShort | Self::Unlabelled)
    }
}

impl Skips {
    /// Starts an empty list for the CSV `manifest`, which has `rows` rows.
    ///
    /// `max_bad_share` is the largest tolerated fraction of bad rows, from 0 to 1.
    pub fn new(manifest: impl Into<PathBuf>, rows: usize, max_bad_share: f64) -> Self {
        Self {
            manifest: manifest.into(),
            rows,
            max_bad_share,
            ledger: Mutex::default(),
        }
    }

    /// Adds `skip`, unless its row is listed already.
    ///
    /// # Errors
    ///
    /// [`TooManyBadRows`] while the fraction of bad rows exceeds `max_bad_share`.
    pub fn record(&self, skip: Skip) -> Result<(), TooManyBadRows> {
        let mut ledger = self.lock();
        if let Entry::Vacant(entry) = ledger.by_row.entry(skip.row) {
            let is_bad = skip.reason.is_bad_input();
            entry.insert(skip);
            ledger.bad_rows += usize::from(is_bad);
        }
        self.check(&ledger)
    }

    /// Returns the path of the CSV.
    pub fn manifest(&self) -> &Path {
        &self.manifest
    }

    /// Returns the number of rows of the CSV, used or not.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the skipped rows, in the order of the CSV.
    pub fn list(&self) -> Vec<Skip> {
        self.lock().by_row.values().cloned().collect()
    }

    /// Counts the skipped rows by reason; reasons without a row are absent.
    pub fn counts(&self) -> BTreeMap<SkipReason, usize> {
        let mut counts = BTreeMap::new();
        for skip in self.lock().by_row.values() {
            *counts.entry(skip.reason).or_default() += 1;
        }
        counts
    }

    /// Counts the rows that were skipped as bad input.
    pub fn bad_rows(&self) -> usize {
        self.lock().bad_rows
    }

    fn check(&self, ledger: &Ledger) -> Result<(), TooManyBadRows> {
        let Ledger { by_row, bad_rows } = ledger;
        if *bad_rows as f64 <= self.max_bad_share * self.rows as f64 {
            return Ok(());
        }
        let bad = by_row.values().filter(|skip| skip.reason.is_bad_input());
        Err(TooManyBadRows {
            manifest: self.manifest.clone(),
            bad_rows: *bad_rows,
            rows: self.rows,
            max_bad_share: self.max_bad_share,
            first: bad.take(EXAMPLES).cloned().collect(),
        })
    }

    // Nothing panics while the lock is held, so the data behind a poisoned lock is intact.
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listed(skips: &[Skip]) -> String {
    let skips: Vec<_> = skips.iter().map(Skip::to_string).collect();
    skips.join("; ")
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::RaggedRow => "ragged row",
            Self::EmptyCell => "empty cell",
            Self::NotUtf8 => "not UTF-8",
            Self::OutsideRoots => "path outside of the roots",
            Self::MissingImage => "missing image",
            Self::UnreadableImage => "unreadable image",
            Self::MissingText => "missing text",
            Self::UnreadableText => "unreadable text",
            Self::EmptyText => "empty text",
            Self::TooShort => "text too short",
            Self::Unlabelled => "no known label",
        })
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            row,
            reason,
            detail,
        } = self;
        write!(f, "row {row}: {}: {reason}", excerpt(file))?;
        if !detail.is_empty() {
            write!(f, " ({})", printable(detail))?;
        }
        Ok(())
    }
}

/// Shows the beginning of a path: a cell with a whole report may have been taken for one.
fn excerpt(path: &Path) -> impl fmt::Display {
    printable(beginning(&path_text(path), LONGEST_SHOWN).into_owned())
}

/// A summary for the end of a run: a total, then each reason with its first few rows.
impl fmt::Display for Skips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skips = self.list();
        let csv = printable(path_text(&self.manifest));
        write!(f, "{csv}: left out {} of {} rows", skips.len(), self.rows)?;
        for (reason, count) in self.counts() {
            write!(f, "\n  {reason}: {count}")?;
            let of_reason = skips.iter().filter(|skip| skip.reason == reason);
            for skip in of_reason.take(EXAMPLES) {
                write!(f, "\n    row {}: {}", skip.row, excerpt(&skip.file))?;
                if !skip.detail.is_empty() {
                    write!(f, " ({})", printable(&skip.detail))?;
                }
            }
            if count > EXAMPLES {
                write!(f, "\n    and {} more", count - EXAMPLES)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    fn skip(row: usize, reason: SkipReason) -> Skip {
        Skip {
            file: format!("images/{row}.png").into(),
            row,
            reason,
            detail: "0 bytes".into(),
        }
    }

    #[test]
    fn bad_rows_are_tolerated_up_to_the_share_exactly() {
        let skips = Skips::new("pairs.csv", 200, 0.01);
        skips.record(skip(1, SkipReason::MissingImage)).unwrap();
        skips.record(skip(2, SkipReason::EmptyText)).unwrap();
        let error = skips.record(skip(9, SkipReason::NotUtf8)).unwrap_err();
        let message = error.to_string();
        for fact in [
            "pairs.csv",
            "3 of 200 rows",
            "1.50 %",
            "`max_bad_share` = 0.01",
            "row 9: images/9.png: not UTF-8 (0 bytes)",
        ] {
            assert!(message.contains(fact), "`{fact}` in {message}");
        }
    }

    #[test]
    fn a_report_taken_for_a_path_is_not_shown_whole() {
        let file = "images/FINDINGS: No pleural effusion. ".repeat(40);
        let skip = Skip {
            file: file.clone().into(),
            ..skip(1, SkipReason::MissingImage)
        };
        let skips = Skips::new("pairs.csv", 1, 0.0);
        let error = skips.record(skip).unwrap_err();
        for text in [error.to_string(), skips.to_string()] {
            assert!(text.contains(&file[..300]) && text.len() < 600, "{text}");
        }
    }

    #[test]
    fn a_row_counts_once_with_its_first_reason() {
        let skips = Skips::new("pairs.csv", 100, 0.01);
        for reason in [SkipReason::MissingImage, SkipReason::EmptyText] {
            skips.record(skip(4, reason)).unwrap();
        }
        assert_eq!(skips.list(), [skip(4, SkipReason::MissingImage)]);
    }

    #[test]
    fn short_texts_are_listed_but_are_not_bad_input() {
        let skips = Skips::new("pairs.csv", 10, 0.0);
        for row in 1..=10 {
            skips.record(skip(row, SkipReason::TooShort)).unwrap();
        }
        assert_eq!((skips.list().len(), skips.bad_rows()), (10, 0));
    }

    #[test]
    fn workers_may_record_at_the_same_time() {
        let skips = Arc::new(Skips::new("pairs.csv", 400, 1.0));
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let skips = Arc::clone(&skips);
                thread::spawn(move || {
                    for row in (worker..400).step_by(4) {
                        skips.record(skip(row, SkipReason::MissingImage)).unwrap();
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        let rows: Vec<_> = skips.list().iter().map(|skip| skip.row).collect();
        assert_eq!(rows, (0..400).collect::<Vec<_>>());
    }

    #[test]
    fn the_summary_counts_by_reason_and_shows_the_first_rows() {
        let skips = Skips::new("pairs.csv", 100, 1.0);
        for row in (1..=7).rev() {
            skips.record(skip(row, SkipReason::MissingImage)).unwrap();
        }
        skips.record(skip(8, SkipReason::TooShort)).unwrap();
        let summary = skips.to_string();
        let lines: Vec<_> = summary.lines().map(str::trim).collect();
        assert_eq!(lines[0], "pairs.csv: left out 8 of 100 rows");
        assert_eq!(lines[1], "missing image: 7");
        assert_eq!(lines[2], "row 1: images/1.png (0 bytes)");
        assert_eq!(lines[7], "and 2 more");
        assert_eq!(lines[8], "text too short: 1");
    }
}
