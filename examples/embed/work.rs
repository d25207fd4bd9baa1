//! What is shown while something is embedded, and how it is stopped.

use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

/// Time between two lines where there is no terminal to draw a bar on.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

static STOP: AtomicBool = AtomicBool::new(false);

/// A bar with rate and time left, or a line now and then where there is no terminal.
pub struct Work {
    what: &'static str,
    bar: ProgressBar,
    last_line: Instant,
}

impl Work {
    pub fn begin(what: &'static str, total: usize) -> Self {
        let template = format!("{what} {{wide_bar}} {{pos}}/{{len}}  {{per_sec}}  {{eta}} left");
        let style = ProgressStyle::with_template(&template).expect("a valid template");
        Self {
            what,
            bar: ProgressBar::new(total as u64).with_style(style),
            last_line: Instant::now(),
        }
    }

    pub fn show(&mut self, done: usize) {
        self.bar.set_position(done as u64);
        if !stderr().is_terminal() && self.last_line.elapsed() >= BETWEEN_LINES {
            self.last_line = Instant::now();
            let (rate, left) = (self.bar.per_sec(), self.bar.eta().as_secs());
            let total = self.bar.length().unwrap_or_default();
            let what = self.what;
            eprintln!("{done} of {total} {what}, {rate:.1} a second, {left} s left");
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Makes Ctrl-C a request to stop between two batches, so that half a file is not left behind; a
/// second one ends the program at once.
pub fn stop_on_ctrl_c() -> Result<()> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })?;
    Ok(())
}

/// An error once Ctrl-C was pressed.
pub fn go_on() -> Result<()> {
    if STOP.load(Ordering::Relaxed) {
        bail!("stopped; nothing was written");
    }
    Ok(())
}
