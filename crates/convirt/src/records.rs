//! What a training records of its steps and evaluations: lines on the screen and in `train.log`,
//! `metrics.jsonl`, TensorBoard's events, and observers of the user's own.

mod record;
mod first_error;
mod recorder;
mod lines;
mod metrics_file;
mod tensorboard;

pub(crate) use lines::{Lines, TrainLog};
pub(crate) use metrics_file::MetricsFile;
pub use record::{CheckpointRecord, EvaluationRecord, StepRecord, TrainingObserver};
pub(crate) use recorder::{Recorder, StepFacts};
pub(crate) use tensorboard::TensorBoard;
