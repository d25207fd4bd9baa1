//! When a checkpoint is due.

use std::time::Duration;

use crate::config::Config;

/// The intervals of the checkpoints within an evaluation window, by time and by steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckpointIntervals {
    time: Option<Duration>,
    steps: Option<usize>,
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

    /// Returns whether a checkpoint is due after `step`, some time after the last one.
    pub fn is_due(&self, step: usize, since_last: Duration) -> bool {
        self.time.is_some_and(|time| since_last >= time)
            || self.steps.is_some_and(|steps| step.is_multiple_of(steps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_or_steps_decide() {
        let due = |minutes, steps, step, seconds| {
            let config = Config {
                checkpoint_every_minutes: minutes,
                checkpoint_every_n_steps: steps,
                ..Config::default()
            };
            CheckpointIntervals::new(&config).is_due(step, Duration::from_secs(seconds))
        };
        assert!(due(Some(10.0), None, 3, 600) && !due(Some(10.0), None, 3, 599));
        assert!(due(None, Some(4), 8, 0) && !due(None, Some(4), 9, 9_999));
        assert!(due(Some(0.1), Some(4), 9, 6));
        assert!(!due(Some(1e300), None, 3, 9_999));
    }
}
