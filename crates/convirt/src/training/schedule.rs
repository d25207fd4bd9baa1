//! The learning rate of a run, by step and by evaluation.

use std::sync::{Arc, Mutex};

use burn::optim::LearningRate;
use burn::optim::lr_scheduler::{LrScheduler, LrSchedulerRecord};
use serde::{Deserialize, Serialize};

use crate::config::Schedule;

/// A learning rate scheduler that follows a [`Schedule`] and observes evaluations.
///
/// Clones share the plateau's state: burn-train's `Learner` owns one clone, and another one
/// observes the evaluations.
///
/// # Examples
///
/// ```
/// use burn::optim::lr_scheduler::LrScheduler;
/// use convirt::config::Schedule;
/// use convirt::training::ScheduledLearningRate;
///
/// let schedule = Schedule::Plateau {
///     warmup_steps: 2,
///     patience: 1,
///     factor: 0.5,
///     min_learning_rate: 0.0,
/// };
/// let mut rate = ScheduledLearningRate::new(1e-2, schedule);
/// assert_eq!([rate.step(), rate.step(), rate.step()], [5e-3, 1e-2, 1e-2]);
/// // The second loss is not lower than the first one.
/// rate.observe(2.0);
/// rate.observe(2.0);
/// assert_eq!(rate.step(), 5e-3);
/// ```
#[derive(Clone, Debug)]
pub struct ScheduledLearningRate {
    base: f64,
    schedule: Schedule,
    step: usize,
    plateau: Arc<Mutex<Plateau>>,
}

/// What the plateau's schedule knows of the evaluations so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plateau {
    /// Factor of the base rate.
    multiplier: f64,
    /// Lowest validation loss; `None` before the first evaluation.
    best: Option<f64>,
    /// Evaluations without a lower loss since the last reduction.
    bad_evaluations: usize,
}

impl Default for Plateau {
    fn default() -> Self {
        Self {
            multiplier: 1.0,
            best: None,
            bad_evaluations: 0,
        }
    }
}

impl ScheduledLearningRate {
    /// Creates a scheduler at step 0 with the base rate `base`.
    pub fn new(base: f64, schedule: Schedule) -> Self {
        Self::resumed(base, schedule, 0, Plateau::default())
    }

    /// Creates a scheduler that continues after `step` steps.
    pub(crate) fn resumed(base: f64, schedule: Schedule, step: usize, plateau: Plateau) -> Self {
        Self {
            base,
            schedule,
            step,
            plateau: Arc::new(Mutex::new(plateau)),
        }
    }

    /// Returns the state of the plateau, which a checkpoint contains.
    pub(crate) fn plateau(&self) -> Plateau {
        *self.lock()
    }

    /// Observes the loss of an evaluation. Only [`Schedule::Plateau`] reacts to it.
    pub fn observe(&self, validation_loss: f64) {
        let Schedule::Plateau {
            patience,
            factor,
            min_learning_rate,
            ..
        } = self.schedule
        else {
            return;
        };
        let mut plateau = self.lock();
        let is_lower = |best: f64| validation_loss < best * (1.0 - 1e-4);
        if plateau.best.is_none_or(is_lower) {
            plateau.best = Some(validation_loss);
            plateau.bad_evaluations = 0;
            return;
        }
        plateau.bad_evaluations += 1;
        if plateau.bad_evaluations >= patience {
            plateau.bad_evaluations = 0;
            let reduced = (plateau.multiplier * factor).max(min_learning_rate / self.base);
            plateau.multiplier = plateau.multiplier.min(reduced);
        }
    }

