//! The file `metrics.jsonl`: one JSON object a line for each step and each evaluation.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use convirt_data::{FileError, NewFile, read_regular_text};
use serde::{Deserialize, Serialize};

use super::first_error::FirstError;
use super::record::{CheckpointRecord, EvaluationRecord, StepRecord, TrainingObserver};

/// Name of the file in a run's folder.
const FILE: &str = "metrics.jsonl";

/// Maximum size of the file that is read, in bytes: a million steps take 0.4 GB.
const MAX_BYTES: u64 = 4 << 30;

/// A line of the file.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line<'a> {
    Step(&'a StepRecord),
    Evaluation(&'a EvaluationRecord),
}

/// An observer that writes `metrics.jsonl`.
pub(crate) struct MetricsFile {
    path: PathBuf,
    file: BufWriter<File>,
    /// The last step at the opening.
    last_step: Option<StepRecord>,
    error: FirstError,
}

impl MetricsFile {
    /// Opens the file in `folder`, without the steps after `step` and the evaluations after step
    /// `evaluated`: a resumed run writes them again.
    pub fn open(folder: &Path, step: usize, evaluated: usize) -> Result<Self, FileError> {
        let path = folder.join(FILE);
        let mut last_step = None;
        if path.exists() {
            let text = read_regular_text(&path, MAX_BYTES).map_err(FileError::read(&path))?;
            let kept: String = text
                .split_inclusive('\n')
                .filter(|line| match kind_and_step(line) {
                    Some((Kind::Step, of_line)) => of_line <= step,
                    Some((Kind::Evaluation, of_line)) => of_line <= evaluated,
                    None => false,
                })
                .collect();
            let mut steps = kept
                .lines()
                .rev()
                .filter_map(|it| serde_json::from_str(it).ok());
            last_step = steps.next();
            if kept.len() < text.len() {
                NewFile::write_whole(&path, kept.as_bytes()).map_err(FileError::write(&path))?;
            }
        }
        let file = OpenOptions::new().create(true).append(true).open(&path);
        Ok(Self {
            file: BufWriter::new(file.map_err(FileError::write(&path))?),
            path,
            last_step,
            error: FirstError::default(),
        })
    }

    /// Returns the last step that the file had when it was opened.
    pub fn last_step(&self) -> Option<&StepRecord> {
        self.last_step.as_ref()
    }

    fn write(&mut self, line: &Line<'_>) {
        let mut json = serde_json::to_string(line).expect("plain data");
        json.push('\n');
        let written = self.file.write_all(json.as_bytes());
        let written = written.and_then(|()| self.file.flush());
        let path = self.path.display();
        self.error.warn(format_args!("{path}:"), written);
    }
}

impl TrainingObserver for MetricsFile {
    fn on_step(&mut self, record: &StepRecord) {
        self.write(&Line::Step(record));
    }

    fn on_evaluation(&mut self, record: &EvaluationRecord) {
        self.write(&Line::Evaluation(record));
    }

    /// A run resumed from the checkpoint needs the lines before it, even after a power failure.
    fn on_checkpoint(&mut self, _record: &CheckpointRecord) {
        let synced = self.file.get_ref().sync_data();
        let path = self.path.display();
        self.error.warn(format_args!("{path}:"), synced);
    }
}

/// The kind of a line.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Step,
    Evaluation,
}

/// Returns the kind and the step of a complete line.
fn kind_and_step(line: &str) -> Option<(Kind, usize)> {
    #[derive(Deserialize)]
    struct Start {
        kind: Kind,
        step: usize,
    }
    let line = line.strip_suffix('\n')?;
    let Start { kind, step } = serde_json::from_str(line).ok()?;
    Some((kind, step))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::records::record::tests::{evaluation, step};

    #[test]
    fn a_resumed_run_replaces_the_lines_of_later_steps_and_an_incomplete_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let mut file = MetricsFile::open(folder.path(), 0, 0).unwrap();
        for number in 1..=3 {
            file.on_step(&step(number));
        }
        file.on_evaluation(&evaluation(3));
        drop(file);
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, whole + "{\"kind\":\"step\",\"st").unwrap();

        // A checkpoint before the evaluation at its step.
        drop(MetricsFile::open(folder.path(), 3, 2).unwrap());
        let lines = || fs::read_to_string(&path).unwrap();
        assert_eq!(lines().lines().count(), 3);
        assert!(!lines().contains("evaluation"));

        let mut file = MetricsFile::open(folder.path(), 2, 2).unwrap();
        file.on_step(&step(3));
        let steps: Vec<usize> = lines()
            .lines()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!(line["kind"], "step");
                line["step"].as_u64().unwrap() as usize
            })
            .collect();
        assert_eq!(steps, [1, 2, 3]);
    }
}
