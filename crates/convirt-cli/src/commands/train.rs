//! `convirt train`: trains a model from a configuration.

use std::io::{IsTerminal, stdout};

use anyhow::Result;
use clap::Args;
use convirt::run::{Ending as Outcome, RunError};
use convirt::{Error, Training};
use log::info;

use crate::arguments::{ConfigurationArguments, DeviceArgument, ResultsArguments};
use crate::program::{Ending, Misuse};

/// Train image and text encoders on image–report pairs
#[derive(Args)]
#[command(after_help = "Examples:
  convirt train                          on drawn chest images and reports
  convirt train --csv pairs.csv          on your own, with settings that fit the table
  convirt train --config pairs.yaml      the same with settings of your own, from `convirt init`
  convirt train --set batch_size=16 --set model.out_dim=128
  convirt train --device cuda:0,cuda:1   on two devices, the same run
  mpirun -n 4 convirt train              in four processes, with the feature `mpi`

Ctrl-C finishes the step, saves a checkpoint and prints how to resume.")]
pub struct Arguments {
    #[command(flatten)]
    configuration: ConfigurationArguments,

    #[command(flatten)]
    device: DeviceArgument,

    /// Show the training full-screen instead of in lines
    #[arg(long, conflicts_with = "json")]
    tui: bool,

    #[command(flatten)]
    results: ResultsArguments,
}

pub fn run(mut arguments: Arguments) -> Result<Ending> {
    arguments
        .device
        .override_key(&mut arguments.configuration.overrides);
    let results = arguments.results;
    train(&results, arguments.tui, || {
        Ok(Training::prepare(arguments.configuration.read()?)?)
    })
}

/// Prepares a training, runs it, and prints its description and its summary.
pub fn train(
    results: &ResultsArguments,
    full_screen: bool,
    prepare: impl FnOnce() -> Result<Training>,
) -> Result<Ending> {
    let results = results.begin();
    if full_screen && !stdout().is_terminal() {
        let problem = "--tui needs a terminal; without it the training is shown in lines";
        return Err(Misuse(problem.to_string()).into());
    }
    let mut training = prepare()?
        .stopping_on_signals()
        .with_program(concat!("convirt ", env!("CONVIRT_VERSION")));
    if full_screen {
        training = training.with_full_screen_view();
    }
    results.announce(&training);
    let run = training.run_dir().clone();
    let summary = training.run().inspect_err(|error| {
        // It says itself how to go on.
        let is_told = matches!(error, Error::Run(RunError::Changed { .. }));
        if let Some(step) = Training::last_checkpoint(&run).filter(|_| !is_told) {
            let run = run.path().display();
            info!("the last checkpoint is of step {step}; continue from it: convirt resume {run}");
        }
    })?;
    results.print(&summary)?;
    Ok(match summary.ending {
        Outcome::Interrupted => Ending::Interrupted,
        Outcome::Completed | Outcome::StoppedEarly => Ending::Done,
    })
}
