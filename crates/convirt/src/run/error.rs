//! The errors of opening and resuming a run.

use std::path::PathBuf;

/// An error of opening or resuming a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A process that assists in a training does not see the run.
    #[error(
        "{run}: no such folder on this machine; `runs_dir` has to be a folder that all machines of a \
         training share",
        run = run.display()
    )]
    NotOnThisMachine {
        /// The run's folder.
        run: PathBuf,
    },
    /// Another process is training the run.
    #[error(
        "{run}: another process is training this run ({holder}); wait for it, or stop it",
        run = run.display()
    )]
    RunInUse {
        /// The run's folder.
        run: PathBuf,
        /// Description of that process, `process <id> on <host>`.
        holder: String,
    },

    /// A run has no whole checkpoint.
    #[error(
        "{folder}: no whole checkpoint to resume from{}; start a new run, from this run's model \
         with `fine_tune_from` if it has one",
        listed(damaged), folder = folder.display()
    )]
    NoCheckpoint {
        /// Folder of checkpoints.
        folder: PathBuf,
        /// What is wrong with each checkpoint that there is.
        damaged: Vec<String>,
    },

    /// The state of a checkpoint is not the one that was written.
    #[error("{path}: changed since it was written", path = path.display())]
    ChangedState {
        /// The file.
        path: PathBuf,
    },

    /// A checkpoint cannot be written.
    #[error("the checkpoint of step {step} cannot be written: {cause}")]
    CheckpointNotWritten {
        /// Step of the checkpoint.
        step: usize,
        /// The file and the error of writing it.
        cause: String,
    },

    /// The disk has no room for the checkpoints and the model of a run.
    #[error(
        "{folder}: the disk has {} GB left, and the run's checkpoints and model take {} GB; free \
         some, set another `runs_dir`, or lower `keep_checkpoints`",
        gigabytes(*free), gigabytes(*needed), folder = folder.display()
    )]
    NoRoom {
        /// Folder of the run.
        folder: PathBuf,
        /// Bytes that the run takes.
        needed: u64,
        /// Bytes that are left.
        free: u64,
    },

    /// What a run is computed from has changed since its last checkpoint.
    #[error(
        "{run}: changed since the checkpoint of step {step}: {}; undo it, or accept it with \
         `--allow-changed-data`",
        changes.join("; "), run = run.display()
    )]
    Changed {
        /// Folder of the run.
        run: PathBuf,
        /// Step of the checkpoint.
        step: usize,
        /// The changes.
        changes: Vec<String>,
    },

    /// The state of a checkpoint is not valid JSON, or of an older version.
    #[error("{path}: not a valid state of a run, or one of an older version: {cause}", path = path.display())]
    BrokenState {
        /// The file.
        path: PathBuf,
        /// The error of the JSON parser, with its line and column.
        cause: serde_json::Error,
    },

    /// The record of a run's split is damaged.
    #[error("{path}: row {row}: not a row of a run's split", path = path.display())]
    BrokenSplit {
        /// The file.
        path: PathBuf,
        /// The row, counted from 1 after the header.
        row: usize,
    },

    /// An override changes a setting that a resumed run cannot change.
    #[error(
        "`{key}` cannot change when a run is resumed{}; start a new run with `fine_tune_from`",
        in_brackets(change)
    )]
    FixedOnResume {
        /// The key of the setting.
        key: String,
        /// The change that its file has, old and new value; empty for an override.
        change: String,
    },

    /// A resumed run has made more steps than its configuration now asks for.
    #[error(
        "{run}: {step} steps are done, and the training would end after {total}: set `max_steps` or \
         `epochs` so that it ends later, or leave them as they were",
        run = run.display()
    )]
    EndsBefore {
        /// Folder of the run.
        run: PathBuf,
        /// Steps of the checkpoint.
        step: usize,
        /// Steps of the whole training.
        total: usize,
    },
}

fn listed(damaged: &[String]) -> String {
    in_brackets(&damaged.join("; "))
}

/// Returns a text in brackets after a space, if it is one.
fn in_brackets(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    format!(" ({text})")
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / 1e9)
}
