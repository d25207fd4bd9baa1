//! `convirt train`: trains a model from a configuration.

use anyhow::Result;
use clap::Args;
use convirt::Training;
use convirt::run::Ending as Outcome;

use crate::arguments::{ConfigurationArguments, DeviceArgument, ResultsArguments};
use crate::program::Ending;

/// Train image and text encoders on image–report pairs
#[derive(Args)]
#[command(after_help = "Examples:
  convirt train                          on drawn chest images and reports
  convirt train --config my.yaml         on real pairs; begin with `convirt config > my.yaml`
  convirt train --set batch_size=16 --set model.out_dim=128

Ctrl-C finishes the step, saves a checkpoint and prints how to resume.")]
pub struct Arguments {
    #[command(flatten)]
    configuration: ConfigurationArguments,

    #[command(flatten)]
    device: DeviceArgument,

    #[command(flatten)]
    results: ResultsArguments,
}

pub fn run(mut arguments: Arguments) -> Result<Ending> {
    arguments
        .device
        .override_key(&mut arguments.configuration.overrides);
    let results = arguments.results;
    train(&results, || {
        Ok(Training::prepare(arguments.configuration.read()?)?)
    })
}

/// Prepares a training, runs it, and prints its description and its summary.
pub fn train(
    results: &ResultsArguments,
    prepare: impl FnOnce() -> Result<Training>,
) -> Result<Ending> {
    let results = results.begin();
    let mut training = prepare()?;
    if results.is_json() {
        training = training.with_plain_progress();
    }
    results.announce(&training);
    let summary = training.run()?;
    results.print(&summary)?;
    Ok(match summary.ending {
        Outcome::Interrupted => Ending::Interrupted,
        Outcome::Completed | Outcome::StoppedEarly => Ending::Done,
    })
}
