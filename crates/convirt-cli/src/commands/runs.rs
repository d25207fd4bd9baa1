//! `convirt runs`: lists runs with their figures.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::Args;
use convirt::config::DEFAULT_RUNS_DIR;
use convirt::run::Comparison;

use crate::arguments::ResultsArguments;
use crate::program::Ending;

/// List the runs with their figures
#[derive(Args)]
#[command(after_help = "Examples:
  convirt runs
  convirt report latest 2026-01-16       compares two of them")]
pub struct Arguments {
    /// Folder of runs
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUNS_DIR)]
    runs_dir: PathBuf,

    #[command(flatten)]
    results: ResultsArguments,
}

pub fn run(arguments: &Arguments) -> Result<Ending> {
    let results = arguments.results.begin();
    let folder = &arguments.runs_dir;
    // The first training creates the default folder.
    ensure!(
        folder.is_dir() || folder == Path::new(DEFAULT_RUNS_DIR),
        "{}: there is no such folder; give the `runs_dir` of a configuration",
        folder.display()
    );
    results.print(&Comparison::of_folder(folder))?;
    Ok(Ending::Done)
}
