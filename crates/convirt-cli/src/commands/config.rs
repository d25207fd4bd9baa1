//! `convirt config`: prints or checks a configuration.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use convirt::Config;

use crate::arguments::{DEFAULT_CONFIGURATION, OverrideArguments, ResultsArguments};
use crate::program::{Ending, print};

/// Print a commented configuration, or check one
#[derive(Args)]
#[command(after_help = "Examples:
  convirt config > my.yaml           all keys; `convirt init pairs.csv` writes what fits a table
  convirt config check my.yaml --set batch_size=64")]
pub struct Arguments {
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Subcommand)]
enum Task {
    /// Check a configuration and the files that it names, and print all values with their defaults
    Check(Check),
}

#[derive(Args)]
#[command(after_help = "Examples:
  convirt config check my.yaml
  convirt config check my.yaml --set batch_size=64 --json")]
struct Check {
    /// Configuration to check
    file: PathBuf,

    #[command(flatten)]
    overrides: OverrideArguments,

    #[command(flatten)]
    results: ResultsArguments,
}

pub fn run(arguments: &Arguments) -> Result<Ending> {
    match &arguments.task {
        None => print(DEFAULT_CONFIGURATION.trim_end()),
        Some(Task::Check(check)) => {
            let results = check.results.begin();
            let config = Config::from_file(&check.file, &check.overrides.overrides)?;
            results.print_as(config.to_yaml().trim_end(), &config)?;
        }
    }
    Ok(Ending::Done)
}
