//! Writes a run as a page to look at.
//!
//! `cargo run --release --example report -- RUN` writes `RUN/report.html`, as training does at its
//! end: for a run that was interrupted, or is still going on.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Parser;
use convirt::{RunDir, device};

/// Writes a run as a page to look at: curves, held-out pairs, heat maps.
#[derive(Parser)]
struct Arguments {
    /// Run, by path or by name in `runs`
    run: PathBuf,

    /// Device to compute on (flex, cuda, ...); the best one of this build by default
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let run = RunDir::open(Path::new("runs"), &arguments.run)?;
    let page = run.write_report(&device(arguments.device.as_deref())?)?;
    println!("{}", page.display());
    Ok(())
}
