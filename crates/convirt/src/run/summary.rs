//! The summary of a run, on screen and as `summary.json`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use convirt_model::{LossKind, ParameterCounts};
use convirt_ops::Precision;
use serde::{Deserialize, Serialize};

use super::environment::Environment;
use super::folder::{REPORT, RunDir, SUMMARY};
use crate::config::Objective;
use crate::config::PrecisionName;
use crate::error::Error;
use crate::json_file::{read_json, write_json};
use crate::readable::duration;
use crate::retrieval::Retrieval;
use crate::weights::LoadReport;
use crate::weights::checksums::{self, FileSum};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All steps were done.
    Completed,
    /// The validation loss did not fall for `early_stop_patience` evaluations.
    StoppedEarly,
    /// The user stopped the run, which can be resumed.
    Interrupted,
}

/// The results of a run.
///
/// # Examples
///
/// [`Training::run`](crate::Training::run) returns a summary; `summary.json` contains the same.
///
/// ```no_run
/// use convirt::Summary;
/// use convirt::run::Ending;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let json = std::fs::read("runs/2026-01-16_02-27-36_phantom/summary.json")?;
/// let summary: Summary = serde_json::from_slice(&json)?;
/// assert_eq!(summary.ending, Ending::Completed);
/// if let Some(retrieval) = &summary.retrieval {
///     println!("{retrieval}");
/// }
/// println!("{:?} nats, chance {:.3}", summary.validation_loss, summary.chance_loss);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Folder of the run.
    pub run: PathBuf,
    /// Objective of the training.
    #[serde(default)]
    pub objective: Objective,
    /// How the run ended.
    pub ending: Ending,
    /// Name of the device.
    pub device: String,
    /// Precision of convolutions and linear layers. `float32` in summaries of older versions, which
    /// do not contain it.
    #[serde(default, with = "PrecisionName")]
    pub precision: Precision,
    /// Name of the [`Kernel`](crate::compute::Kernel) that multiplied matrices. `None` if the
    /// device is not the CPU, and in summaries of older versions.
    #[serde(default)]
    pub kernel: Option<String>,
    /// Seed of all randomness.
    pub seed: u64,
    /// Number of optimizer steps.
    pub steps: usize,
    /// Steps that were skipped since their loss or gradient was not finite.
    #[serde(default)]
    pub skipped_steps: usize,
    /// Step of the lowest validation loss, at which the model was saved.
    pub best_step: usize,
    /// Lowest validation loss, in nats; `None` if the run ended before an evaluation.
    pub validation_loss: Option<f64>,
    /// Validation loss at chance, in nats: the mean of ln(batch), for SimCLR of ln(2 · batch − 1),
    /// for the sigmoid loss of batch · entropy(1/batch).
    pub chance_loss: f64,
    /// What the loss computes of the similarities. The softmax in summaries of older versions.
    #[serde(default)]
    pub loss: LossKind,
    /// Retrieval among the held-out pairs by the saved model; `None` for SimCLR.
    pub retrieval: Option<Retrieval>,
    /// Fraction of held-out views whose most similar other view in the batch shows the same image,
    /// by the saved model; `None` for ConVIRT.
    #[serde(default)]
    pub contrastive_accuracy: Option<f64>,
    /// Number of training pairs; for SimCLR, of images.
    pub train_pairs: usize,
    /// Number of held-out pairs; for SimCLR, of images.
    pub valid_pairs: usize,
    /// Parameters of the networks.
    pub parameters: ParameterCounts,
    /// Numbers of rows of the manifest that were left out, by reason.
    pub skipped: BTreeMap<String, usize>,
    /// Wall-clock time of all parts of the run, in seconds. Of a part that was killed, the time up
    /// to its last checkpoint counts.
    pub seconds: f64,
    /// Files of weights that the run started from; empty if it started from scratch, and in
    /// summaries of older versions.
    #[serde(default)]
    pub initial_weights: Vec<InitialWeightsFile>,
    /// Version, command line and machine of the last part; empty in summaries of older versions.
    #[serde(default)]
    pub environment: Environment,
}

/// A file of weights that a run started from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitialWeightsFile {
    /// What was loaded: `image encoder`, `text encoder` or `model`.
    pub part: String,
    /// The file.
    pub file: PathBuf,
    /// CRC-32C of the file, 8 hexadecimal digits.
    pub crc32c: String,
}

impl InitialWeightsFile {
    /// Computes the checksum of a file that was loaded.
    pub(crate) fn new(load: &LoadReport) -> Result<Self, Error> {
        Ok(Self {
            part: load.part.to_string(),
            file: load.path.clone(),
            crc32c: FileSum::compute(&load.path)?.crc32c,
        })
    }
}

impl Summary {
    /// Reads the summary of a run; `None` if it has none, or one that cannot be read or has changed.
    pub(crate) fn load(path: &Path) -> Option<Self> {
        checksums::verify(path).ok()?;
        serde_json::from_slice(&read_json(path).ok()?).ok()
    }

    /// Returns the contrastive accuracy at chance, from 0 to 1.
    pub(crate) fn chance_accuracy(&self) -> f64 {
        (-self.chance_loss).exp()
    }

    /// Returns the step whose model was saved: the best one or, before any evaluation, the last one.
    pub(crate) fn saved_step(&self) -> usize {
        match self.validation_loss {
            Some(_) => self.best_step,
            None => self.steps,
        }
    }

    /// Writes the summary into its run's folder as JSON, and its checksum.
    pub(crate) fn save(&self, run: &RunDir) -> Result<(), Error> {
        write_json(&run.summary(), self)?;
        Ok(checksums::record(run.path(), &[SUMMARY])?)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = match self.ending {
            Ending::Completed => "completed",
            Ending::StoppedEarly => "stopped early: the validation loss no longer falls",
            Ending::Interrupted => "interrupted",
        };
        writeln!(
            f,
            "\n{ending} after {} steps in {}",
            self.steps,
            duration(self.seconds)
        )?;
        let chance = self.objective.chance_formula(self.loss);
        match self.validation_loss {
            Some(loss) => writeln!(
                f,
                "validation loss {loss:.3} at step {} (chance: {chance} = {:.3})",
                self.best_step, self.chance_loss
            )?,
            None => writeln!(
                f,
                "no evaluation yet; the scores are those of the model of step {}",
                self.saved_step()
            )?,
        }
        if let Some(accuracy) = self.contrastive_accuracy {
            writeln!(
                f,
                "contrastive accuracy {:.1} % of the views of {} held-out images (chance: {:.1} %)",
                100.0 * accuracy,
                self.valid_pairs,
                100.0 * self.chance_accuracy()
            )?;
        }
        if let Some(retrieval) = &self.retrieval {
            writeln!(f, "\n{retrieval}")?;
        }
        if !self.skipped.is_empty() {
            let reasons: Vec<String> = self
                .skipped
                .iter()
                .map(|(reason, count)| format!("{count} {reason}"))
                .collect();
            writeln!(f, "left out: {}", reasons.join(", "))?;
        }
        writeln!(f, "run: {}", self.run.display())?;
        let page = self.run.join(REPORT);
        writeln!(f, "report: {}", page.display())?;
        if self.ending == Ending::Interrupted {
            writeln!(f, "resume with: convirt resume {}", self.run.display())?;
        }
        Ok(())
    }
}
