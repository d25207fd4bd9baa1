//! The errors of opening and resuming a run.

use std::path::PathBuf;

/// An error of opening or resuming a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Another process is training the run.
    #[error(
        "{run}: another process is training this run ({holder}); wait for it, or stop it",
        run = run.display()
    )]
    RunInUse {
        /// The run's folder.
        run: PathBuf,
        /// Description of that process, `process <id>`.
        holder: String,
    },

    /// A run has no complete checkpoint.
    #[error("{folder}: no complete checkpoint to resume from; start a new run, from this run's model with `fine_tune_from` if it has one", folder = folder.display())]
    NoCheckpoint {
        /// Folder of checkpoints.
        folder: PathBuf,
    },

    /// A JSON file with the state or the data of a run is damaged.
    #[error("{path}: not a valid state of a run: {cause}", path = path.display())]
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
    #[error("`{key}` cannot change when a run is resumed; start a new run with `fine_tune_from`")]
    FixedOnResume {
        /// The key of the setting.
        key: String,
    },
}
