//! What can go wrong in a run.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(feature = "train")]
use burn::data::dataset::DatasetError;
#[cfg(feature = "train")]
use burn::train::TrainingError;
use convirt_data::{
    DataError, FileError as DataFileError, ImageError, LoaderError, ManifestError, PrepareError,
    SettingError, TokenizerError, few,
};
use convirt_model::ModelError;
use convirt_ops::{KERNEL_VARIABLE, KernelError};
use convirt_phantom::PhantomError;

use crate::config::ConfigError;
use crate::inference::ModelIdentity;
use crate::readable::thousands;
use crate::retrieval::Modality;
#[cfg(feature = "hub")]
use crate::weights::HubError;
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

    /// The chest phantom cannot be written.
    #[error(transparent)]
    Phantom(#[from] PhantomError),
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
    /// The device does not compute in the precision asked for.
    #[error("{device} does not compute in bfloat16; choose the precision `float32`")]
    NoBFloat16 {
        /// The device.
        device: String,
    },
    /// The environment asks for a kernel that cannot be had.
    #[error("{KERNEL_VARIABLE}: {0}")]
    Kernel(KernelError),
    /// There is no such earlier run.
    #[error("no run `{run}`, neither as a path nor in {looked_in}; found {found}", run = run.display(), looked_in = looked_in.display(), found = few(found))]
    NoRun {
        /// The run asked for.
        run: PathBuf,
        /// Folder of runs.
        looked_in: PathBuf,
        /// Runs there.
        found: Vec<String>,
    },
    /// Another process trains the run.
    #[error(
        "{run}: another process works on this run ({holder}); wait for it, or stop it",
        run = run.display()
    )]
    RunInUse {
        /// The run's folder.
        run: PathBuf,
        /// What that process says of itself.
        holder: String,
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
         `ImageModel`, and a training of ConVIRT starts from it with `model.image_weights`",
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
    /// A file of embeddings would be of no format that is written.
    #[error(
        "{path}: embeddings are written as `.safetensors` or `.npy`; give the file one of these \
         endings", path = path.display()
    )]
    EmbeddingFormat {
        /// The file asked for.
        path: PathBuf,
    },
    /// Names do not fit into a safetensors header.
    #[error(
        "{path}: the names of {names} rows take {bytes} bytes, but a safetensors header holds \
         100 MB; write `.npy` instead", path = path.display()
    )]
    TooManyNames {
        /// The file asked for.
        path: PathBuf,
        /// Names there are.
        names: usize,
        /// Bytes that they would take.
        bytes: usize,
    },
    /// A file is no index of embeddings, or a damaged one.
    #[error("{path}: not an index of embeddings: {detail}", path = path.display())]
    NotAnIndex {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// An index would be empty.
    #[error("{path}: nothing to index", path = path.display())]
    NothingIndexed {
        /// The index asked for.
        path: PathBuf,
    },
    /// An index was built by another model.
    #[error(
        "{path}: built by the model {built}, but asked with {asked}; ask with the model it was \
         built by, or build it anew", path = path.display()
    )]
    OtherModel {
        /// The index.
        path: PathBuf,
        /// The model that built it.
        built: ModelIdentity,
        /// The model of the query.
        asked: ModelIdentity,
    },
    /// Encoder outputs of two towers cannot be compared.
    #[error(
        "{path}: holds the encoder's outputs of {indexed}, which cannot be compared with {query}; \
         build the index without features", path = path.display()
    )]
    NotComparable {
        /// The index.
        path: PathBuf,
        /// What it is of.
        indexed: Modality,
        /// What was to be looked for.
        query: Modality,
    },
    /// A query has another width than the index.
    #[error("{path}: embeddings of {width} numbers, but the query has {query}", path = path.display())]
    OtherWidth {
        /// The index.
        path: PathBuf,
        /// Numbers of its embeddings.
        width: usize,
        /// Numbers of the query.
        query: usize,
    },
    /// What a network made of an image or a text is not of finite numbers.
    #[error(
        "`{name}`: what the network makes of it is not of finite numbers; its weights are damaged, \
         or too large to compute with"
    )]
    NotFinite {
        /// The image or the text.
        name: String,
    },
    /// A tower is larger than a file of Protocol Buffers can be.
    #[error("{path}: {bytes} bytes, but an ONNX file holds 2 GiB at most", path = path.display())]
    OnnxTooLarge {
        /// The file that would have been written.
        path: PathBuf,
        /// Its size.
        bytes: usize,
    },
    /// A model of the Hugging Face hub is not to be had.
    #[cfg(feature = "hub")]
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
    /// A prefix was to choose among encoders where there is nothing to choose from.
    #[error(
        "`weights_prefix` is `{prefix}`, but no file of weights that is loaded has several encoders \
         to choose from"
    )]
    UnusedPrefix {
        /// The prefix.
        prefix: String,
    },
    /// The side of a baseline of pixels is no number.
    #[error("`{found}`: after `pixels:` comes the side, 1 to 256 pixels, such as `pixels:24`")]
    PixelsSide {
        /// What was given.
        found: String,
    },
    /// A network and its batches need more memory than there is.
    #[error(
        "at least {} of memory are needed and there are {}: {} for {} parameters, {} of them \
         trained, and {} for batches of images; choose smaller sizes or batches",
        gib(*needed), gib(*available), gib(*network), thousands(*parameters),
        thousands(*trainable), gib(*batches)
    )]
    TooLargeForMemory {
        /// Bytes needed at the least.
        needed: u64,
        /// Bytes there are.
        available: u64,
        /// Parameters of the network.
        parameters: usize,
        /// Those of them that are trained.
        trainable: usize,
        /// Bytes of the network and what trains it.
        network: u64,
        /// Bytes of the batches under way.
        batches: u64,
    },
    /// There is nothing to compare.
    #[error("no {what} given")]
    NothingAsked {
        /// What is missing.
        what: &'static str,
    },
    /// A fraction of the training images is too small to choose anything by a part of it.
    #[error(
        "a fraction of {fraction}: {source}; take a larger one, or mark rows as `valid` in a split \
         column"
    )]
    NothingToChooseBy {
        /// The fraction.
        fraction: f64,
        /// Which label is too rare.
        source: ManifestError,
    },
    /// An encoder has no weights that could be trained.
    #[error("`{encoder}` has no weights to fine-tune; it serves a linear probe only")]
    NothingToFineTune {
        /// The encoder.
        encoder: String,
    },
    /// A label has no prompts.
    #[error("no prompts for the label `{label}`; there are some for {found}", found = few(found))]
    NoPrompts {
        /// The label.
        label: String,
        /// The classes that have prompts.
        found: Vec<String>,
    },
    /// Findings that may go together are to be told by classes that exclude each other.
    #[error(
        "several findings may hold of one image, but without `negative` prompts the classes \
         exclude each other; give each of them some"
    )]
    FindingsExclude,
    /// A fine-tuning went astray.
    #[error("the loss became {loss} in epoch {epoch}: lower the learning rate")]
    Diverged {
        /// The loss.
        loss: f64,
        /// The epoch, from 1.
        epoch: usize,
    },
    /// The description of a network or a text encoder is not understood, or not possible.
    #[error("{path}: {source}", path = path.display())]
    InvalidDescription {
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
    #[cfg(feature = "train")]
    #[error("the held-out pairs: {0}")]
    Evaluation(DatasetError),
    /// Training stopped on an error.
    #[cfg(feature = "train")]
    #[error("training stopped: {0}")]
    Training(Arc<TrainingError>),
}

