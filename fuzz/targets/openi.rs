//! Reports of Open-i, as XML or in an archive, and the tables of MIMIC-CXR.
//!
//! The first byte chooses what the rest is: an archive (`t`), a table (`c`), or XML.

#![no_main]

use std::fs;
use std::path::PathBuf;

use convirt_data::{MimicConfig, MimicSplit, OpenIConfig, SplitConfig};
use convirt_fuzz::folder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&kind, rest)) = data.split_first() else {
        return;
    };
    match kind {
        b't' => openi("NLMCXR_reports.tgz", rest),
        b'c' => mimic(rest),
        _ => openi("1.xml", rest),
    }
});

/// Returns an empty folder to read from, and a place to write to that is not there yet.
fn folders() -> [PathBuf; 2] {
    let folders = ["root", "out"].map(|name| folder().join(name));
    for folder in &folders {
        let _ = fs::remove_dir_all(folder);
    }
    fs::create_dir_all(&folders[0]).expect("a folder for the data set");
    folders
}

fn openi(name: &str, content: &[u8]) {
    let [root, out] = folders();
    fs::write(root.join(name), content).expect("a file for the input");
    let config = OpenIConfig {
        images: None,
        split: None,
        ..OpenIConfig::new(root, out)
    };
    if let Ok(prepared) = config.prepare(|_| ()) {
        assert!(prepared.pairs > 0);
    }
}

fn mimic(table: &[u8]) {
    let [root, out] = folders();
    let patient = root.join("files/p10/p10000032");
    fs::create_dir_all(&patient).expect("a folder for the reports");
    let report = "FINDINGS: Clear lungs.";
    fs::write(patient.join("s50414267.txt"), report).expect("a report");
    for name in ["metadata", "chexpert"] {
        let table_file = root.join(format!("mimic-cxr-2.0.0-{name}.csv"));
        fs::write(table_file, table).expect("a file for the input");
    }
    let config = MimicConfig {
        images: None,
        split: MimicSplit::ByPatient(SplitConfig {
            valid_size: 0.5,
            seed: 0,
        }),
        ..MimicConfig::new(root, out)
    };
    if let Ok(prepared) = config.prepare(|_| ()) {
        assert!(prepared.pairs > 0);
    }
}
