//! DICOM files: their headers, and their pixels in all transfer syntaxes.
//!
//! An input that begins with `D` is a data set in explicit little endian, without preamble and
//! header; any other is a whole file.

#![no_main]

use convirt_fuzz::{count_own_panics, decode};
use libfuzzer_sys::fuzz_target;

/// The transfer syntax, as the element of the header.
const SYNTAX: &[u8] = b"\x02\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0";

fuzz_target!(|data: &[u8]| {
    count_own_panics();
    match data.split_first() {
        Some((b'D', rest)) => decode(&[&[0; 128], &b"DICM"[..], SYNTAX, rest].concat()),
        _ => decode(data),
    }
});
