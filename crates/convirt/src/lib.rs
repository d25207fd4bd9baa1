//! Contrastive pretraining of an image and a text encoder on paired medical images and reports
//! ([ConVIRT](https://arxiv.org/abs/2010.00747)), on [Burn](https://burn.dev).
//!
//! - [`Config`]: what to train, on what and how, as `config.yaml` says
//! - [`Training`]: a run of it, to be trained, interrupted and resumed
//! - [`ConVirt`]: the model of a run, embedding images and texts; [`ImageTower`]: its image side,
//!   which is all that a run of SimCLR has
//! - [`examine`]: what is wrong with a configuration's data, before a run
//! - [`model`], [`data`]: the networks and the data pipeline, to be used on their own
//!
//! # Features
//!
//! Each backend is one: `flex` (default, pure Rust on the CPU), `cuda`, `wgpu`, `vulkan`, `metal`,
//! `webgpu`, `rocm`, `cpu`; `x86-v4` lets `flex` use AVX-512 where the processor has it.

mod checkpoint;
mod config;
mod datasets;
mod device;
mod doctor;
mod doctor_page;
mod earlier;
mod error;
mod evaluation;
mod export;
mod html;
mod hub;
mod interrupt;
mod metrics;
mod network;
mod onnx;
mod pretrained;
mod progress;
mod retrieval;
mod run_dir;
mod schedule;
mod summary;
mod task;
mod tensorboard;
mod text_tower;
mod training;
pub mod weights;
mod windows;
mod yaml;

pub use convirt_data as data;
pub use convirt_model as model;

pub use config::{
    Config, ConfigError, DatasetConfig, Location, LossConfig, ModelConfig, Objective, Place,
    ScheduleConfig, ScheduleKind, ScratchTextConfig,
};
pub use device::{DEVICE_NAMES, device};
pub use doctor::examine;
pub use doctor_page::doctor_page;
pub use error::Error;
pub use hub::HubError;
pub use pretrained::{ConVirt, ImageTower, similarity};
pub use retrieval::{Direction, Retrieval, RetrievalScores};
pub use run_dir::RunDir;
pub use schedule::{Schedule, ScheduledLearningRate};
pub use summary::{Ending, Summary};
pub use task::{ContrastiveTask, Measures, PendingMeasures, SimClrTask};
pub use tensorboard::EventWriter;
pub use training::Training;
