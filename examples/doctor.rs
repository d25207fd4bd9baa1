//! Looks for what is wrong with a data set, before a run.
//!
//! `cargo run --release --example doctor -- --config my.yaml` examines every row, text and image as
//! a run of that configuration would read them, prints a table of what it found, and writes a page
//! with small images of each finding.

#[path = "terminal/progress.rs"]
mod progress;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use convirt::data::{Diagnosis, Severity};
use convirt::{Config, doctor_page, examine};
use progress::ProgressBars;

/// Looks for what is wrong with the data set of a configuration, before a run.
#[derive(Parser)]
#[command(after_help = "Examples:
  doctor                                the chest phantom, as config.yaml says
  doctor --config my.yaml --fix clean.csv
  doctor --set dataset.csv_file=pairs.csv --set dataset.phantom=null --out pairs.html

Found are files and texts that cannot be read, groups, images and texts on several sides of the
split, equal and nearly equal images, blank, tiny, inverted and lateral ones, broken characters,
uncut reports, texts too long, and what may tell who a patient is. The exit code is 0 without
errors, 1 with errors, and 2 when there is nothing to examine.")]
struct Arguments {
    /// Configuration to read
    #[arg(long, value_name = "FILE", default_value = "config.yaml")]
    config: PathBuf,

    /// Key of the configuration to change, e.g. dataset.min_words=2; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,

    /// Page to write
    #[arg(long, value_name = "FILE", default_value = "doctor.html")]
    out: PathBuf,

    /// Write a manifest without the rows that have errors, with broken texts mended
    #[arg(long, value_name = "FILE")]
    fix: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(diagnosis) if diagnosis.count(Severity::Error) == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("Error: {error:?}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<Diagnosis> {
    let config = Config::from_file(&arguments.config, &arguments.overrides)?;
    let bars = ProgressBars::default();
    let diagnosis = examine(&config, |progress| bars.show(progress))?;
    drop(bars);
    println!("{diagnosis}");
    let out = &arguments.out;
    fs::write(out, doctor_page(&diagnosis))
        .with_context(|| format!("{}: cannot be written", out.display()))?;
    println!("{}: the same with images", out.display());
    if let Some(path) = &arguments.fix {
        let cleaned = diagnosis.write_cleaned(path)?;
        println!("{cleaned}");
        let mut keys = format!("--set dataset.csv_file={}", path.display());
        if let Some(root) = &cleaned.root {
            let root = root.display();
            keys +=
                &format!(" --set dataset.img_root_dir={root} --set dataset.text_root_dir={root}");
        }
        println!("to train on it: {keys}");
    }
    Ok(diagnosis)
}
