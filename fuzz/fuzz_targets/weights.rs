//! Opens anything as weights, reads its tensors, and matches them with the networks. Nothing may
//! panic; an error is short and names the file.
//!
//! ```sh
//! cargo install cargo-fuzz
//! RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir fuzz -s none weights -- \
//!     -dict=fuzz/weights.dict -max_len=65536 -rss_limit_mb=2048 -timeout=10
//! ```
//!
//! The first byte of an input chooses what the rest is a part of ([`file`]), so that checksums and
//! containers do not stand between the fuzzer and the parsers behind them. Put small files of each
//! format, behind such a byte, into `fuzz/corpus/weights` first. What is found becomes a test in
//! `crates/convirt/src/weights/hostile.rs`.
#![no_main]

use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::LazyLock;

use convirt::weights::{Inspection, WeightsFile};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// In memory where there is such a folder.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
});

/// Header of a file that an index can name.
const PART: &[u8] = br#"{"w":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}"#;

/// Bytes that an error may have besides the path.
const LONGEST_ERROR: usize = 1000;

/// Numbers that are read of a tensor.
const LARGEST_TENSOR: usize = 1 << 20;

fuzz_target!(|input: &[u8]| {
    let Some((&kind, rest)) = input.split_first() else {
        return;
    };
    let weights = FOLDER.path().join("weights");
    let path = match kind {
        b'j' => {
            std::fs::write(weights, file(b's', PART)).unwrap();
            FOLDER.path().join("model.safetensors.index.json")
        }
        _ => weights,
    };
    std::fs::write(&path, file(kind, rest)).unwrap();
    match WeightsFile::open(&path) {
        Ok(file) => {
            for tensor in file.tensors().values() {
                let count: usize = tensor.shape.iter().product();
                if count <= LARGEST_TENSOR {
                    match tensor.read() {
                        Ok(numbers) => assert_eq!(numbers.len(), count),
                        Err(error) => is_short_and_names(&error.to_string()),
                    }
                }
            }
            match Inspection::of(&path) {
                Ok(inspection) => _ = inspection.to_string(),
                Err(error) => _ = error.to_string(),
            }
        }
        Err(error) => is_short_and_names(&error.to_string()),
    }
});

fn is_short_and_names(error: &str) {
    let folder = FOLDER.path().to_str().unwrap();
    assert!(error.starts_with(folder), "{error}");
    assert!(error.len() < LONGEST_ERROR, "{error}");
}

/// A file of which `rest` is the names in Burn's, the header of safetensors, a pickle in the older
/// form or a zip, the entries of a tar, or all.
fn file(kind: u8, rest: &[u8]) -> Vec<u8> {
    match kind {
        b'b' => {
            let length = (rest.len() as u32).to_le_bytes();
            [b"NRUB\x01\0", &length[..], rest, &[0; 1024]].concat()
        }
        b's' => {
            let length = (rest.len() as u64).to_le_bytes();
            [&length[..], rest, &[0; 64]].concat()
        }
        b'l' => {
            let magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";
            let system = b"\x80\x02}X\x0d\0\0\0little_endian\x88s.";
            [&magic[..], system, rest].concat()
        }
        b'z' => zip_of(rest),
        b't' => tar_of(rest),
        _ => rest.to_vec(),
    }
}

/// Of a pickle and two storages of 64 bytes.
fn zip_of(pickle: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in [
        ("data.pkl", pickle),
        ("data/0", &[1; 64]),
        ("data/1", &[2; 64]),
    ] {
        let options = SimpleFileOptions::default();
        zip.start_file(format!("archive/{name}"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Of the parts between vertical bars.
fn tar_of(parts: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let names = ["storages", "tensors", "pickle", "sys_info"];
    for (name, part) in names.iter().zip(parts.split(|byte| *byte == b'|')) {
        let mut header = tar::Header::new_gnu();
        header.set_size(part.len() as u64);
        header.set_cksum();
        tar.append_data(&mut header, Path::new(name), part).unwrap();
    }
    tar.into_inner().unwrap()
}
