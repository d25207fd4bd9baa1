//! `convirt report`: writes the HTML report of a run.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use convirt::RunDir;
use convirt::config::DEFAULT_RUNS_DIR;
use convirt::data::path_text;
use convirt::run::Comparison;
use serde_json::json;

use crate::arguments::{DeviceArgument, ResultsArguments};
use crate::program::{Ending, Misuse};

/// Write the HTML report of a run: curves, held-out pairs, heat maps; or compare several runs
#[derive(Args)]
#[command(after_help = "Examples:
  convirt report latest                  writes the page of a run
  convirt report 2026-01-16 latest       prints the figures of two runs, and how their settings differ

A training writes its page at the end; this command is for a run that was interrupted, or that is still
running.")]
pub struct Arguments {
    /// Runs: each a path, a name in `runs` or its beginning, or `latest`
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,

    #[command(flatten)]
    device: DeviceArgument,

    #[command(flatten)]
    results: ResultsArguments,
}

pub fn run(arguments: &Arguments) -> Result<Ending> {
    let results = arguments.results.begin();
    let folder = Path::new(DEFAULT_RUNS_DIR);
    let [run] = &arguments.runs[..] else {
        if arguments.device.device.is_some() {
            let problem = "--device has an effect with one run only".to_string();
            return Err(Misuse(problem).into());
        }
        results.print(&Comparison::new(folder, &arguments.runs)?)?;
        return Ok(Ending::Done);
    };
    let page = RunDir::open(folder, run)?.write_report(&arguments.device.find()?)?;
    results.print_as(page.display(), json!({"page": path_text(&page)}))?;
    Ok(Ending::Done)
}
