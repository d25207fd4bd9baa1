//! Contrastive pretraining of an image and a text encoder on paired medical images and reports
//! ([ConVIRT](https://arxiv.org/abs/2010.00747)), on [Burn](https://burn.dev).
//!
//! The types of a first training are here; everything else is in its module.
//!
//! - [`Config`]: the configuration of a run, in code or as `config.yaml`; its sections are in
//!   [`config`]
//! - [`Training`]: a run that can be trained, interrupted and resumed; it writes a [`RunDir`] and
//!   returns a [`Summary`]
//! - [`Model`]: the trained encoders of a run, which embed images and texts; [`ImageModel`]: the
//!   image encoder alone, also of a SimCLR run; [`Classifier`]: a classifier trained by
//!   [`transfer`]
//! - [`retrieval`], [`zero_shot`], [`transfer`], [`scores`]: evaluation of a model
//! - [`weights`]: weight files of this and other libraries, and the Hugging Face hub
//! - [`inference`]: embeddings and their files
//! - [`export`]: a model as a folder to publish; [`report`]: the HTML page of a run; [`doctor`]:
//!   checks of a data set before training
//! - [`training`], [`logging`], [`compute`]: parts of a training, progress and curves, devices and
//!   precisions
//! - [`model`], [`data`], [`phantom`]: the networks, the data pipeline and the synthetic chest
//!   images, each also usable alone
//!
//! # Examples
//!
//! ```no_run
//! use convirt::{Config, Model, Training, similarity};
//!
//! # fn main() -> Result<(), convirt::Error> {
//! let config = Config::from_file("config.yaml", &[])?;
//! let summary = Training::prepare(config)?.run()?;
//! let model = Model::load(&summary.run)?;
//! let image = model.embed_image("chest.png")?;
//! let text = model.embed_text("Small left pleural effusion.")?;
//! println!("{:.3}", similarity(&image, &text));
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! Each backend is a feature: `flex` (default, pure Rust on the CPU), `cuda`, `wgpu`, `vulkan`,
//! `metal`, `webgpu`, `rocm`, `cpu`. The feature `x86-v4` lets `flex` use AVX-512 if the processor
//! has it.
//!
//! These features are also on by default: `train` (pretraining, transfer, pages, doctor, exported
//! folders), `tui` (Burn's full-screen view of a training), `hub` (models by their name on the
//! Hugging Face hub), `onnx` (ONNX files, read and written). Without them (`default-features = false,
//! features = ["flex"]`) the crate loads models, embeds images and texts, searches indices and
//! classifies zero-shot.

// Without a feature, some items of the remaining modules are unused; marking each is not worth it.
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
mod peers;
pub mod inference;
pub mod scores;
pub mod retrieval;
#[cfg(feature = "train")]
pub mod run;
#[cfg(feature = "train")]
mod datasets;
#[cfg(feature = "train")]
pub mod records;
#[cfg(feature = "train")]
pub mod recipe;
#[cfg(feature = "train")]
pub mod report;
#[cfg(feature = "train")]
pub mod training;
#[cfg(feature = "train")]
pub mod transfer;
pub mod zero_shot;
mod assistance;
pub mod export;
#[cfg(feature = "train")]
pub mod doctor;

pub use burn;
pub use convirt_data as data;
pub use convirt_model as model;
pub use convirt_phantom as phantom;

pub use assistance::{assist, dismiss};
pub use compute::device;
pub use config::Config;
pub use error::Error;
pub use inference::{Classifier, ImageModel, Model, similarity};
pub use peers::{PeerError, process_count};
#[cfg(feature = "train")]
pub use run::{RunDir, Summary};
#[cfg(feature = "train")]
pub use training::Training;
