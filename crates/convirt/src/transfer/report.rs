//! What a transfer reached, on screen and as `transfer.json`.

use std::fmt;
use std::path::{Path, PathBuf};

use convirt_data::{FileError, Labels, NewFile};
use convirt_ops::Precision;
use serde::{Deserialize, Serialize};

use super::{Transfer, TransferMode};
use crate::compute::{device_name, kernel_name};
use crate::config::PrecisionName;
use crate::error::Error;
use crate::inference::Classifier;
use crate::scores::{ClassificationScores, NAME_WIDTH, Scores};

/// What a transfer reached.
#[derive(Debug, Serialize)]
pub struct TransferReport {
    /// What was trained.
    pub mode: TransferMode,
    /// The labels.
    pub labels: Labels,
    /// The CSV.
    pub csv_file: PathBuf,
    /// Images to learn from, to choose by where the CSV has some, and to test on.
    pub images: [usize; 3],
    /// Images whose header was fine and that could not be decoded; left out.
    pub unreadable: usize,
    /// Seed of the first run.
    pub seed: u64,
    /// Device it computed on.
    pub device: String,
    /// How encoders and classifiers multiplied.
    #[serde(with = "PrecisionName")]
    pub precision: Precision,
    /// Name of the [`Kernel`](crate::compute::Kernel) that multiplied; none on other devices than
    /// the CPU.
    pub kernel: Option<String>,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// A row for each encoder and fraction, in the order they were done.
    pub rows: Vec<TransferRow>,
    /// Place among the rows, and the classifier of its first run.
    #[serde(serialize_with = "best_row")]
    best: Option<(usize, Classifier)>,
}

/// An encoder with a fraction of the training images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransferRow {
    /// The encoder's name.
    pub encoder: String,
    /// Side of its inputs, in pixels.
    pub image_size: usize,
    /// The fraction.
    pub fraction: f64,
    /// Each run.
    pub runs: Vec<TransferRun>,
    /// Scores on the test, over all runs.
    pub scores: ClassificationScores,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransferRun {
    /// Its seed.
    pub seed: u64,
    /// Training images drawn.
    pub images: usize,
    /// Groups that these belong to.
    pub groups: usize,
    /// Mean negative log-likelihood in validation, in nats.
    pub validation_loss: f64,
    /// Of a probe, the inverse strength of the penalty that was chosen (scikit-learn's `C`), of
    /// each finding by itself.
    pub strengths: Vec<f64>,
    /// Of a probe, solutions that are not exact to the tolerance.
    pub not_converged: usize,
    /// Of a fine-tuning, the epoch of the lowest validation loss; 0 is before the first.
    pub best_epoch: Option<usize>,
}

impl TransferReport {
    pub(super) fn new(transfer: &Transfer) -> Self {
        Self {
            mode: transfer.config.mode,
            labels: transfer.labels.clone(),
            csv_file: transfer.config.data.csv_file.clone(),
            images: transfer.sides,
            unreadable: 0,
            seed: transfer.config.seed,
            device: device_name(&transfer.device),
            precision: transfer.config.precision,
            kernel: kernel_name(&transfer.device, transfer.config.precision),
            interrupted: false,
            rows: Vec::new(),
            best: None,
        }
    }

    /// The classifier of the largest fraction and the lowest validation loss, of its first run, and
    /// its row. The test has no part in the choice.
    pub fn best(&self) -> Option<(&TransferRow, &Classifier)> {
        let (row, classifier) = self.best.as_ref()?;
        Some((&self.rows[*row], classifier))
    }

    /// Adds a row, with the classifier of its first run in case it is the best.
    pub(super) fn add(&mut self, row: TransferRow, classifier: Classifier) {
        let rank = |row: &TransferRow| (row.fraction, -row.validation_loss());
        if self.best().is_none_or(|(best, _)| rank(&row) > rank(best)) {
            self.best = Some((self.rows.len(), classifier));
        }
        self.rows.push(row);
    }

    /// Writes `transfer.json`, and the best classifier into the folder `classifier`.
    ///
    /// # Errors
    ///
    /// When the files cannot be written.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), Error> {
        let folder = folder.as_ref();
        let path = folder.join("transfer.json");
        let json = serde_json::to_string_pretty(self).expect("plain data");
        NewFile::write_whole(&path, (json + "\n").as_bytes()).map_err(FileError::write(&path))?;
        match self.best() {
            Some((_, classifier)) => classifier.save(folder.join("classifier")),
            None => Ok(()),
        }
    }
}

impl TransferRow {
    /// Mean over runs.
    fn validation_loss(&self) -> f64 {
        let losses = self.runs.iter().map(|run| run.validation_loss);
        losses.sum::<f64>() / self.runs.len() as f64
    }
}

/// `0.1` as `10 %`.
pub(super) fn percent(fraction: f64) -> String {
    format!("{} %", (1e6 * fraction).round() / 1e4)
}

/// The row alone; the classifier has files of its own.
fn best_row<S: serde::Serializer>(
    best: &Option<(usize, Classifier)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    best.as_ref().map(|(row, _)| row).serialize(serializer)
}

impl fmt::Display for TransferReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = self.mode.name();
        writeln!(f, "{title:<NAME_WIDTH$}{}", Scores::HEADING)?;
        for rows in self.rows.chunk_by(|a, b| a.encoder == b.encoder) {
            let TransferRow {
                encoder,
                image_size,
                ..
            } = &rows[0];
            writeln!(f, "{encoder}, {image_size} × {image_size}")?;
            for row in rows {
                let images = row.runs[0].images;
                let runs = row.runs.len();
                let name = match runs {
                    1 => format!("  {} ({images} images)", percent(row.fraction)),
                    _ => format!("  {} ({images} images, {runs} runs)", percent(row.fraction)),
                };
                writeln!(f, "{name:<NAME_WIDTH$}{}", row.scores.overall)?;
                if row.scores.labels.len() > 1 {
                    for label in &row.scores.labels {
                        let name = format!("    {}", label.label);
                        writeln!(f, "{name:<NAME_WIDTH$}{}", label.scores)?;
                    }
                }
            }
        }
        if let Some(row) = self.rows.first() {
            let undefined: Vec<_> = row.scores.undefined().collect();
            if !undefined.is_empty() {
                let names = undefined.join(", ");
                writeln!(
                    f,
                    "no AUROC, and not in the mean: {names} (one outcome only in the test)"
                )?;
            }
        }
        let runs = self.rows.iter().flat_map(|row| &row.runs);
        let not_converged: usize = runs.map(|run| run.not_converged).sum();
        if not_converged > 0 {
            writeln!(f, "{not_converged} probes are not exact to the tolerance")?;
        }
        if self.unreadable > 0 {
            writeln!(
                f,
                "{} images could not be decoded and were left out",
                self.unreadable
            )?;
        }
        if self.interrupted {
            writeln!(f, "stopped before the end")?;
        }
        if let Some((row, _)) = self.best() {
            writeln!(
                f,
                "best in validation: {} with {} of the images",
                row.encoder,
                percent(row.fraction)
            )?;
        }
        Ok(())
    }
}
