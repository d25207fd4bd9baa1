//! A progress bar.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use log::{Level, info, log_enabled};

/// Time between two lines if there is no terminal to draw a bar on.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// A progress bar with rate and remaining time. Without a terminal, it logs a line from time to
/// time.
pub struct Bar {
    title: &'static str,
    bar: ProgressBar,
    last_line: Instant,
}

impl Bar {
    pub fn begin(title: &'static str, total: usize) -> Self {
        let template = format!("{title} {{wide_bar}} {{pos}}/{{len}}  {{per_sec}}  {{eta}} left");
        let style = ProgressStyle::with_template(&template).expect("a valid template");
        // A hidden bar still counts.
        let target = if log_enabled!(Level::Info) {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            title,
            bar: ProgressBar::with_draw_target(Some(total as u64), target).with_style(style),
            last_line: Instant::now(),
        }
    }

    /// Shows how many of `total` items are done, if the total was not known before.
    pub fn show_of(&mut self, done: usize, total: usize) {
        self.bar.set_length(total as u64);
        self.show(done);
    }

    /// Shows how many items are done. A number lower than before comes late from another thread and
    /// is ignored.
    pub fn show(&mut self, done: usize) {
        let done = (done as u64).max(self.bar.position());
        self.bar.set_position(done);
        if !stderr().is_terminal() && self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            let (rate, left) = (self.bar.per_sec(), self.bar.eta().as_secs());
            let total = self.bar.length().unwrap_or_default();
            let title = self.title;
            info!("{done} of {total} {title}, {rate:.1} per second, {left} s left");
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
