//! The section `schedule`.

use serde::{Deserialize, Serialize};

use super::invalid_setting::{BETWEEN_0_AND_1, Check, expect, number, whole};

/// How the learning rate evolves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Rule; `plateau` (paper).
    pub kind: ScheduleKind,
    /// Steps of linear warm-up, not with `constant`; 0 (paper).
    pub warmup_steps: usize,
    /// Of `plateau`: evaluations without a lower loss before a reduction, at least 1; 5 (paper).
    pub patience: usize,
    /// Of `plateau`: what a reduction multiplies by, between 0 and 1; 0.5 (paper).
    pub factor: f64,
    /// Of `plateau`: rate that is not gone below, 0 to `learning_rate`; 0 (PyTorch).
    pub min_learning_rate: f64,
}

/// Rule that the learning rate follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// Reduced when the validation loss no longer falls.
    #[default]
    Plateau,
    /// Half a cosine from the base rate down to 0 at the last step (Colab).
    Cosine,
    /// The base rate throughout.
    Constant,
}

/// How the learning rate evolves. Steps are optimizer steps, never epochs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// The base rate throughout.
    Constant,
    /// Linear warm-up to the base rate, then half a cosine down to zero at `total_steps`.
    Cosine {
        /// Steps until the base rate is reached; 0 starts at the base rate.
        warmup_steps: usize,
        /// Steps of the whole training.
        total_steps: usize,
    },
    /// The paper's: multiply by `factor` when the validation loss has not fallen for `patience`
    /// evaluations, as PyTorch's `ReduceLROnPlateau` does with a relative threshold of 1e-4
    /// (its `patience` is ours less one).
    Plateau {
        /// Linear warm-up steps before; 0 in the paper.
        warmup_steps: usize,
        /// Evaluations without a lower loss before a reduction (5 in the paper).
        patience: usize,
        /// Multiplier of a reduction, in (0, 1) (0.5 in the paper).
        factor: f64,
        /// The rate is not reduced below this.
        min_learning_rate: f64,
    },
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            kind: ScheduleKind::Plateau,
            warmup_steps: 0,
            patience: 5,
            factor: 0.5,
            min_learning_rate: 0.0,
        }
    }
}

impl ScheduleConfig {
    /// Checks the section; `learning_rate` bounds the lowest rate.
    pub(super) fn check(&self, learning_rate: f64) -> Check {
        whole("patience", self.patience, 1..)?;
        number("factor", self.factor, BETWEEN_0_AND_1)?;
        expect(
            "min_learning_rate",
            (0.0..=learning_rate).contains(&self.min_learning_rate),
            "a number from 0 to `learning_rate`",
            self.min_learning_rate,
        )
    }

    /// The schedule of a training of `total_steps`.
    pub(super) fn for_steps(&self, total_steps: usize) -> Schedule {
        match self.kind {
            ScheduleKind::Plateau => Schedule::Plateau {
                warmup_steps: self.warmup_steps,
                patience: self.patience,
                factor: self.factor,
                min_learning_rate: self.min_learning_rate,
            },
            ScheduleKind::Cosine => Schedule::Cosine {
                warmup_steps: self.warmup_steps,
                total_steps,
            },
            ScheduleKind::Constant => Schedule::Constant,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_papers_plateau() {
        let expected = Schedule::Plateau {
            warmup_steps: 0,
            patience: 5,
            factor: 0.5,
            min_learning_rate: 0.0,
        };
        assert_eq!(ScheduleConfig::default().for_steps(100), expected);
    }

    #[test]
    fn a_cosine_ends_with_the_training() {
        let config = ScheduleConfig {
            kind: ScheduleKind::Cosine,
            warmup_steps: 10,
            ..ScheduleConfig::default()
        };
        let expected = Schedule::Cosine {
            warmup_steps: 10,
            total_steps: 100,
        };
        assert_eq!(config.for_steps(100), expected);
    }
}
