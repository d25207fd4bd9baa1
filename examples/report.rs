//! Writes a run as a page to look at.
//!
//! `cargo run --release --example report -- RUN` writes `RUN/report.html`, as training does at its
//! end: for a run that was interrupted, or is still going on.

#[path = "program/program.rs"]
mod program;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use convirt::{RunDir, device};
use program::{Ending, print};

/// Writes a run as a page to look at: curves, held-out pairs, heat maps.
#[derive(Parser)]
struct Arguments {
    /// Run, by path or by name in `runs`
    run: PathBuf,

    /// Device to compute on (flex, cuda, ...); the best one of this build by default
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
}

fn main() -> ExitCode {
    program::run(|| write(&Arguments::parse()))
}

fn write(arguments: &Arguments) -> Result<Ending> {
    let run = RunDir::open(Path::new("runs"), &arguments.run)?;
    let page = run.write_report(&device(arguments.device.as_deref())?)?;
    print(page.display());
    Ok(Ending::Done)
}
