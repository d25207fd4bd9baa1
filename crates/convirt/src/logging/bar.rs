//! Progress of a task: a bar on a terminal, lines elsewhere.

use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use super::LINE_INTERVAL;
use crate::messages::{note, progress_bar};
use crate::readable::duration;

/// The progress of a task, with an estimate of the remaining time. Threads may share it.
pub(crate) struct Bar {
    bar: ProgressBar,
    /// Unit of the steps, as in `120 of 400 images`.
    unit: &'static str,
    started: Instant,
    last_line: Mutex<Instant>,
}

impl Bar {
    /// Starts the progress of a task of `total` steps.
    pub fn new(task: &str, total: usize, unit: &'static str) -> Self {
        let template = "{msg} {wide_bar} {pos}/{len} {prefix}  {eta} left";
        let style = ProgressStyle::with_template(template).expect("a valid template");
        if !stderr().is_terminal() {
            note(format_args!("{task}: {total} {unit}"));
        }
        Self {
            bar: progress_bar(total as u64)
                .with_style(style)
                .with_message(task.to_string())
                .with_prefix(unit),
            unit,
            started: Instant::now(),
            last_line: Mutex::new(Instant::now()),
        }
    }

    /// Adds `steps` to the steps done.
    pub fn advance(&self, steps: usize) {
        self.bar.inc(steps as u64);
        let mut last_line = self
            .last_line
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if stderr().is_terminal() || last_line.elapsed() < LINE_INTERVAL {
            return;
        }
        *last_line = Instant::now();
        let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
        let left = total.saturating_sub(done) as f64 / done.max(1) as f64;
        let left = duration(left * self.started.elapsed().as_secs_f64());
        let unit = self.unit;
        note(format_args!("{done} of {total} {unit}, {left} left"));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
