//! Looks for what is wrong with a data set, before a run.
//!
//! `cargo run --release --example doctor -- --config my.yaml` examines every row, text and image as
//! a run of that configuration would read them, prints a table of what it found, and writes a page
//! with small images of each finding.

#[path = "program/program.rs"]
mod program;
#[path = "terminal/progress.rs"]
mod progress;

use std::fmt::Write;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use convirt::data::{Diagnosis, Severity};
use convirt::{Config, doctor_page, examine};
use program::{Ending, print};
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

    /// Replace what is at --fix already, or at --out if it is no page of the doctor
    #[arg(long)]
    force: bool,
}

/// Bytes in which a page has its title.
const PAGE_START: u64 = 200;

/// Exit code when there is nothing to examine; 1 is that of data with errors.
const NOTHING_EXAMINED: u8 = 2;

fn main() -> ExitCode {
    let mut errors = None;
    let code = program::run(|| {
        let diagnosis = diagnose(&Arguments::parse())?;
        errors = Some(diagnosis.count(Severity::Error));
        Ok(Ending::Done)
    });
    match errors {
        None => ExitCode::from(NOTHING_EXAMINED),
        Some(0) => code,
        Some(_) => ExitCode::FAILURE,
    }
}

fn diagnose(arguments: &Arguments) -> Result<Diagnosis> {
    check_outputs(arguments)?;
    let config = Config::from_file(&arguments.config, &arguments.overrides)?;
    let bars = ProgressBars::default();
    let diagnosis = examine(&config, |progress| bars.show(progress))?;
    drop(bars);
    print(&diagnosis);
    let out = &arguments.out;
    fs::write(out, doctor_page(&diagnosis))
        .with_context(|| format!("{}: cannot be written", out.display()))?;
    print(format_args!("{}: the same with images", out.display()));
    if let Some(path) = &arguments.fix {
        let cleaned = diagnosis.write_cleaned(path)?;
        print(&cleaned);
        let keys = [
            ("csv_file", Some(&cleaned.path)),
            ("img_root_dir", cleaned.image_root.as_ref()),
            ("text_root_dir", cleaned.text_root.as_ref()),
        ];
        let mut line = "to train on it:".to_string();
        for (key, path) in keys {
            if let Some(path) = path {
                write!(line, " --set dataset.{key}={}", path.display())?;
            }
        }
        print(line);
    }
    Ok(diagnosis)
}

/// Checks that no file is replaced but an earlier page, before any work is done.
fn check_outputs(arguments: &Arguments) -> Result<()> {
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    let is_page = |path: &Path| {
        let mut start = String::new();
        let file = File::open(path).ok().filter(|_| path.is_file())?;
        file.take(PAGE_START).read_to_string(&mut start).ok()?;
        Some(start.contains("<title>Doctor: "))
    };
    ensure!(
        arguments.fix.as_ref() != Some(&arguments.out),
        "{}: --out and --fix name the same file",
        arguments.out.display()
    );
    let out = Some(&arguments.out).filter(|out| !is_page(out).unwrap_or(false));
    for path in arguments.fix.iter().chain(out) {
        ensure!(
            arguments.force || !is_there(path),
            "{}: is there already; choose another name, or replace it with --force",
            path.display()
        );
    }
    Ok(())
}
