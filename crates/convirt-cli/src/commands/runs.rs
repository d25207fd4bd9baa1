//! `convirt runs`: lists runs with their figures.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
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
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,

    #[command(flatten)]
    results: ResultsArguments,
}

pub fn run(arguments: &Arguments) -> Result<Ending> {
    let results = arguments.results.begin();
    results.print(&Comparison::of_folder(&arguments.runs_dir))?;
    Ok(Ending::Done)
}
