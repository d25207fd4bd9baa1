//! What a run reached, on screen and as `summary.json`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use convirt_data::{FileError, NewFile};
use convirt_model::ParameterCounts;
use convirt_ops::Precision;
use serde::{Deserialize, Serialize};

use super::folder::REPORT;
use crate::config::Objective;
use crate::config::PrecisionName;
use crate::readable::duration;
use crate::retrieval::Retrieval;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All steps were done.
    Completed,
    /// The validation loss had not fallen for as many evaluations as configured.
    StoppedEarly,
    /// The user stopped it; it can be resumed.
    Interrupted,
}

/// What a run reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Folder of the run.
    pub run: PathBuf,
    /// What it learned from.
    #[serde(default)]
    pub objective: Objective,
    /// How it ended.
    pub ending: Ending,
    /// Device it computed on.
    pub device: String,
    /// How it multiplied. Summaries from before this was recorded read as `float32`.
    #[serde(default, with = "PrecisionName")]
    pub precision: Precision,
    /// Name of the [`Kernel`](crate::compute::Kernel) that multiplied; none on other devices than
    /// the CPU, and in summaries from before this was recorded.
    #[serde(default)]
    pub kernel: Option<String>,
    /// Seed of all its randomness.
    pub seed: u64,
    /// Optimizer steps done.
    pub steps: usize,
    /// Steps after which the validation loss was lowest; the model saved is of this step.
    pub best_step: usize,
    /// Lowest validation loss in nats; `None` when it ended before an evaluation.
    pub validation_loss: Option<f64>,
    /// Loss of a model that knows nothing: mean over the validation batches of ln(batch), of
    /// SimCLR ln(2 · batch − 1).
    pub chance_loss: f64,
    /// Retrieval among the held-out pairs by the saved model; none of SimCLR.
    pub retrieval: Option<Retrieval>,
    /// Share of held-out views whose most similar other view in their batch is of their image, by
    /// the saved model; of SimCLR alone.
    #[serde(default)]
    pub contrastive_accuracy: Option<f64>,
    /// Pairs trained on; of SimCLR images.
    pub train_pairs: usize,
    /// Pairs held out; of SimCLR images.
    pub valid_pairs: usize,
    /// Parameters of the networks.
    pub parameters: ParameterCounts,
    /// Rows of the manifest that were left out, by reason.
    pub skipped: BTreeMap<String, usize>,
    /// Wall-clock time of this part of the run, in seconds.
    pub seconds: f64,
}

impl Summary {
    /// Writes the summary as JSON.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        let json = serde_json::to_string_pretty(self).expect("a summary is plain data");
        NewFile::write_whole(path, (json + "\n").as_bytes()).map_err(FileError::write(path))
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
        let chance = self.objective.chance_formula();
        match self.validation_loss {
            Some(loss) => writeln!(
                f,
                "validation loss {loss:.3} at step {} (chance: {chance} = {:.3})",
                self.best_step, self.chance_loss
            )?,
            None => writeln!(f, "no evaluation yet")?,
        }
        if let Some(accuracy) = self.contrastive_accuracy {
            writeln!(
                f,
                "contrastive accuracy {:.1} % of the views of {} held-out images (chance: {:.1} %)",
                100.0 * accuracy,
                self.valid_pairs,
                100.0 * (-self.chance_loss).exp()
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
        writeln!(f, "to look at: {}", page.display())?;
        if self.ending == Ending::Interrupted {
            writeln!(f, "resume with: convirt resume {}", self.run.display())?;
        }
        Ok(())
    }
}
