//! Weights in an ONNX graph.

#![no_main]

use convirt_fuzz::{read_weights, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| read_weights(&write("model.onnx", data)));
