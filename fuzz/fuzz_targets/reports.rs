//! Cuts anything as a report, and reads anything as OpenI's XML, as an archive of it, as a table of
//! MIMIC-CXR or as a manifest. Nothing may panic.
//!
//! ```sh
//! RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir fuzz -s none reports -- -max_len=8192 -timeout=10
//! ```
//!
//! The first byte of an input chooses: `x` XML, `t` a tar archive, gzipped or not, `c` a table, `m` a
//! manifest, anything else the text of a report.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use convirt::data::{
    Column, Manifest, ManifestConfig, MimicConfig, MimicSplit, OpenIConfig, Sections, SplitConfig,
    sentences,
};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

/// In memory where there is such a folder.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
});

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else {
        return;
    };
    match kind {
        b'x' => openi("1.xml", rest),
        b't' => openi("NLMCXR_reports.tgz", rest),
        b'c' => mimic(rest),
        b'm' => manifest(rest),
        _ => report(&String::from_utf8_lossy(rest)),
    }
});

/// Sections hold letters of the report only, and at most all of them.
fn report(text: &str) {
    let sections = Sections::parse(text);
    let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).count();
    let found = sections.iter().map(|section| letters(&section.text));
    assert!(found.sum::<usize>() <= letters(text));
    if let Some(text) = sections.findings_and_impression() {
        for sentence in sentences(&text) {
            assert!(!sentence.is_empty());
        }
    }
    _ = sections.last_paragraph();
}

/// An empty folder to read from, and a place to write to that is not there yet.
fn folders() -> [PathBuf; 2] {
    let folders = ["root", "out"].map(|name| FOLDER.path().join(name));
    for folder in &folders {
        _ = fs::remove_dir_all(folder);
    }
    fs::create_dir_all(&folders[0]).unwrap();
    folders
}

fn openi(name: &str, content: &[u8]) {
    let [root, out] = folders();
    fs::write(root.join(name), content).unwrap();
    let config = OpenIConfig {
        images: None,
        split: None,
        ..OpenIConfig::new(root, out)
    };
    match config.prepare(|_| ()) {
        Ok(prepared) => assert!(prepared.pairs > 0),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn mimic(table: &[u8]) {
    let [root, out] = folders();
    let patient = root.join("files/p10/p10000032");
    fs::create_dir_all(&patient).unwrap();
    fs::write(patient.join("s50414267.txt"), "FINDINGS: Clear lungs.").unwrap();
    fs::write(root.join("mimic-cxr-2.0.0-metadata.csv"), table).unwrap();
    fs::write(root.join("mimic-cxr-2.0.0-chexpert.csv"), table).unwrap();
    let config = MimicConfig {
        images: None,
        split: MimicSplit::ByPatient(SplitConfig {
            valid_size: 0.5,
            seed: 0,
        }),
        ..MimicConfig::new(root, out)
    };
    match config.prepare(|_| ()) {
        Ok(prepared) => assert!(prepared.pairs > 0),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn manifest(csv: &[u8]) {
    let path = FOLDER.path().join("pairs.csv");
    fs::write(&path, csv).unwrap();
    let config = ManifestConfig {
        text_from_files: false,
        max_bad_share: 1.0,
        group: Some(Column::Position(2)),
        ..ManifestConfig::new(path)
    };
    _ = Manifest::read(&config).map_err(|error| error.to_string());
}
