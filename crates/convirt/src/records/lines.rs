//! The progress of a training as lines, on the screen and in `train.log`.

use std::fmt::{Display, Write as _};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use convirt_data::{FileError, printable_lines};

use super::first_error::FirstError;
use super::record::{CheckpointRecord, EvaluationRecord, StepRecord, TrainingObserver};
use crate::messages::{progress, warning};
use crate::readable::duration;

/// Name of the file in a run's folder.
const FILE: &str = "train.log";

/// Time between two lines.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// The file `train.log`: what the screen showed, of all parts of a run.
pub(crate) struct TrainLog {
    path: PathBuf,
    file: File,
    error: FirstError,
}

impl TrainLog {
    /// Opens the file in `folder`, to append to it.
    pub fn open(folder: &Path) -> Result<Self, FileError> {
        let path = folder.join(FILE);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        Ok(Self {
            file: file.map_err(FileError::write(&path))?,
            path,
            error: FirstError::default(),
        })
    }

    /// Appends lines. A warning tells of the first error.
    pub fn write(&mut self, text: impl Display) {
        let text = printable_lines(text).to_string();
        let written = writeln!(self.file, "{}", text.trim_end());
        let path = self.path.display();
        self.error.warn(format_args!("{path}:"), written);
    }
}

/// An observer that writes a line every ten seconds and one for each evaluation, into `train.log`
/// and, unless another view has the screen, as progress messages.
pub(crate) struct Lines {
    log: TrainLog,
    on_screen: bool,
    total_steps: usize,
    first_step: usize,
    started: Instant,
    last_line: Option<Instant>,
    /// Whether the size of a checkpoint with the optimizer's state has been told.
    knows_checkpoints: bool,
    /// The line of a step that is not written yet.
    untold: Option<String>,
}

impl Lines {
    /// Starts after `step` of `total_steps`.
    pub fn new(log: TrainLog, step: usize, total_steps: usize, on_screen: bool) -> Self {
        Self {
            log,
            on_screen,
            total_steps,
            first_step: step,
            started: Instant::now(),
            last_line: None,
            knows_checkpoints: false,
            untold: None,
        }
    }

    fn line(&mut self, line: &str) {
        if self.on_screen {
            progress(line);
        }
        self.log.write(line);
        self.last_line = Some(Instant::now());
        self.untold = None;
    }

    fn of_step(&self, record: &StepRecord) -> String {
        let done = record.step.saturating_sub(self.first_step).max(1);
        let left = self.total_steps.saturating_sub(record.step);
        let left = self.started.elapsed().as_secs_f64() / done as f64 * left as f64;
        let mut line = format!(
            "step {:>5}/{}  loss {:.3}{}  rate {:.2e}",
            record.step,
            self.total_steps,
            record.loss,
            accuracies(&record.accuracies),
            record.learning_rate
        );
        if let Some(speed) = record.pairs_per_second {
            let _ = write!(line, "  {speed:.1} pairs/s");
        }
        if let Some(mebibytes) = record.exchanged_mib {
            let _ = write!(line, "  {mebibytes:.1} MiB sent");
        }
        line + &format!("  {} left", duration(left))
    }
}

impl TrainingObserver for Lines {
    fn on_step(&mut self, record: &StepRecord) {
        let line = self.of_step(record);
        let is_due = self
            .last_line
            .is_none_or(|last| last.elapsed() >= LINE_INTERVAL);
        if is_due {
            self.line(&line);
        } else {
            self.untold = Some(line);
        }
    }

    fn on_evaluation(&mut self, record: &EvaluationRecord) {
        // The last step before an evaluation always has its line.
        if let Some(line) = self.untold.take() {
            self.line(&line);
        }
        let mut line = format!(
            "evaluation at step {}: loss {:.3}{}",
            record.step,
            record.loss,
            accuracies(&record.accuracies)
        );
        if let Some(retrieval) = &record.retrieval {
            let recall =
                |direction: &crate::retrieval::Direction| 100.0 * direction.scores.recall_at_10;
            let _ = write!(
                line,
                "  recall@10 {:.1} % {:.1} %",
                recall(&retrieval.image_to_text),
                recall(&retrieval.text_to_image)
            );
        }
        if record.is_best {
            line += "  best so far";
        }
        self.line(&line);
    }

    /// The first one tells how much a stop costs; they are all alike.
    fn on_checkpoint(&mut self, record: &CheckpointRecord) {
        if self.knows_checkpoints {
            return;
        }
        self.knows_checkpoints = record.step > self.first_step;
        let megabytes = record.bytes as f64 / 1e6;
        let line = format!(
            "checkpoint of step {}: {megabytes:.1} MB, written in {:.1} s",
            record.step, record.seconds
        );
        self.line(&line);
    }

    fn on_warning(&mut self, text: &str) {
        if self.on_screen {
            warning(text);
        }
        self.log.write(format_args!("warning: {text}"));
    }
}

fn accuracies(accuracies: &std::collections::BTreeMap<String, f64>) -> String {
    let mut text = String::new();
    for (name, accuracy) in accuracies {
        let name = name.replace("_to_", "→");
        let _ = write!(text, "  {name} {:4.1} %", 100.0 * accuracy);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::records::record::tests::{evaluation, step};

    #[test]
    fn the_log_has_the_first_step_the_evaluations_and_the_step_before_each() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = TrainLog::open(folder.path()).unwrap();
        log.write("run  a\n");
        let mut lines = Lines::new(log, 0, 8, false);
        for number in 1..=4 {
            lines.on_step(&step(number));
        }
        lines.on_evaluation(&evaluation(4));
        let log = fs::read_to_string(folder.path().join(FILE)).unwrap();
        let log: Vec<&str> = log.lines().collect();
        assert_eq!(log.len(), 4, "{log:?}");
        assert_eq!(log[0], "run  a");
        let first = "step     1/8  loss 2.900  image→text 25.0 %  rate 1.00e-4  0 s left";
        assert_eq!(log[1], first);
        assert!(
            log[2].starts_with("step     4/8") && log[2].contains("80.0 pairs/s"),
            "{log:?}"
        );
        let best = "evaluation at step 4: loss 2.500  image→text 50.0 %  recall@10 100.0 % 100.0 %  \
                    best so far";
        assert_eq!(log[3], best);

        // A resumed run goes on in the same file.
        let log = TrainLog::open(folder.path()).unwrap();
        let mut lines = Lines::new(log, 4, 8, false);
        lines.on_step(&step(5));
        let log = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert_eq!(log.lines().count(), 5);
    }
}
