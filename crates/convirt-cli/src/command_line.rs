//! The command line: the subcommands and the options common to all.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::{Parser, Subcommand};
use convirt::{assist, dismiss, process_count};
use log::debug;

use crate::commands::{
    completions, config, doctor, embed, export, index, init, inspect, prepare, report, resume,
    retrieve, runs, train, transfer, zero_shot,
};
use crate::program::{self, Ending, Misuse, Verbosity};

/// Display order of an option after a command's own options.
const LAST: usize = 900;

/// Pretrains image and text encoders on medical image–report pairs, and uses them.
#[derive(Parser)]
#[command(
    name = "convirt",
    version = env!("CONVIRT_VERSION"),
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "Without data of your own, `convirt train` draws chest images with reports and trains on them.

Exit codes:
  0    done
  1    failed: there is a problem with a file, the data or the device; `doctor`: the data has errors
  2    wrong usage: an option, a value or the configuration
  130  stopped by Ctrl-C

Results and the course of a training or comparison, with its warnings, go to standard output (with
--json or --quiet, results alone), all else to standard error. The best device of this build is
used, unless --device or the environment variable BURN_DEVICE names another. Colours are printed on
a terminal only, and not if the environment variable NO_COLOR is set."
)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Command,

    /// Print only results and errors
    #[arg(long, short, global = true, display_order = LAST, conflicts_with = "verbose")]
    quiet: bool,

    /// Also print the version, the time taken and what the libraries log
    #[arg(long, short, global = true, display_order = LAST)]
    verbose: bool,
}

/// The subcommands, in the order of a user's work.
#[derive(Subcommand)]
enum Command {
    Config(config::Arguments),
    Init(init::Arguments),
    #[command(subcommand)]
    Prepare(prepare::Source),
    Doctor(doctor::Arguments),
    Train(train::Arguments),
    Resume(resume::Arguments),
    Runs(runs::Arguments),
    Report(report::Arguments),
    Embed(embed::Arguments),
    #[command(subcommand)]
    Index(index::Task),
    #[command(subcommand)]
    Retrieve(retrieve::Task),
    ZeroShot(zero_shot::Arguments),
    Transfer(transfer::Arguments),
    Inspect(inspect::Arguments),
    Export(export::Arguments),
    Completions(completions::Arguments),
}

impl CommandLine {
    /// Starts the log and runs the subcommand.
    pub fn run(self) -> ExitCode {
        program::log(match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        });
        debug!("convirt {}", env!("CONVIRT_VERSION"));
        let started = Instant::now();
        let code = self.command.run();
        debug!("done after {:.1} s", started.elapsed().as_secs_f64());
        code
    }
}

impl Command {
    /// Runs the subcommand.
    fn run(self) -> ExitCode {
        if process_count() > 1 {
            return program::run(|| self.run_in_processes());
        }
        match self {
            Command::Doctor(arguments) => doctor::run(&arguments),
            other => program::run(|| other.run_alone()),
        }
    }

    /// Runs the subcommand as one of several processes, of which the first leads.
    fn run_in_processes(self) -> Result<Ending> {
        let divides_its_work = matches!(
            self,
            Command::Train(_)
                | Command::Resume(_)
                | Command::Embed(_)
                | Command::Index(index::Task::Build(_))
                | Command::Retrieve(_)
                | Command::ZeroShot(_)
        );
        if !divides_its_work {
            let problem = format!(
                "started in {} processes by mpirun or srun, each of which would do the same; these \
                 divide their work: train, resume, embed, index build, retrieve, zero-shot",
                process_count()
            );
            return Err(Misuse(problem).into());
        }
        if assist()? {
            return Ok(Ending::Done);
        }
        let result = self.run_alone();
        let problem = result.as_ref().err().map(ToString::to_string);
        dismiss(problem.as_deref())?;
        result
    }

    fn run_alone(self) -> Result<Ending> {
        match self {
            Command::Config(arguments) => config::run(&arguments),
            Command::Init(arguments) => init::run(arguments),
            Command::Prepare(source) => prepare::run(source),
            Command::Doctor(_) => unreachable!("the doctor has its own exit codes"),
            Command::Train(arguments) => train::run(arguments),
            Command::Resume(arguments) => resume::run(arguments),
            Command::Runs(arguments) => runs::run(&arguments),
            Command::Report(arguments) => report::run(&arguments),
            Command::Embed(arguments) => embed::run(&arguments),
            Command::Index(task) => index::run(&task),
            Command::Retrieve(task) => retrieve::run(&task),
            Command::ZeroShot(arguments) => zero_shot::run(arguments),
            Command::Transfer(arguments) => transfer::run(arguments),
            Command::Inspect(arguments) => inspect::run(&arguments),
            Command::Export(arguments) => export::run(arguments),
            Command::Completions(arguments) => completions::run(&arguments),
        }
    }
}
