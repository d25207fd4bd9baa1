//! The promises of convirt, kept end to end.

mod average;
mod bad_input;
mod damage;
#[cfg(any(
    feature = "cuda",
    feature = "metal",
    feature = "rocm",
    feature = "vulkan",
    feature = "webgpu",
    feature = "wgpu",
))]
mod devices;
mod dicom;
mod doctor;
mod documents;
mod endings;
mod examples;
mod exported;
mod fixtures;
mod interop;
mod json;
mod kills;
mod micro_batches;
mod outside_crate;
mod options;
mod own_pairs;
mod peers;
mod prepare;
mod pretraining;
#[cfg(feature = "mpi")]
mod processes;
mod program;
mod records;
mod report;
mod retrieval;
mod shards;
mod simclr;
mod threads;
mod transfer;
mod weights;
