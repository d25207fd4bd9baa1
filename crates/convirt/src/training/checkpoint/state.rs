//! The state of a training beside its networks and optimizer.

use convirt_ops::Precision;
use serde::{Deserialize, Serialize};

use crate::run::RunIdentity;
use crate::training::loss_scale::LossScale;
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
    /// Factor of the loss in float16.
    #[serde(default)]
    pub loss_scale: LossScale,
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

/// What follows from a step that is not finite, which changes no parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotFiniteStep {
    /// A gradient of the scaled loss overflowed; the scale is smaller from now on.
    Overflow,
    /// It is skipped.
    Skipped,
    /// One more than may be skipped in a row.
    TooMany,
}

impl TrainingState {
    /// Returns whether the model of the last step has been evaluated.
    pub fn is_evaluated(&self) -> bool {
        self.evaluations.last_step == Some(self.step)
    }

    /// Counts a step that is not finite. `may_be_overflow` tells that the loss was scaled and is
    /// itself finite; at most `limit` other steps in a row may be skipped.
    pub fn observe_not_finite(&mut self, may_be_overflow: bool, limit: usize) -> NotFiniteStep {
        if may_be_overflow && self.loss_scale.lower() {
            self.skipped.total += 1;
            NotFiniteStep::Overflow
        } else if self.skipped.in_a_row < limit {
            self.skipped.total += 1;
            self.skipped.in_a_row += 1;
            NotFiniteStep::Skipped
        } else {
            NotFiniteStep::TooMany
        }
    }

    /// Counts a step that is finite.
    pub fn observe_finite(&mut self, precision: Precision) {
        self.skipped.in_a_row = 0;
        if precision == Precision::Float16 {
            self.loss_scale.count_finite();
        }
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

    #[test]
    fn overflows_lower_the_scale_of_the_loss_and_do_not_use_up_the_steps_that_may_be_skipped() {
        let mut state = TrainingState::default();
        // From 65,536 down to 1.
        for _ in 0..16 {
            assert_eq!(state.observe_not_finite(true, 1), NotFiniteStep::Overflow);
        }
        assert_eq!(state.observe_not_finite(true, 1), NotFiniteStep::Skipped);
        assert_eq!(state.observe_not_finite(true, 1), NotFiniteStep::TooMany);
        assert_eq!((state.skipped.total, state.skipped.in_a_row), (17, 1));
        state.observe_finite(Precision::Float16);
        assert_eq!(state.observe_not_finite(false, 1), NotFiniteStep::Skipped);
    }
}
