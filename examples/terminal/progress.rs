//! What a program shows on the terminal while it works through many files.

use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use convirt::data::{Progress, Stage};
use indicatif::{ProgressBar, ProgressStyle};

/// Time between two lines where there is no terminal to draw a bar on.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Shows one stage after the other.
#[derive(Default)]
pub struct ProgressBars {
    running: Mutex<Option<Running>>,
}

struct Running {
    stage: Stage,
    bar: ProgressBar,
    last_line: Instant,
}

impl ProgressBars {
    /// Draws a bar with rate and time left, or prints them as a line now and then.
    pub fn show(&self, progress: Progress) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running
            .as_ref()
            .is_none_or(|running| running.stage != progress.stage)
        {
            *running = Some(Running::begin(progress));
        }
        if let Some(running) = running.as_mut() {
            running.go_on(progress);
        }
    }
}

impl Running {
    fn begin(progress: Progress) -> Self {
        let template = format!(
            "{} {{wide_bar}} {{pos}}/{{len}}  {{per_sec}}  {{eta}} left",
            progress.stage.name()
        );
        let style = ProgressStyle::with_template(&template).expect("a valid template");
        Self {
            stage: progress.stage,
            bar: ProgressBar::new(progress.total as u64).with_style(style),
            last_line: Instant::now(),
        }
    }

    fn go_on(&mut self, Progress { stage, done, total }: Progress) {
        // Workers may be heard out of order.
        self.bar
            .set_position((done as u64).max(self.bar.position()));
        if !stderr().is_terminal() && self.last_line.elapsed() >= BETWEEN_LINES {
            self.last_line = Instant::now();
            let (rate, left) = (self.bar.per_sec(), self.bar.eta().as_secs());
            eprintln!(
                "{done} of {total} {}, {rate:.0} a second, {left} s left",
                stage.name()
            );
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
