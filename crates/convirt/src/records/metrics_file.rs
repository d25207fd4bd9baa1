//! The file `metrics.jsonl`: one JSON object a line for each step and each evaluation.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use convirt_data::{FileError, NewFile, read_regular_text};
use serde::{Deserialize, Serialize};

use super::first_error::FirstError;
use super::record::{EvaluationRecord, StepRecord, TrainingObserver};

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
    error: FirstError,
}

impl MetricsFile {
    /// Opens the file in `folder`, without the lines after `step`: a resumed run writes them again.
    pub fn open(folder: &Path, step: usize) -> Result<Self, FileError> {
        let path = folder.join(FILE);
        if path.exists() {
            let text = read_regular_text(&path, MAX_BYTES).map_err(FileError::read(&path))?;
            let kept: String = text
                .split_inclusive('\n')
                .filter(|line| step_of(line).is_some_and(|of_line| of_line <= step))
                .collect();
            if kept.len() < text.len() {
                NewFile::write_whole(&path, kept.as_bytes()).map_err(FileError::write(&path))?;
            }
        }
        let file = OpenOptions::new().create(true).append(true).open(&path);
        Ok(Self {
            file: BufWriter::new(file.map_err(FileError::write(&path))?),
            path,
            error: FirstError::default(),
        })
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
}

/// Returns the step of a complete line.
fn step_of(line: &str) -> Option<usize> {
    #[derive(Deserialize)]
    struct OnlyStep {
        step: usize,
    }
    let line = line.strip_suffix('\n')?;
    Some(serde_json::from_str::<OnlyStep>(line).ok()?.step)
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
        let mut file = MetricsFile::open(folder.path(), 0).unwrap();
        for number in 1..=3 {
            file.on_step(&step(number));
        }
        file.on_evaluation(&evaluation(3));
        drop(file);
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, whole + "{\"kind\":\"step\",\"st").unwrap();

        let mut file = MetricsFile::open(folder.path(), 2).unwrap();
        file.on_step(&step(3));
        let steps: Vec<usize> = fs::read_to_string(&path)
            .unwrap()
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
