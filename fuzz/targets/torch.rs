//! Weights of `torch.save`: zip, pickle and tar.
//!
//! The first byte chooses what the rest is: a pickle in a zip (`z`) or in the older format (`l`),
//! the entries of a tar (`t`), or a whole file. So neither checksums nor containers stand between
//! the fuzzer and the parsers behind them.

#![no_main]

use std::io::{Cursor, Write};
use std::path::Path;

use convirt_fuzz::{read_weights, write};
use libfuzzer_sys::fuzz_target;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fuzz_target!(|data: &[u8]| {
    if let Some((&kind, rest)) = data.split_first() {
        read_weights(&write("model.pth", &file(kind, rest)));
    }
});

fn file(kind: u8, rest: &[u8]) -> Vec<u8> {
    match kind {
        b'l' => {
            let magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";
            let system = b"\x80\x02}X\x0d\0\0\0little_endian\x88s.";
            [&magic[..], system, rest].concat()
        }
        b'z' => zip_with(rest),
        b't' => tar_of(rest),
        _ => rest.to_vec(),
    }
}

/// Returns a zip of a pickle and two storages of 64 bytes.
fn zip_with(pickle: &[u8]) -> Vec<u8> {
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

/// Returns a tar of the parts between vertical bars.
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
