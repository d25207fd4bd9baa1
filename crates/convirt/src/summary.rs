//! What a run reached, on screen and as `summary.json`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use convirt_model::ParameterCounts;
use serde::{Deserialize, Serialize};

use crate::error::{Error, write_error};
use crate::progress::duration;
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
    /// How it ended.
    pub ending: Ending,
    /// Device it computed on.
    pub device: String,
    /// Seed of all its randomness.
    pub seed: u64,
    /// Optimizer steps done.
    pub steps: usize,
    /// Steps after which the validation loss was lowest; the model saved is of this step.
    pub best_step: usize,
    /// Lowest validation loss in nats; `None` when it ended before an evaluation.
    pub validation_loss: Option<f64>,
    /// Loss of a model that knows nothing: mean of ln(batch) over the validation batches.
    pub chance_loss: f64,
    /// Retrieval among the held-out pairs by the saved model.
    pub retrieval: Retrieval,
    /// Pairs trained on.
    pub train_pairs: usize,
    /// Pairs held out.
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
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let json = serde_json::to_string_pretty(self).expect("a summary is plain data");
        fs::write(path, json + "\n").map_err(write_error(path))
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
        match self.validation_loss {
            Some(loss) => writeln!(
                f,
                "validation loss {loss:.3} at step {} (chance: ln(batch) = {:.3})",
                self.best_step, self.chance_loss
            )?,
            None => writeln!(f, "no evaluation yet")?,
        }
        writeln!(f, "\n{}", self.retrieval)?;
        if !self.skipped.is_empty() {
            let reasons: Vec<String> = self
                .skipped
                .iter()
                .map(|(reason, count)| format!("{count} {reason}"))
                .collect();
            writeln!(f, "left out: {}", reasons.join(", "))?;
        }
        writeln!(f, "run: {}", self.run.display())?;
        if self.ending == Ending::Interrupted {
            writeln!(f, "resume with: --resume {}", self.run.display())?;
        }
        Ok(())
    }
}
