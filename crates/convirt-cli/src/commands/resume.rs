//! `convirt resume`: continues a run.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use convirt::Training;

use super::train::train;
use crate::arguments::{DeviceArgument, OverrideArguments, ResultsArguments};
use crate::program::Ending;

/// Continue a run that was stopped
#[derive(Args)]
#[command(after_help = "Examples:
  convirt resume runs/2026-01-16_02-27-36_phantom
  convirt resume latest --set max_steps=2000

The run's own configuration is used. Keys that define the run, such as the model or the batch size,
cannot be changed.")]
pub struct Arguments {
    /// Run: a path, a name in `runs` or its beginning, or `latest`
    run: PathBuf,

    #[command(flatten)]
    overrides: OverrideArguments,

    #[command(flatten)]
    device: DeviceArgument,

    /// Continue even if the pairs, the vocabulary, the initial weights or config.yaml have changed
    /// since the last checkpoint
    #[arg(long)]
    allow_changed_data: bool,

    /// Show the training full-screen instead of in lines
    #[arg(long, conflicts_with = "json")]
    tui: bool,

    #[command(flatten)]
    results: ResultsArguments,
}

pub fn run(mut arguments: Arguments) -> Result<Ending> {
    arguments.device.override_key(&mut arguments.overrides);
    train(&arguments.results, arguments.tui, || {
        let overrides = &arguments.overrides.overrides;
        let training = Training::resume(&arguments.run, overrides)?;
        Ok(if arguments.allow_changed_data {
            training.allowing_changed_data()
        } else {
            training
        })
    })
}
