//! The state of a training beside its networks and optimizer.

use serde::{Deserialize, Serialize};

use crate::run::RunIdentity;
use crate::training::schedule::Plateau;

/// The state of a training that Burn's records do not contain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TrainingState {
    /// Optimizer steps done, those that were skipped included.
    pub step: usize,
    /// Evaluations so far.
    pub evaluations: Evaluations,
    /// State of the learning rate's schedule.
    pub plateau: Plateau,
    /// Steps that were skipped since their loss or gradient was not finite.
    pub skipped: SkippedSteps,
    /// Name of the kernel that multiplied matrices. `None` if the device is not the CPU.
    pub kernel: Option<String>,
    /// Time of training so far, in seconds.
    pub seconds: f64,
    /// What the run is computed from.
    pub identity: RunIdentity,
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

/// The steps whose loss or gradient was not finite, which changed no parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SkippedSteps {
    /// All of them.
    pub total: usize,
    /// Those since the last step that was not skipped.
    pub in_a_row: usize,
}

impl SkippedSteps {
    /// Counts one more.
    pub fn add(&mut self) {
        self.total += 1;
        self.in_a_row += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
