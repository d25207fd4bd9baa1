//! `convirt report`: writes the HTML report of a run.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use convirt::RunDir;
use convirt::data::path_text;
use serde_json::json;

use crate::arguments::{DeviceArgument, ResultsArguments};
use crate::program::Ending;

/// Write the HTML report of a run: curves, held-out pairs, heat maps
#[derive(Args)]
#[command(
    after_help = "A training writes its report at the end. This command is for a run that was interrupted, or
that is still running."
)]
pub struct Arguments {
    /// Run, by path or by name in `runs`
    run: PathBuf,

    #[command(flatten)]
    device: DeviceArgument,

    #[command(flatten)]
    results: ResultsArguments,
}

pub fn run(arguments: &Arguments) -> Result<Ending> {
    let results = arguments.results.begin();
    let run = RunDir::open(Path::new("runs"), &arguments.run)?;
    let page = run.write_report(&arguments.device.find()?)?;
    results.print_as(page.display(), json!({"page": path_text(&page)}))?;
    Ok(Ending::Done)
}
