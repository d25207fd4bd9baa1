//! Pretrains an image and a text encoder on paired images and reports.
//!
//! `cargo run --release --example train_mimic` trains on the built-in chest phantom as `config.yaml`
//! says; `--config` takes another configuration, `--set` changes single keys of it. The program
//! `convirt` does the same as `convirt train`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use convirt::run::Ending;
use convirt::{Config, Error, Training};

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

    /// Earlier run to go on with, by path, name or `latest`; its own configuration is used
    #[arg(long, value_name = "RUN", conflicts_with = "config")]
    resume: Option<PathBuf>,

    /// Continue the run even if its data or its config.yaml have changed
    #[arg(long, requires = "resume")]
    allow_changed_data: bool,

    /// Key of the configuration to change, e.g. loss.temperature=0.07; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

fn main() -> ExitCode {
    // Warnings and progress are logged; here they become lines on standard error.
    env_logger::Builder::new()
        .filter_module("convirt", log::LevelFilter::Info)
        .format(|line, record| writeln!(line, "{}", record.args()))
        .init();
    match train(Arguments::parse()) {
        Ok(Ending::Interrupted) => ExitCode::from(130),
        Ok(Ending::Completed | Ending::StoppedEarly) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::from(if error.is_misuse() { 2 } else { 1 })
        }
    }
}

fn train(mut arguments: Arguments) -> Result<Ending, Error> {
    // Of several processes, the first one trains, and the others assist it.
    if convirt::assist()? {
        return Ok(Ending::Completed);
    }
    if let Some(device) = arguments.device {
        arguments.overrides.push(format!("device={device}"));
    }
    let training = match arguments.resume {
        Some(run) if arguments.allow_changed_data => {
            Training::resume(&run, &arguments.overrides)?.allowing_changed_data()
        }
        Some(run) => Training::resume(&run, &arguments.overrides)?,
        None => Training::prepare(Config::from_file(&arguments.config, &arguments.overrides)?)?,
    };
    let training = training.stopping_on_signals();
    println!("{training}");
    // Burn's `Learner` does the steps; the summary is of the model that was best in validation.
    let summary = training.run()?;
    println!("{summary}");
    Ok(summary.ending)
}
