//! Decodes anything as a JPEG, PNG or DICOM file. Nothing may panic, not even behind the guard that
//! turns a panic into an error, and an image is as large as it says and within the limits.
//!
//! ```sh
//! RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir fuzz -s none images -- \
//!     -max_len=16384 -rss_limit_mb=512 -timeout=10
//! ```
//!
//! Put small images of each kind into `fuzz/corpus/images` first. An input that begins with `D` is a
//! DICOM data set in explicit little endian, without the 132 bytes and the header before it.
#![no_main]

use std::path::Path;

use convirt::data::{DecodeLimits, Radiograph};
use libfuzzer_sys::fuzz_target;

const LIMITS: DecodeLimits = DecodeLimits {
    max_side: 512,
    max_bytes: 4 << 20,
};

/// Preamble, mark, and the transfer syntax.
const HEADER: &[u8] = b"\x02\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0";

fuzz_target!(|input: &[u8]| {
    let bytes = match input.split_first() {
        Some((b'D', rest)) => [&[0; 128], &b"DICM"[..], HEADER, rest].concat(),
        _ => input.to_vec(),
    };
    if let Ok(image) = Radiograph::decode(&bytes, Path::new("image"), &LIMITS) {
        let sides = 1..=LIMITS.max_side as usize;
        assert!(sides.contains(&image.width()) && sides.contains(&image.height()));
    }
});
