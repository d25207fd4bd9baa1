//! How far a piece of work is.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use log::{Level, info, log_enabled};

/// Time between two lines where there is no terminal to draw a bar on.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// A bar with rate and time left, or a line now and then where there is no terminal.
pub struct Bar {
    what: &'static str,
    bar: ProgressBar,
    last_line: Instant,
}

impl Bar {
    pub fn begin(what: &'static str, total: usize) -> Self {
        let template = format!("{what} {{wide_bar}} {{pos}}/{{len}}  {{per_sec}}  {{eta}} left");
        let style = ProgressStyle::with_template(&template).expect("a valid template");
        // Hidden bars count as well.
        let target = if log_enabled!(Level::Info) {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            what,
            bar: ProgressBar::with_draw_target(Some(total as u64), target).with_style(style),
            last_line: Instant::now(),
        }
    }

    /// Shows that so many of so many are done, where the total was not known before.
    pub fn show_of(&mut self, done: usize, total: usize) {
        self.bar.set_length(total as u64);
        self.show(done);
    }

    /// Shows that so many are done; fewer than before are those of a worker heard late.
    pub fn show(&mut self, done: usize) {
        let done = (done as u64).max(self.bar.position());
        self.bar.set_position(done);
        if !stderr().is_terminal() && self.last_line.elapsed() >= BETWEEN_LINES {
            self.last_line = Instant::now();
            let (rate, left) = (self.bar.per_sec(), self.bar.eta().as_secs());
            let total = self.bar.length().unwrap_or_default();
            let what = self.what;
            info!("{done} of {total} {what}, {rate:.1} a second, {left} s left");
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