impl Error {
    /// Whether what was asked for is wrong, a setting for instance, rather than what came of it.
    pub fn is_misuse(&self) -> bool {
        match self {
            Self::Config(_)
            | Self::Phantom(PhantomError::OutOfRange { .. })
            | Self::UnknownDevice { .. }
            | Self::EmbeddingFormat { .. }
            | Self::FixedOnResume { .. }
            | Self::NothingAsked { .. }
            | Self::PixelsSide { .. }
            | Self::UnusedPrefix { .. } => true,
            Self::Data(error) => error.is_misuse(),
            _ => false,
        }
    }
}

/// Whether an error of this crate, or of a stage of it, says that what was asked for is wrong, a
/// setting for instance, rather than what came of it: programs end with another exit code then.
///
/// It looks at `error` alone, not at its sources.
pub fn is_misuse(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref().is_some_and(Error::is_misuse)
        || error.downcast_ref().is_some_and(DataError::is_misuse)
        || error.downcast_ref().is_some_and(ManifestError::is_misuse)
        || error.downcast_ref().is_some_and(LoaderError::is_misuse)
        || error.downcast_ref().is_some_and(PrepareError::is_misuse)
        || error.is::<SettingError>()
        || error.is::<ConfigError>()
}

/// Errors of a stage of the data are those of the data.
macro_rules! from_data {
    ($($stage:ty),*) => {
        $(impl From<$stage> for Error {
            fn from(error: $stage) -> Self {
                Self::Data(error.into())
            }
        })*
    };
}

from_data!(
    DataFileError,
    ImageError,
    LoaderError,
    ManifestError,
    SettingError,
    TokenizerError
);

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
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
