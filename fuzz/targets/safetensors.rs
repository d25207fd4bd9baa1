//! Weights in safetensors, in one file or in several with an index.
//!
//! The first byte chooses what the rest is: a header (`s`), an index (`j`), or a whole file.

#![no_main]

use convirt_fuzz::{read_weights, write};
use libfuzzer_sys::fuzz_target;

/// Header of a file that an index can name.
const PART: &[u8] = br#"{"w":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}"#;

fuzz_target!(|data: &[u8]| {
    let Some((&kind, rest)) = data.split_first() else {
        return;
    };
    let path = match kind {
        b's' => write("model.safetensors", &with_header(rest)),
        b'j' => {
            write("model.safetensors", &with_header(PART));
            write("model.safetensors.index.json", rest)
        }
        _ => write("model.safetensors", rest),
    };
    read_weights(&path);
});

/// Returns a file with 64 bytes of numbers.
fn with_header(header: &[u8]) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header, &[1; 64]].concat()
}
