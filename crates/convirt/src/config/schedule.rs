//! The section `schedule`: the learning rate over a training.

use serde::{Deserialize, Serialize};

use super::invalid_setting::{BETWEEN_0_AND_1, Check, expect, number, whole};

/// The schedule of the learning rate, as a configuration gives it.
///
/// # Examples
///
/// ```
/// use convirt::Config;
/// use convirt::config::{Schedule, ScheduleConfig, ScheduleKind};
///
/// let schedule = ScheduleConfig {
///     kind: ScheduleKind::Cosine,
///     warmup_steps: 50,
///     ..ScheduleConfig::default()
/// };
/// let config = Config { schedule, ..Config::default() };
/// let expected = Schedule::Cosine { warmup_steps: 50, total_steps: 1_000 };
/// assert_eq!(config.schedule(1_000), expected);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Kind of schedule. Default: `plateau` (paper).
    pub kind: ScheduleKind,
    /// Steps of linear warm-up. Default: 0 (paper).
    pub warmup_steps: usize,
    /// For `plateau`: evaluations without a lower loss before a reduction, at least 1. Default: 5
    /// (paper).
    pub patience: usize,
    /// For `plateau`: factor of a reduction, between 0 and 1. Default: 0.5 (paper).
    pub factor: f64,
    /// For `plateau`: minimum of the learning rate, 0 to `learning_rate`. Default: 0 (PyTorch).
    pub min_learning_rate: f64,
}

/// Kind of learning rate schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// The rate is reduced when the validation loss no longer falls.
    #[default]
    Plateau,
    /// The rate follows half a cosine from the base rate to 0 at the last step (Colab).
    Cosine,
    /// The rate is the base rate after the warm-up.
    Constant,
}

/// The schedule of the learning rate for one training, in optimizer steps (not epochs).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// The rate rises linearly to the base rate, and stays there.
    Constant {
        /// Steps of linear warm-up; with 0, the rate is always the base rate.
        warmup_steps: usize,
    },
    /// The rate rises linearly to the base rate, then follows half a cosine to zero at
    /// `total_steps`.
    Cosine {
        /// Steps of linear warm-up; with 0, the schedule starts at the base rate.
        warmup_steps: usize,
        /// Steps of the whole training.
        total_steps: usize,
    },
    /// The paper's schedule: the rate is multiplied by `factor` if the validation loss has not
    /// fallen for `patience` evaluations.
    ///
    /// PyTorch's `ReduceLROnPlateau` does the same with a relative threshold of 1e-4, but its
    /// `patience` is one less than this one.
    Plateau {
        /// Steps of linear warm-up (paper: 0).
        warmup_steps: usize,
        /// Evaluations without a lower loss before a reduction (paper: 5).
        patience: usize,
        /// Factor of a reduction, between 0 and 1 (paper: 0.5).
        factor: f64,
        /// Minimum of the learning rate.
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
    /// Checks the section. `learning_rate` is the maximum of `min_learning_rate`.
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

    /// Returns the schedule of a training of `total_steps`.
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
            ScheduleKind::Constant => Schedule::Constant {
                warmup_steps: self.warmup_steps,
            },
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
