//! What a run leaves: Burn's records, the record of the split, and the summary.
//!
//! The first byte chooses what the rest is: the names in a record (`b`), the record of the split
//! (`c`), the summary (`j`), or a whole record.

#![no_main]

use std::fs;

use convirt::run::{Comparison, RunSplit};
use convirt_fuzz::{folder, read_weights, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&kind, rest)) = data.split_first() else {
        return;
    };
    match kind {
        b'b' => {
            let length = (rest.len() as u32).to_le_bytes();
            let file = [b"NRUB\x01\0", &length[..], rest, &[0; 1024]].concat();
            read_weights(&write("model-1.bpk", &file));
        }
        b'c' => read_run("split.csv", rest),
        b'j' => read_run("summary.json", rest),
        _ => read_weights(&write("model-1.bpk", rest)),
    }
});

fn read_run(name: &str, file: &[u8]) {
    let (runs, run) = (folder().join("runs"), folder().join("runs/run"));
    let _ = fs::remove_dir_all(&run);
    fs::create_dir_all(&run).expect("a folder for the run");
    let config = "name: run\ndataset: {csv_file: pairs.csv}\n";
    fs::write(run.join("config.yaml"), config).expect("a configuration");
    fs::write(run.join(name), file).expect("a file for the input");
    let _ = RunSplit::load(&run);
    let _ = Comparison::of_folder(&runs).to_string();
}
