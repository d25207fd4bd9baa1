//! What can go wrong in a run.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::data::dataset::DatasetError;
use burn::train::TrainingError;
use convirt_data::DataError;
use convirt_model::ModelError;

use crate::config::ConfigError;
use crate::hub::HubError;
use crate::weights::WeightsError;

/// Error of the crate: each names the file or setting it is about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration does not make sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The networks cannot be built as configured.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A file or folder cannot be read.
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file or folder cannot be written.
    #[error("{path}: cannot be written: {source}", path = path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The backend does not exist or is not part of this build.
    #[error(
        "no device `{name}`; this build has {available:?} (others are cargo features: \
         `--features cuda`, `vulkan`, `metal`, `webgpu`, `wgpu`, `rocm`, `cpu`)"
    )]
    UnknownDevice {
        /// The name asked for.
        name: String,
        /// Those compiled in.
        available: &'static [&'static str],
    },
    /// There is no such earlier run.
    #[error("no run `{run}`, neither as a path nor in {looked_in}; found {found:?}", run = run.display(), looked_in = looked_in.display())]
    NoRun {
        /// The run asked for.
        run: PathBuf,
        /// Folder of runs.
        looked_in: PathBuf,
        /// Runs there.
        found: Vec<String>,
    },
    /// A run has nothing to resume from.
    #[error("{folder}: no whole checkpoint to resume from; start anew, or start from its model with `fine_tune_from`", folder = folder.display())]
    NoCheckpoint {
        /// Folder of checkpoints.
        folder: PathBuf,
    },
    /// A checkpoint's state is damaged.
    #[error("{path}: not the state of a training: {source}", path = path.display())]
    BrokenState {
        /// The file.
        path: PathBuf,
        /// Where it is wrong.
        source: serde_json::Error,
    },
    /// A run has no saved model.
    #[error("{folder}: no model here; missing {missing:?}", folder = folder.display())]
    NoModel {
        /// The folder.
        folder: PathBuf,
        /// Files that a model consists of and that are not there.
        missing: Vec<&'static str>,
    },
    /// A model has no text encoder where one is needed.
    #[error(
        "{path}: a model of SimCLR, which has no text encoder; its image side is loaded as \
         `ImageTower`, and a training of ConVIRT starts from it with `model.image_weights`",
        path = path.display()
    )]
    NoTextEncoder {
        /// The model's folder.
        path: PathBuf,
    },
    /// A description of a saved model is damaged.
    #[error("{path}: not the description of a model: {source}", path = path.display())]
    BrokenDescription {
        /// The file.
        path: PathBuf,
        /// Where it is wrong.
        source: serde_json::Error,
    },
    /// Weights cannot be read, do not fit, or cannot be written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A tower is larger than a file of Protocol Buffers can be.
    #[error("{path}: {bytes} bytes, but an ONNX file holds 2 GiB at most", path = path.display())]
    OnnxTooLarge {
        /// The file that would have been written.
        path: PathBuf,
        /// Its size.
        bytes: usize,
    },
    /// A model of the Hugging Face hub is not to be had.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A name is neither a path that exists nor one that the hub could have.
    #[error("`{key}`: no file or folder `{name}`, and that is no name on the Hugging Face hub")]
    NoSuchWeights {
        /// The key of the configuration.
        key: &'static str,
        /// What it says.
        name: String,
    },
    /// A text encoder's description is not understood.
    #[error("{path}: {source}", path = path.display())]
    TextConfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ModelError,
    },
    /// A vocabulary has more words than the encoder has embeddings.
    #[error(
        "{folder}: the vocabulary has {words} words, but the encoder embeds only {rows}; \
         tokenizer and weights are of different models", folder = folder.display()
    )]
    VocabularyTooLarge {
        /// The folder of both.
        folder: PathBuf,
        /// Words of the tokenizer.
        words: usize,
        /// Rows of the embedding.
        rows: usize,
    },
    /// A setting cannot change while a run goes on.
    #[error("`{key}` cannot change when a run is resumed; start a new run with `fine_tune_from`")]
    FixedOnResume {
        /// The key.
        key: String,
    },
    /// The loader gave no batch where one was due.
    #[error("the training data gave no batch at step {step}: every image of it was unreadable")]
    NoBatches {
        /// The step.
        step: usize,
    },
    /// The held-out pairs cannot be read any more.
    #[error("the held-out pairs: {0}")]
    Evaluation(DatasetError),
    /// Training stopped on an error.
    #[error("training stopped: {0}")]
    Training(Arc<TrainingError>),
}

/// For `map_err` on what reads `path`.
pub(crate) fn read_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Read { path, source }
}

/// For `map_err` on what writes `path`.
pub(crate) fn write_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Write { path, source }
}
