//! Contrastive pretraining of an image and a text encoder on paired medical images and reports
//! ([ConVIRT](https://arxiv.org/abs/2010.00747)), on [Burn](https://burn.dev).
//!
//! What the first five minutes need stands here; everything else stands in its room.
//!
//! - [`Config`]: what to train, on what and how, as `config.yaml` says; [`config`] has its sections
//! - [`Training`]: a run of it, to be trained, interrupted and resumed, into a [`RunDir`]; it ends
//!   in a [`Summary`]
//! - [`Model`]: the model of a run, embedding images and texts; [`ImageModel`]: its image side,
//!   which is all that a run of SimCLR has; [`Classifier`]: a classifier that [`transfer`] trained
//! - [`retrieval`], [`zero_shot`], [`transfer`], [`scores`]: what a model is worth
//! - [`weights`], [`inference`], [`report`], [`doctor`], [`logging`], [`training`], [`compute`]:
//!   files of weights, embeddings, pages, data, progress, the parts of a training, devices and
//!   precisions
//! - [`model`], [`data`], [`phantom`]: the networks, the data pipeline and the drawn chests, to be
//!   used on their own
//!
//! # Features
//!
//! Each backend is one: `flex` (default, pure Rust on the CPU), `cuda`, `wgpu`, `vulkan`, `metal`,
//! `webgpu`, `rocm`, `cpu`; `x86-v4` lets `flex` use AVX-512 where the processor has it.
//!
//! On by default as well, and each to be left out: `train` (pretraining, transfer, pages, doctor),
//! `tui` (Burn's full-screen view of a training), `hub` (models by their name on the Hugging Face
//! hub), `onnx` (ONNX, in and out). With `default-features = false, features = ["flex"]` a [`Model`] is
//! loaded and embeds, an index is searched, classes are told by prompts.

// What a single feature uses of the rooms below it is not worth a mark on each line.
#![cfg_attr(
    not(all(feature = "train", feature = "tui", feature = "hub", feature = "onnx")),
    allow(dead_code, unused_imports)
)]

mod messages;
mod json_file;
mod readable;
pub mod config;
pub mod weights;
mod error;
pub mod compute;
pub mod logging;
mod network;
pub mod inference;
pub mod scores;
pub mod retrieval;
#[cfg(feature = "train")]
pub mod run;
#[cfg(feature = "train")]
mod datasets;
#[cfg(feature = "train")]
pub mod report;
#[cfg(feature = "train")]
pub mod training;
#[cfg(feature = "train")]
pub mod transfer;
pub mod zero_shot;
mod export;
#[cfg(feature = "train")]
pub mod doctor;

pub use convirt_data as data;
pub use convirt_model as model;
pub use convirt_phantom as phantom;

pub use compute::device;
pub use config::Config;
pub use error::Error;
pub use inference::{Classifier, ImageModel, Model, similarity};
#[cfg(feature = "train")]
pub use run::{RunDir, Summary};
#[cfg(feature = "train")]
pub use training::Training;
