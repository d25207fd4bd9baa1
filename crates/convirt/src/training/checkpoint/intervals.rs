//! When a checkpoint is due.

use std::time::{Duration, Instant};

use crate::config::Config;

/// The intervals of the checkpoints within an evaluation window, by time and by steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckpointIntervals {
    time: Option<Duration>,
    steps: Option<usize>,
}

/// The checkpoint that was begun last, or the beginning of the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastCheckpoint {
    pub step: usize,
    pub at: Instant,
}

impl LastCheckpoint {
    /// A checkpoint that begins now.
    pub fn now(step: usize) -> Self {
        Self {
            step,
            at: Instant::now(),
        }
    }
}

impl CheckpointIntervals {
    /// Takes the intervals of a configuration.
    pub fn new(config: &Config) -> Self {
        let seconds = config.checkpoint_every_minutes.map(|it| 60.0 * it);
        Self {
            // More than a duration can be is never.
            time: seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            steps: config.checkpoint_every_n_steps,
        }
    }

    /// Returns whether a checkpoint is due after `step`.
    ///
    /// A multiple of the steps that passed while a checkpoint was being written is made up for.
    pub fn is_due(&self, step: usize, last: LastCheckpoint) -> bool {
        self.time.is_some_and(|time| last.at.elapsed() >= time)
            || (self.steps).is_some_and(|steps| step / steps > last.step / steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_or_steps_decide() {
        let due = |minutes, steps, (last, step), seconds| {
            let config = Config {
                checkpoint_every_minutes: minutes,
                checkpoint_every_n_steps: steps,
                ..Config::default()
            };
            let mut last = LastCheckpoint::now(last);
            last.at -= Duration::from_secs(seconds);
            CheckpointIntervals::new(&config).is_due(step, last)
        };
        assert!(due(Some(10.0), None, (0, 3), 600) && !due(Some(10.0), None, (0, 3), 590));
        assert!(due(None, Some(4), (7, 8), 0) && !due(None, Some(4), (8, 9), 900));
        assert!(due(None, Some(4), (7, 9), 0), "8 passed while it was busy");
        assert!(due(Some(0.1), Some(4), (8, 9), 6));
        assert!(!due(Some(1e300), None, (0, 3), 900));
    }
}
