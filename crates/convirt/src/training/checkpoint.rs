//! Checkpoints of a training, named after its steps.
//!
//! A checkpoint has four files: `model-<step>.bpk`, `optim-<step>.bpk`, `scheduler-<step>.bpk`
//! (Burn's records) and `state-<step>.json` (ours). Burn writes its files in the background, but
//! accepts a checkpoint only after the previous one is on disk: of the last two checkpoints, one is
//! always complete.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use burn::train::checkpoint::{CheckpointingAction, CheckpointingStrategy};
use burn::train::metric::store::EventStoreClient;
use convirt_data::{FileError, NewFile};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::json_file::read_json;
use crate::run::RunError;

/// The state of a training that Burn's records do not contain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TrainingState {
    /// Optimizer steps done.
    pub step: usize,
    /// Evaluations so far.
    pub evaluations: Evaluations,
    /// Name of the kernel that multiplied matrices. `None` if the device is not the CPU, and in
    /// checkpoints of older versions.
    #[serde(default)]
    pub kernel: Option<String>,
    /// Time of training so far, in seconds; 0 in checkpoints of older versions.
    #[serde(default)]
    pub seconds: f64,
}

/// The evaluations of a training, which decide on the best model and on early stopping.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Evaluations {
    /// Lowest validation loss, in nats.
    pub best_loss: Option<f64>,
    /// Step of the lowest validation loss.
    pub best_step: usize,
    /// Step of the last evaluation.
    pub last_step: Option<usize>,
    /// Last validation loss.
    pub last_loss: Option<f64>,
    /// Evaluations since that of the lowest validation loss.
    pub since_best: usize,
}

impl Evaluations {
    /// Adds an evaluation; returns whether its loss is the lowest so far.
    pub fn observe(&mut self, step: usize, loss: f64) -> bool {
        self.last_step = Some(step);
        self.last_loss = Some(loss);
        let improved = self.best_loss.is_none_or(|best| loss < best);
        if improved {
            self.best_loss = Some(loss);
            self.best_step = step;
            self.since_best = 0;
        } else {
            self.since_best += 1;
        }
        improved
    }
}

impl TrainingState {
    /// Writes `state-<step>.json`.
    pub fn save(&self, folder: &Path) -> Result<(), FileError> {
        let path = state_file(folder, self.step);
        let json = serde_json::to_vec_pretty(self).expect("plain numbers serialize");
        NewFile::write_whole(&path, &json).map_err(FileError::write(&path))
    }

    /// Reads the state of the newest complete checkpoint in `folder`.
    ///
    /// # Errors
    ///
    /// - [`RunError::NoCheckpoint`] if no checkpoint is complete
    /// - [`RunError::BrokenState`] if the state is damaged
    /// - [`FileError::Read`] if the state cannot be read
    pub fn load_latest(folder: &Path) -> Result<Self, Error> {
        let step = complete_steps(folder)
            .pop()
            .ok_or_else(|| RunError::NoCheckpoint {
                folder: folder.to_path_buf(),
            })?;
        let path = state_file(folder, step);
        let json = read_json(&path)?;
        serde_json::from_slice(&json).map_err(|cause| RunError::BrokenState { path, cause }.into())
    }
}

/// A strategy that keeps the last two checkpoints, also across resumptions.
pub(crate) struct KeepLastTwo {
    folder: PathBuf,
    /// Steps of the checkpoints, ascending.
    steps: VecDeque<usize>,
}

impl KeepLastTwo {
    /// Creates the strategy for a folder, which may contain checkpoints.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            steps: complete_steps(&folder).into(),
            folder,
        }
    }
}

impl CheckpointingStrategy for KeepLastTwo {
    fn checkpointing(&mut self, step: usize, _: &EventStoreClient) -> Vec<CheckpointingAction> {
        let mut actions = vec![CheckpointingAction::Save];
        self.steps.retain(|other| *other != step);
        self.steps.push_back(step);
        while self.steps.len() > 2 {
            let Some(oldest) = self.steps.pop_front() else {
                break;
            };
            // A checkpoint without its state is incomplete, so the state is removed first.
            let _ = fs::remove_file(state_file(&self.folder, oldest));
            actions.push(CheckpointingAction::Delete(oldest));
        }
        actions
    }
}

/// Returns the steps of the complete checkpoints in `folder`, ascending.
fn complete_steps(folder: &Path) -> Vec<usize> {
    let mut steps: Vec<usize> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let step = name.strip_prefix("state-")?.strip_suffix(".json")?;
            step.parse().ok()
        })
        .filter(|step| {
            ["model", "optim", "scheduler"]
                .iter()
                .all(|part| folder.join(format!("{part}-{step}.bpk")).is_file())
        })
        .collect();
    steps.sort_unstable();
    steps
}

fn state_file(folder: &Path, step: usize) -> PathBuf {
    folder.join(format!("state-{step}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_complete_checkpoint_is_resumed() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for step in [90, 200, 1000] {
            let state = TrainingState {
                step,
                ..TrainingState::default()
            };
            state.save(folder).unwrap();
        }
        for file in ["model-90", "optim-90", "scheduler-90"] {
            fs::write(folder.join(format!("{file}.bpk")), "").unwrap();
        }
        for file in ["model-200", "optim-200", "scheduler-200", "model-1000"] {
            fs::write(folder.join(format!("{file}.bpk")), "").unwrap();
        }
        assert_eq!(TrainingState::load_latest(folder).unwrap().step, 200);
        let strategy = KeepLastTwo::new(folder.to_path_buf());
        assert_eq!(strategy.steps, [90, 200]);
    }

    #[test]
    fn a_folder_without_checkpoints_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = TrainingState::load_latest(folder.path()).unwrap_err();
        let name = folder.path().display().to_string();
        assert!(error.to_string().contains(&name), "{error}");
    }

    #[test]
    fn evaluations_since_the_lowest_loss_are_counted() {
        let mut evaluations = Evaluations::default();
        let improved = [3.0, 2.0, 2.5, 2.0]
            .iter()
            .enumerate()
            .map(|(index, loss)| evaluations.observe(10 * (index + 1), *loss))
            .collect::<Vec<_>>();
        assert_eq!(improved, [true, true, false, false]);
        assert_eq!((evaluations.best_step, evaluations.since_best), (20, 2));
    }
}
