//! Pretrains an image and a text encoder on paired images and reports.
//!
//! `cargo run --release --example train_mimic` trains on the built-in chest phantom as `config.yaml`
//! says; `--config` takes another configuration, `--set` changes single keys of it.

#[path = "program/program.rs"]
mod program;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use convirt::{Config, Ending as Outcome, Training};
use program::{Ending, print};

/// Pretrains an image and a text encoder on paired medical images and reports (ConVIRT).
#[derive(Parser)]
#[command(after_help = "Examples:
  train_mimic                                  the chest phantom, as config.yaml says
  train_mimic --config examples/medpix.yaml    real pairs
  train_mimic --set batch_size=16 --set model.out_dim=128
  train_mimic --resume runs/2026-01-16_02-27-36_phantom

Ctrl-C ends the step, saves, and says how to resume. The exit code is then 130; it is 1 when the
training failed, and 2 when the configuration is wrong.")]
struct Arguments {
    /// Configuration to read
    #[arg(long, value_name = "FILE", default_value = "config.yaml")]
    config: PathBuf,

    /// Device to compute on (flex, cuda, cuda:1, vulkan, ...); the best one of this build by default
    #[arg(long, value_name = "NAME")]
    device: Option<String>,

    /// Earlier run to go on with, by path or name; its own configuration is used
    #[arg(long, value_name = "RUN", conflicts_with = "config")]
    resume: Option<PathBuf>,

    /// Key of the configuration to change, e.g. loss.temperature=0.07; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

fn main() -> ExitCode {
    program::run(|| train(Arguments::parse()))
}

fn train(mut arguments: Arguments) -> Result<Ending> {
    if let Some(device) = arguments.device {
        arguments.overrides.push(format!("device={device}"));
    }
    let training = match arguments.resume {
        Some(run) => Training::resume(&run, &arguments.overrides)?,
        None => Training::prepare(Config::from_file(&arguments.config, &arguments.overrides)?)?,
    };
    print(&training);
    let summary = training.run()?;
    print(&summary);
    Ok(match summary.ending {
        Outcome::Interrupted => Ending::Interrupted,
        Outcome::Completed | Outcome::StoppedEarly => Ending::Done,
    })
}
