//! What a preparation shows while it works and when it is done.

use std::io::{self, IsTerminal, Write, stderr, stdout};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use convirt::data::{Prepared, Progress, Stage};
use indicatif::{ProgressBar, ProgressStyle};

/// Time between two lines where there is no terminal to draw a bar on.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Shows one stage after the other.
#[derive(Default)]
pub struct Terminal {
    running: Mutex<Option<Running>>,
}

struct Running {
    stage: Stage,
    bar: ProgressBar,
    last_line: Instant,
}

impl Terminal {
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

    /// Prints what was made and left out, and how to train on it; the output may be closed.
    pub fn finish(self, prepared: &Prepared) -> io::Result<()> {
        drop(self);
        let mut out = stdout().lock();
        let keys = prepared.config_keys();
        writeln!(out, "{prepared}\n\nIn a configuration:\n\ndataset:")?;
        for (key, value) in &keys {
            writeln!(out, "  {key}: {value}")?;
        }
        let manifest = prepared.manifest.display();
        writeln!(
            out,
            "\nOr with that of the phantom:\n\n  cargo run --release --example train_mimic -- \\"
        )?;
        writeln!(
            out,
            "    --set \"dataset.csv_file={manifest}\" --set dataset.phantom=null \\"
        )?;
        if let Some(root) = &prepared.image_root {
            writeln!(
                out,
                "    --set \"dataset.img_root_dir={}\" \\",
                root.display()
            )?;
        }
        writeln!(out, "    --set dataset.text_from_files=False")
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
