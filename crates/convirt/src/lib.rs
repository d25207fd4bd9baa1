//! Contrastive pretraining of an image and a text encoder on paired medical images and reports
//! ([ConVIRT](https://arxiv.org/abs/2010.00747)), on [Burn](https://burn.dev).
//!
//! - [`Config`]: what to train, on what and how, as `config.yaml` says
//! - [`Training`]: a run of it, to be trained, interrupted and resumed
//! - [`ConVirt`]: the model of a run, embedding images and texts; [`ImageTower`]: its image side,
//!   which is all that a run of SimCLR has
//! - [`Transfer`]: linear probes and fine-tuning of encoders on labelled images;
//!   [`ImageClassifier`]: what comes of them
//! - [`ZeroShot`]: classes told by prompts alone
//! - [`EmbeddingIndex`], [`EmbeddingFile`]: embeddings on disk, to be searched or for other programs
//! - [`examine`]: what is wrong with a configuration's data, before a run
//! - [`model`], [`data`]: the networks and the data pipeline, to be used on their own
//!
//! # Messages
//!
//! Nothing is printed: warnings and progress are records of the [`log`](https://docs.rs/log) crate,
//! of the levels warn and info. A program that logs info on a terminal gets progress bars there, and
//! of a training Burn's interface, unless it asks for
//! [lines](Training::with_plain_progress).
//!
//! # Features
//!
//! Each backend is one: `flex` (default, pure Rust on the CPU), `cuda`, `wgpu`, `vulkan`, `metal`,
//! `webgpu`, `rocm`, `cpu`; `x86-v4` lets `flex` use AVX-512 where the processor has it.

mod messages;
mod files;
mod config;
pub mod weights;
mod readable;
mod error;
mod device;
mod logging;
mod network;
mod inference;
mod scores;
mod retrieval;
mod run;
mod datasets;
mod report;
mod training;
mod transfer;
mod zero_shot;
mod export;
mod doctor;

pub use convirt_data as data;
pub use convirt_model as model;
pub use convirt_ops::{Kernel, KernelError, Precision, Profile, autocast};
pub use convirt_phantom as phantom;

pub use config::{
    Config, ConfigError, DatasetConfig, Location, LossConfig, ModelConfig, Objective, Place,
    Schedule, ScheduleConfig, ScheduleKind, ScratchTextConfig,
};
pub use device::{DEVICE_NAMES, describe_device, device, parse_precision};
pub use doctor::examine;
pub use error::Error;
pub use inference::{
    ConVirt, EmbeddedBatch, EmbeddingFile, ImageClassifier, ImageEmbeddings, ImageTower,
    ModelIdentity, TextEmbeddings, TowerOutput, similarity,
};
pub use logging::EventWriter;
pub use messages::PROGRESS_TARGET;
pub use report::doctor_page;
pub use retrieval::{
    ChexpertRetrieval, ClassScores, Direction, EmbeddingIndex, Hit, IndexDescription, IndexWriter,
    Modality, PairRetrieval, Retrieval, RetrievalAtK, RetrievalScores, ScoresAtK, precision_at_k,
    recall_at_k,
};
pub use run::{Ending, RunDir, Summary};
pub use scores::{
    Bootstrap, ClassificationScores, Estimate, LabelScores, Scores, auroc, average_precision,
};
pub use training::{
    Adam, ContrastiveTask, Measures, PendingMeasures, PretrainingTask, ScheduledLearningRate,
    SimClrTask, Training,
};
pub use transfer::{
    EncoderSource, FineTuneConfig, Transfer, TransferConfig, TransferMode, TransferReport,
    TransferRow, TransferRun,
};
pub use weights::HubError;
pub use zero_shot::{ClassPrompts, ZeroShot, ZeroShotPredictions, ZeroShotPrompts};
