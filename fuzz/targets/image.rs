//! JPEG and PNG files: their headers, and their pixels in full and at a reduced size.

#![no_main]

use convirt_fuzz::{count_own_panics, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    count_own_panics();
    decode(data);
});
