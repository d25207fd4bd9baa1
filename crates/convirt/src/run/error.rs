//! Why a run cannot be opened, or gone on with.

use std::path::PathBuf;

use convirt_data::truncated_list;

/// Why a run cannot be opened, or gone on with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// There is no such earlier run.
    #[error("no run `{run}`, neither as a path nor in {looked_in}; found {found}", run = run.display(), looked_in = looked_in.display(), found = truncated_list(found))]
    NoRun {
        /// The run asked for.
        run: PathBuf,
        /// Folder of runs.
        looked_in: PathBuf,
        /// Runs there.
        found: Vec<String>,
    },

    /// Another process trains the run.
    #[error(
        "{run}: another process works on this run ({holder}); wait for it, or stop it",
        run = run.display()
    )]
    RunInUse {
        /// The run's folder.
        run: PathBuf,
        /// What that process says of itself.
        holder: String,
    },

    /// A run has nothing to resume from.
    #[error("{folder}: no whole checkpoint to resume from; start anew, or start from its model with `fine_tune_from`", folder = folder.display())]
    NoCheckpoint {
        /// Folder of checkpoints.
        folder: PathBuf,
    },

    /// A checkpoint's state is damaged.
    #[error("{path}: not the state of a training: {cause}", path = path.display())]
    BrokenState {
        /// The file.
        path: PathBuf,
        /// Where it is wrong.
        cause: serde_json::Error,
    },

    /// A setting cannot change while a run goes on.
    #[error("`{key}` cannot change when a run is resumed; start a new run with `fine_tune_from`")]
    FixedOnResume {
        /// The key.
        key: String,
    },
}
