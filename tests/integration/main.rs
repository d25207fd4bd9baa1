//! The promises of convirt, kept end to end.

mod bad_input;
mod fixtures;
mod interop;
mod outside_crate;
mod pretraining;
mod program;
mod weights;