    /// Returns the learning rate of a step, counted from 0.
    fn rate(&self, step: usize) -> f64 {
        let warmup = |steps: usize| ((step + 1) as f64 / steps.max(1) as f64).min(1.0);
        match self.schedule {
            Schedule::Constant { warmup_steps } => self.base * warmup(warmup_steps),
            Schedule::Cosine {
                warmup_steps,
                total_steps,
            } => {
                if step < warmup_steps {
                    return self.base * warmup(warmup_steps);
                }
                let span = total_steps.saturating_sub(warmup_steps).max(1);
                let done = ((step - warmup_steps) as f64 / span as f64).min(1.0);
                self.base * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
            Schedule::Plateau { warmup_steps, .. } => {
                self.base * warmup(warmup_steps) * self.lock().multiplier
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Plateau> {
        self.plateau
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl LrScheduler for ScheduledLearningRate {
    fn step(&mut self) -> LearningRate {
        let rate = self.rate(self.step);
        self.step += 1;
        rate
    }

    fn to_record(&self) -> LrSchedulerRecord {
        let plateau = self.lock();
        LrSchedulerRecord::new()
            .with_scalar("step", self.step as u64)
            .with_scalar("multiplier", plateau.multiplier)
            .with_scalar("best", plateau.best.unwrap_or(f64::INFINITY))
            .with_scalar("bad_evaluations", plateau.bad_evaluations as u64)
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        self.step = record.scalar::<u64>("step").unwrap_or(0) as usize;
        let mut plateau = self.lock();
        plateau.multiplier = record.scalar("multiplier").unwrap_or(1.0);
        plateau.best = record.scalar("best").filter(|best: &f64| best.is_finite());
        plateau.bad_evaluations = record.scalar::<u64>("bad_evaluations").unwrap_or(0) as usize;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLATEAU: Schedule = Schedule::Plateau {
        warmup_steps: 0,
        patience: 2,
        factor: 0.5,
        min_learning_rate: 0.2,
    };

    #[test]
    fn cosine_counts_steps_reaches_zero_and_stays_there() {
        let mut rate = ScheduledLearningRate::new(
            1.0,
            Schedule::Cosine {
                warmup_steps: 2,
                total_steps: 6,
            },
        );
        let rates: Vec<f64> = (0..9).map(|_| rate.step()).collect();
        let expected = [0.5, 1.0, 1.0, 0.853_553, 0.5, 0.146_447, 0.0, 0.0, 0.0];
        for (rate, expected) in rates.iter().zip(expected) {
            assert!((rate - expected).abs() < 1e-6, "{rates:?}");
        }
    }

    #[test]
    fn constant_warms_up_and_stays() {
        let schedule = |warmup_steps| Schedule::Constant { warmup_steps };
        let rates = |warmup_steps| {
            let mut rate = ScheduledLearningRate::new(1.0, schedule(warmup_steps));
            [0; 4].map(|_| rate.step())
        };
        assert_eq!(rates(2), [0.5, 1.0, 1.0, 1.0]);
        assert_eq!(rates(0), [1.0; 4]);
    }

    #[test]
    fn plateau_halves_after_patience_evaluations_without_a_lower_loss_down_to_the_minimum() {
        let mut rate = ScheduledLearningRate::new(1.0, PLATEAU);
        let mut rates = Vec::new();
        for loss in [3.0, 3.1, 2.9, 2.9, 2.9, 2.9, 2.9, 2.9, 2.9] {
            rate.observe(loss);
            rates.push(rate.step());
        }
        assert_eq!(rates, [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.2]);
    }

    #[test]
    fn a_record_restores_step_and_plateau() {
        let mut rate = ScheduledLearningRate::new(1.0, PLATEAU);
        rate.step();
        for loss in [3.0, 3.0, 3.0, 3.0] {
            rate.observe(loss);
        }
        let mut restored = ScheduledLearningRate::new(1.0, PLATEAU);
        restored.load_record(rate.to_record());
        rate.observe(3.0);
        restored.observe(3.0);
        assert_eq!(restored.step(), rate.step());
        assert_eq!(restored.step, 2);
    }

    #[test]
    fn clones_share_observations() {
        let handle = ScheduledLearningRate::new(1.0, PLATEAU);
        let mut scheduler = handle.clone();
        for loss in [3.0, 3.0, 3.0] {
            handle.observe(loss);
        }
        assert_eq!(scheduler.step(), 0.5);
    }
}
