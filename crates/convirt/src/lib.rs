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

mod adam;
mod checkpoint;
mod chexpert_retrieval;
mod chosen_encoder;
mod classifier;
mod config;
mod data_identity;
mod datasets;
mod device;
mod doctor;
mod doctor_page;
mod earlier;
mod embedded_pairs;
mod embedding_file;
mod embedding_index;
mod embeddings;
mod error;
mod evaluation;
mod export;
mod finite;
mod html;
mod hub;
mod image_reader;
mod interrupt;
mod json_file;
mod lbfgs;
mod logistic;
mod memory;
mod metrics;
mod network;
mod new_file;
mod onnx;
mod output;
mod pair_retrieval;
mod precision;
mod precision_name;
mod pretrained;
mod progress;
mod report;
mod retrieval;
mod run_dir;
mod schedule;
mod scores;
mod summary;
mod task;
mod tensorboard;
mod text_tower;
mod training;
mod transfer;
pub mod weights;
mod windows;
mod yaml;
mod zero_shot;

pub use convirt_data as data;
pub use convirt_model as model;
pub use convirt_ops::{Kernel, KernelError, Precision, Profile, autocast};
pub use convirt_phantom as phantom;

pub use adam::Adam;
pub use chexpert_retrieval::ChexpertRetrieval;
pub use classifier::ImageClassifier;
pub use config::{
    Config, ConfigError, DatasetConfig, Location, LossConfig, ModelConfig, Objective, Place,
    ScheduleConfig, ScheduleKind, ScratchTextConfig,
};
pub use device::{DEVICE_NAMES, describe_device, device};
pub use doctor::examine;
pub use doctor_page::doctor_page;
pub use embedding_file::EmbeddingFile;
pub use embedding_index::{EmbeddingIndex, Hit, IndexDescription, IndexWriter, Modality};
pub use embeddings::{EmbeddedBatch, ImageEmbeddings, TextEmbeddings, TowerOutput};
pub use error::Error;
pub use hub::HubError;
pub use output::PROGRESS_TARGET;
pub use pair_retrieval::PairRetrieval;
pub use precision::{ClassScores, RetrievalAtK, ScoresAtK, precision_at_k, recall_at_k};
pub use precision_name::parse_precision;
pub use pretrained::{ConVirt, ImageTower, ModelIdentity, similarity};
pub use retrieval::{Direction, Retrieval, RetrievalScores};
pub use run_dir::RunDir;
pub use schedule::{Schedule, ScheduledLearningRate};
pub use scores::{
    Bootstrap, ClassificationScores, Estimate, LabelScores, Scores, auroc, average_precision,
};
pub use summary::{Ending, Summary};
pub use task::{ContrastiveTask, Measures, PendingMeasures, PretrainingTask, SimClrTask};
pub use tensorboard::EventWriter;
pub use training::Training;
pub use transfer::{
    EncoderSource, FineTuneConfig, Transfer, TransferConfig, TransferMode, TransferReport,
    TransferRow, TransferRun,
};
pub use zero_shot::{ClassPrompts, ZeroShot, ZeroShotPredictions, ZeroShotPrompts};
