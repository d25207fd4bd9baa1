//! What the leader of several peers tells the others.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The beginning: all peers load the same checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Beginning {
    /// Folder of the run.
    pub run: PathBuf,
    /// Step of the checkpoint.
    pub step: usize,
}

/// What all peers do next.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Command {
    /// Compute the loss of the next batch and its gradients.
    Step,
    /// Let the optimizer make its step with the last gradients.
    Optimize {
        /// Learning rate.
        rate: f64,
    },
    /// Evaluate the held-out pairs, each peer its share.
    Evaluate,
    /// The training is over.
    End,
}
