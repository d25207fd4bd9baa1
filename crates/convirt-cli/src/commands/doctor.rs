//! `convirt doctor`: examines a data set before training.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;
use convirt::Config;
use convirt::data::{Cleaned, Diagnosis, FileError, NewFile, Severity, path_text};
use convirt::doctor::{doctor_page, examine};
use serde_json::{Value, json};

use crate::arguments::{ConfigurationArguments, Output, ResultsArguments};
use crate::program::{self, Ending, ProgressBars};

/// Examine a data set for problems before training
#[derive(Args)]
#[command(after_help = "Examples:
  convirt doctor                        on the chest images that `convirt train` draws
  convirt doctor --config my.yaml --fix clean.csv
  convirt doctor --csv pairs.csv --out pairs.html

It finds unreadable files and texts; groups, images and texts in several splits; equal and nearly
equal images; blank, tiny, inverted and lateral images; broken characters, uncut reports and texts
that are too long; and text that may identify a patient. The exit code is 0 without errors, 1 with
errors, and 2 if there is nothing to examine.")]
pub struct Arguments {
    #[command(flatten)]
    configuration: ConfigurationArguments,

    /// HTML page to write
    #[arg(long, value_name = "FILE", default_value = "doctor.html")]
    out: PathBuf,

    /// Also write a manifest without the rows that have errors, and with broken texts repaired
    #[arg(long, value_name = "FILE")]
    fix: Option<PathBuf>,

    /// Replace an existing --fix, or an existing --out that is not a page of the doctor, unless it
    /// is an input
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    results: ResultsArguments,
}

/// Number of bytes at the start of a page that contain its title.
const PAGE_START: u64 = 200;

/// Exit code when there is nothing to examine; 1 is that of data with errors.
const NOTHING_EXAMINED: u8 = 2;

pub fn run(arguments: &Arguments) -> ExitCode {
    let mut errors = None;
    let code = program::run(|| {
        let diagnosis = diagnose(arguments)?;
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
    let results = arguments.results.begin();
    let config = arguments.configuration.read()?;
    check_outputs(arguments, &config)?;
    let bars = ProgressBars::default();
    let diagnosis = examine(&config, |progress| bars.show(progress))?;
    drop(bars);
    let out = &arguments.out;
    NewFile::write_whole(out, doctor_page(&diagnosis).as_bytes()).map_err(FileError::write(out))?;
    let mut text = format!(
        "{diagnosis}\n{}: the worst of each with images and texts",
        out.display()
    );
    let mut document = document(&diagnosis);
    document["page"] = path_text(out).into();
    if let Some(path) = &arguments.fix {
        let cleaned = diagnosis.write_cleaned(path)?;
        write!(text, "\n{cleaned}\nto train on it:")?;
        let keys = keys(&cleaned);
        for (key, path) in &keys {
            write!(text, " --set {key}={path}")?;
        }
        document["cleaned"] = json!({
            "rows": cleaned.rows,
            "removed": cleaned.removed.values().sum::<usize>(),
            "mended_texts": cleaned.mended_texts,
            "texts_in_files": cleaned.texts_in_files,
            "keys": keys.into_iter().collect::<BTreeMap<_, _>>(),
        });
    }
    results.print_as(text, document)?;
    Ok(diagnosis)
}

/// Returns the configuration keys for a training on the cleaned manifest.
fn keys(cleaned: &Cleaned) -> Vec<(&'static str, String)> {
    let keys = [
        ("dataset.csv_file", Some(&cleaned.path)),
        ("dataset.img_root_dir", cleaned.image_root.as_ref()),
        ("dataset.text_root_dir", cleaned.text_root.as_ref()),
    ];
    let given = keys
        .into_iter()
        .filter_map(|(key, path)| Some((key, path?)));
    given
        .map(|(key, path)| (key, path.display().to_string()))
        .collect()
}

/// Returns a diagnosis as JSON.
fn document(diagnosis: &Diagnosis) -> Value {
    let numbers = diagnosis.counts();
    let rows_by_side: BTreeMap<&str, usize> = numbers
        .by_side
        .iter()
        .map(|(side, rows)| (side.name(), *rows))
        .collect();
    let findings: Vec<Value> = diagnosis
        .findings()
        .iter()
        .map(|findings| {
            let examples = findings.examples.iter().map(|finding| {
                let files: Vec<_> = finding.files.iter().map(|file| path_text(file)).collect();
                json!({"rows": finding.rows, "files": files, "detail": finding.detail})
            });
            json!({
                "kind": findings.kind.to_string(),
                "severity": findings.kind.severity().to_string(),
                "count": findings.count,
                "rows": findings.rows,
                "remark": findings.remark,
                "advice": findings.kind.advice(),
                "examples": examples.collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "manifest": path_text(diagnosis.manifest()),
        "rows": numbers.rows,
        "usable": numbers.usable,
        "images": numbers.images,
        "groups": numbers.groups,
        "texts": numbers.texts,
        "rows_by_side": rows_by_side,
        "errors": diagnosis.count(Severity::Error),
        "warnings": diagnosis.count(Severity::Warning),
        "notes": diagnosis.count(Severity::Note),
        "findings": findings,
        "not_checked": diagnosis.unchecked(),
    })
}

/// Checks, before any work is done, that no existing file is replaced except a page of the doctor
/// or, with `--force`, one that is no input.
fn check_outputs(arguments: &Arguments, config: &Config) -> Result<()> {
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
    let inputs = arguments.configuration.config.iter();
    let inputs = inputs.chain([&config.dataset.csv_file]);
    if let Some(fix) = &arguments.fix {
        Output::File(fix).check(inputs.clone(), arguments.force)?;
    }
    let may_replace = arguments.force || is_page(&arguments.out).unwrap_or(false);
    Output::File(&arguments.out).check(inputs, may_replace)
}
