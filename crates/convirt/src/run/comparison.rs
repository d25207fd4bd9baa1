//! Runs beside each other: their figures, and the settings in which they differ.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::folder::RunDir;
use super::summary::{Ending, Summary};
use crate::config::{Config, differences};
use crate::error::Error;
use crate::inference::runs_in;
use crate::readable::{duration, thousands};
use crate::retrieval::{Direction, RetrievalScores};

/// Width of the column of names.
const NAME_WIDTH: usize = 44;

/// Settings that differ between any two runs and say nothing.
const UNTOLD: [&str; 2] = ["name", "runs_dir"];

/// The figures of several runs.
///
/// `Display` is a table with a line for each run, and the settings in which they differ.
///
/// # Examples
///
/// ```no_run
/// use convirt::run::Comparison;
///
/// # fn main() -> Result<(), convirt::Error> {
/// println!("{}", Comparison::of_folder("runs".as_ref()));
/// println!("{}", Comparison::new("runs".as_ref(), &["2026-01-16", "latest"])?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The runs, in the given order, or by the time of their start.
    pub runs: Vec<RunFigures>,
    /// Settings in which the runs differ, each with its value in every run.
    pub differences: BTreeMap<String, Vec<String>>,
}

/// The figures of one run.
#[derive(Clone, Debug, Serialize)]
pub struct RunFigures {
    /// Name of the run.
    pub name: String,
    /// The summary; `None` if the run has not ended.
    pub summary: Option<Summary>,
}

impl RunFigures {
    fn new(run: &RunDir) -> Self {
        Self {
            name: run.name(),
            summary: Summary::load(&run.summary()),
        }
    }
}

impl Comparison {
    /// Lists all runs in a folder, with their figures alone.
    pub fn of_folder(runs: &Path) -> Self {
        let runs = runs_in(runs).into_iter().filter_map(|name| {
            let run = RunDir::open(runs, name.as_ref()).ok()?;
            Some(RunFigures::new(&run))
        });
        Self {
            runs: runs.collect(),
            differences: BTreeMap::new(),
        }
    }

    /// Compares runs, each given as [`RunDir::open`] takes it.
    ///
    /// # Errors
    ///
    /// If a run does not exist, or its configuration cannot be read.
    pub fn new(folder: &Path, names: &[impl AsRef<Path>]) -> Result<Self, Error> {
        let (mut runs, mut configurations) = (Vec::new(), Vec::new());
        for name in names {
            let run = RunDir::open(folder, name.as_ref())?;
            configurations.push(Config::from_written(&run.config(), &[])?);
            runs.push(RunFigures::new(&run));
        }
        let mut differences = differences(&configurations.iter().collect::<Vec<_>>());
        differences.retain(|key, _| !UNTOLD.contains(&key.as_str()));
        Ok(Self { runs, differences })
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.runs.is_empty() {
            return write!(f, "no runs");
        }
        writeln!(
            f,
            "{:<NAME_WIDTH$}{:>12}  {:>13}  {:>28}  {:>28}  {:>12}",
            "", "steps", "loss (chance)", "recall@10 (chance), %", "median rank (chance)", "time"
        )?;
        let directions = format!("  {:>13}  {:>13}", "image→text", "text→image");
        write!(f, "{:<NAME_WIDTH$}{:>27}{directions}{directions}", "", "")?;
        for run in &self.runs {
            write!(f, "\n{:<NAME_WIDTH$}", run.name)?;
            let Some(summary) = &run.summary else {
                write!(f, "{:>12}", "not ended")?;
                continue;
            };
            let ending = match summary.ending {
                Ending::Completed => "",
                Ending::StoppedEarly => " early stop",
                Ending::Interrupted => " interrupted",
            };
            let loss = match summary.validation_loss {
                Some(loss) => format!("{loss:.3} ({:.3})", summary.chance_loss),
                None => "none".to_string(),
            };
            let both = |score: fn(&RetrievalScores) -> f64| {
                let cell = |direction: &Direction| {
                    let (value, chance) = (score(&direction.scores), score(&direction.chance));
                    format!("{value:.1} ({chance:.1})")
                };
                let retrieval = summary.retrieval.as_ref();
                let cells = retrieval.map(|it| [&it.image_to_text, &it.text_to_image].map(cell));
                let [image_to_text, text_to_image] = cells.unwrap_or_default();
                format!("{image_to_text:>13}  {text_to_image:>13}")
            };
            let recall = both(|scores| 100.0 * scores.recall_at_10);
            let rank = both(|scores| scores.median_rank);
            write!(
                f,
                "{:>12}  {loss:>13}  {recall}  {rank}  {:>12}{ending}",
                thousands(summary.steps),
                duration(summary.seconds)
            )?;
        }
        if !self.differences.is_empty() {
            write!(f, "\n\nsettings in which they differ:")?;
        }
        for (key, values) in &self.differences {
            write!(f, "\n{key:<NAME_WIDTH$}{}", values.join("  |  "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn runs_are_listed_and_their_settings_compared() {
        let folder = tempfile::tempdir().unwrap();
        for (name, batch) in [("first", 8), ("second", 16)] {
            let run = RunDir::create(folder.path(), name).unwrap();
            let yaml = format!("name: {name}\nbatch_size: {batch}\ndataset: {{csv_file: a.csv}}\n");
            fs::write(run.config(), yaml).unwrap();
        }
        let all = Comparison::of_folder(folder.path());
        assert_eq!(all.runs.len(), 2);
        let text = all.to_string();
        assert!(
            text.contains("_first") && text.contains("not ended"),
            "{text}"
        );

        let names: Vec<&str> = all.runs.iter().map(|run| run.name.as_str()).collect();
        let comparison = Comparison::new(folder.path(), &names).unwrap();
        let expected = BTreeMap::from([(
            "batch_size".to_string(),
            vec!["8".to_string(), "16".to_string()],
        )]);
        assert_eq!(comparison.differences, expected);
        assert!(comparison.to_string().contains("8  |  16"), "{comparison}");
    }
}
