//! The results of a transfer, as a table and as `transfer.json`.

use std::fmt;
use std::path::{Path, PathBuf};

use convirt_data::Labels;
use convirt_ops::Precision;
use serde::{Deserialize, Serialize};

use super::{Transfer, TransferMode};
use crate::compute::{device_name, kernel_name};
use crate::config::PrecisionName;
use crate::error::Error;
use crate::inference::Classifier;
use crate::json_file::write_json;
use crate::scores::{ClassificationScores, NAME_WIDTH, Scores};

/// The results of a transfer.
#[derive(Debug, Serialize)]
pub struct TransferReport {
    /// Which part of the classifiers was trained.
    pub mode: TransferMode,
    /// The labels.
    pub labels: Labels,
    /// The CSV file of labelled images.
    pub csv_file: PathBuf,
    /// Number of training, validation and test images.
    pub images: [usize; 3],
    /// Number of images left out because they could not be decoded, although their header is valid.
    pub unreadable: usize,
    /// Seed of the first run.
    pub seed: u64,
    /// Name of the device used.
    pub device: String,
    /// Precision of the encoders and classifiers.
    #[serde(with = "PrecisionName")]
    pub precision: Precision,
    /// Name of the [`Kernel`](crate::compute::Kernel) used for matrix products on the CPU; `None`
    /// on other devices.
    pub kernel: Option<String>,
    /// Whether the transfer was stopped before its end.
    pub interrupted: bool,
    /// A row for each encoder and fraction, in the order of their computation.
    pub rows: Vec<TransferRow>,
    /// A classifier of each encoder but the pixels, in the order of the encoders.
    pub classifiers: Vec<KeptClassifier>,
    /// Position of the best of them, as [`best`](Self::best) says.
    best: Option<usize>,
}

/// A classifier of one encoder: of its largest fraction, the first run.
#[derive(Debug, Serialize)]
pub struct KeptClassifier {
    /// Name of its folder in `classifiers`, made from the encoder's name.
    pub folder: String,
    /// Position of its row.
    pub row: usize,
    /// The classifier.
    #[serde(skip)]
    pub classifier: Classifier,
}

/// The results of one encoder with one fraction of the training images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransferRow {
    /// The encoder's name.
    pub encoder: String,
    /// Side of its inputs, in pixels.
    pub image_size: usize,
    /// The fraction of the training images, above 0 and at most 1.
    pub fraction: f64,
    /// The runs.
    pub runs: Vec<TransferRun>,
    /// Scores on the test images, over all runs.
    pub scores: ClassificationScores,
}

/// One run: a classifier trained with one seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransferRun {
    /// Seed of the run.
    pub seed: u64,
    /// Number of training images drawn.
    pub images: usize,
    /// Number of groups that these images belong to.
    pub groups: usize,
    /// Mean negative log-likelihood of the validation images, in nats.
    pub validation_loss: f64,
    /// For a probe, the chosen inverse strength of the penalty (scikit-learn's `C`), one for each
    /// finding or one for all classes.
    pub strengths: Vec<f64>,
    /// For a probe, the number of solutions that did not reach the tolerance.
    pub not_converged: usize,
    /// For a fine-tuning, the epoch with the lowest validation loss; 0 is before the first epoch.
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
            classifiers: Vec::new(),
            best: None,
        }
    }

    /// Returns the classifier with the largest fraction and, among these, the lowest validation
    /// loss, and its row. The test images have no influence on the choice.
    pub fn best(&self) -> Option<(&TransferRow, &KeptClassifier)> {
        let kept = &self.classifiers[self.best?];
        Some((&self.rows[kept.row], kept))
    }

    /// Adds a row. Its classifier is kept if it has the largest fraction of its encoder so far;
    /// that of a baseline is not kept.
    pub(super) fn add(&mut self, row: TransferRow, classifier: Classifier, is_baseline: bool) {
        let position = self.rows.len();
        let fraction = row.fraction;
        let encoder = row.encoder.clone();
        self.rows.push(row);
        if is_baseline {
            return;
        }
        let rows = &self.rows;
        let same = |kept: &&mut KeptClassifier| rows[kept.row].encoder == encoder;
        match self.classifiers.iter_mut().find(same) {
            Some(kept) if rows[kept.row].fraction < fraction => {
                kept.row = position;
                kept.classifier = classifier;
            }
            Some(_) => {}
            None => {
                let folder = self.folder_name(&encoder);
                self.classifiers.push(KeptClassifier {
                    folder,
                    row: position,
                    classifier,
                });
            }
        }
        let rank = |kept: &KeptClassifier| {
            let row = &self.rows[kept.row];
            (row.fraction, -row.validation_loss())
        };
        let ranked = self.classifiers.iter().enumerate();
        let best = ranked.max_by(|(_, a), (_, b)| {
            let order = rank(a).partial_cmp(&rank(b));
            order.unwrap_or(std::cmp::Ordering::Equal)
        });
        self.best = best.map(|(position, _)| position);
    }

    /// Returns a name for the folder of an encoder's classifier: its path or name without the
    /// characters that a folder's name cannot have.
    fn folder_name(&self, encoder: &str) -> String {
        let last = encoder.rsplit('/').find(|part| !part.is_empty());
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let name: String = (last.unwrap_or(encoder).chars())
            .map(|c| if is_plain(c) { c } else { '-' })
            .collect();
        let name = name.trim_start_matches('.').to_string();
        let taken = |name: &str| self.classifiers.iter().any(|kept| kept.folder == name);
        let numbered = (2..).map(|number| format!("{name}-{number}"));
        let mut names = std::iter::once(name.clone()).chain(numbered);
        let free = names.find(|name| !name.is_empty() && !taken(name));
        free.expect("there are more names than classifiers")
    }

    /// Writes `transfer.json`, and each classifier into a folder in `classifiers` that is named
    /// after its encoder.
    ///
    /// # Errors
    ///
    /// When the files cannot be written.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), Error> {
        let folder = folder.as_ref();
        write_json(&folder.join("transfer.json"), self)?;
        self.classifiers.iter().try_for_each(|kept| {
            let path = folder.join("classifiers").join(&kept.folder);
            kept.classifier.save(path)
        })
    }
}

impl TransferRow {
    /// Returns the mean validation loss of the runs.
    fn validation_loss(&self) -> f64 {
        let losses = self.runs.iter().map(|run| run.validation_loss);
        losses.sum::<f64>() / self.runs.len() as f64
    }
}

/// Formats a fraction as a percentage: `0.1` becomes `10 %`.
pub(super) fn percent(fraction: f64) -> String {
    format!("{} %", (1e6 * fraction).round() / 1e4)
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
                    "no AUROC, and not in the mean: {names} (all or no test images are positive)"
                )?;
            }
        }
        if let Some((row, _)) = self.best() {
            let (encoder, fraction) = (&row.encoder, percent(row.fraction));
            writeln!(f, "best in validation: {encoder}, {fraction}")?;
        }
        let runs = self.rows.iter().flat_map(|row| &row.runs);
        let not_converged: usize = runs.map(|run| run.not_converged).sum();
        if not_converged > 0 {
            writeln!(f, "{not_converged} probes did not reach the tolerance")?;
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
        Ok(())
    }
}
