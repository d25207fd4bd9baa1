//! What the leader of several peers tells the others.

use serde::{Deserialize, Serialize};

/// What all peers do next.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Command {
    /// Compute the loss of the next batch and its gradients.
    Step {
        /// Factor of the loss.
        loss_scale: f32,
    },
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
