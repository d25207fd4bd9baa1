//! Contrastive pretraining of an image and a text encoder on paired medical images and reports
//! ([ConVIRT](https://arxiv.org/abs/2010.00747)), on [Burn](https://burn.dev).
//!
//! - [`Config`]: what to train, on what and how, as `config.yaml` says
//! - [`Training`]: a run of it, to be trained, interrupted and resumed
//! - [`Model`]: the model of a run, embedding images and texts; [`ImageModel`]: its image side,
//!   which is all that a run of SimCLR has
//! - [`Transfer`]: linear probes and fine-tuning of encoders on labelled images;
//!   [`Classifier`]: what comes of them
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
pub mod run;
mod datasets;
pub mod report;
pub mod training;
pub mod transfer;
pub mod zero_shot;
mod export;
pub mod doctor;

pub use convirt_data as data;
pub use convirt_model as model;
pub use convirt_phantom as phantom;

pub use compute::device;
pub use config::Config;
pub use error::Error;
pub use inference::{Classifier, ImageModel, Model, similarity};
pub use run::{RunDir, Summary};
pub use training::Training;

// Until the programs and tests name the rooms.
#[doc(hidden)]
pub use compute::{
    DEVICE_NAMES, Kernel, KernelError, Precision, Profile, autocast, describe_device,
    parse_precision,
};
#[doc(hidden)]
pub use config::{
    ConfigError, DatasetConfig, Location, LossConfig, ModelConfig, Objective, Place, Schedule,
    ScheduleConfig, ScheduleKind, ScratchTextConfig,
};
#[doc(hidden)]
pub use doctor::{doctor_page, examine};
#[doc(hidden)]
pub use inference::{
    Classifier as ImageClassifier, EmbeddedBatch, EmbeddingFile, ImageEmbeddings,
    ImageModel as ImageTower, Model as ConVirt, ModelIdentity, TextEmbeddings, TowerOutput,
};
#[doc(hidden)]
pub use logging::{EventWriter, Measures, PendingMeasures};
#[doc(hidden)]
pub use retrieval::{
    ChexpertRetrieval, ClassScores, Direction, EmbeddingIndex, Hit, IndexDescription, IndexWriter,
    Modality, PairRetrieval, Retrieval, RetrievalAtK, RetrievalScores, ScoresAtK, precision_at_k,
    recall_at_k,
};
#[doc(hidden)]
pub use run::Ending;
#[doc(hidden)]
pub use scores::{
    Bootstrap, ClassificationScores, Estimate, LabelScores, Scores, auroc, average_precision,
};
#[doc(hidden)]
pub use training::{Adam, ContrastiveTask, PretrainingTask, ScheduledLearningRate, SimClrTask};
#[doc(hidden)]
pub use transfer::{
    EncoderSource, FineTuneConfig, Transfer, TransferConfig, TransferMode, TransferReport,
    TransferRow, TransferRun,
};
#[doc(hidden)]
pub use weights::HubError;
#[doc(hidden)]
pub use zero_shot::{ClassPrompts, ZeroShot, ZeroShotPredictions, ZeroShotPrompts};
