//! The error of the crate, with one variant for each module that has an error of its own.

#[cfg(feature = "onnx")]
use std::path::PathBuf;
#[cfg(feature = "train")]
use std::sync::Arc;

#[cfg(feature = "train")]
use burn::data::dataset::DatasetError;
#[cfg(feature = "train")]
use burn::tensor::ExecutionError;
#[cfg(feature = "train")]
use burn::train::TrainingError;
use convirt_data::{
    DataError, FileError, ImageError, LoaderError, ManifestError, PrepareError, SettingError,
    TokenizerError,
};
use convirt_model::ModelError;
use convirt_phantom::PhantomError;

use crate::compute::ComputeError;
use crate::config::ConfigError;
use crate::inference::{InferenceError, RunNameError};
#[cfg(feature = "train")]
use crate::logging::NotFinite;
use crate::peers::PeerError;
use crate::retrieval::IndexError;
#[cfg(feature = "train")]
use crate::run::RunError;
#[cfg(feature = "train")]
use crate::transfer::TransferError;
use crate::weights::WeightsError;
use crate::zero_shot::ZeroShotError;

/// The error of the crate. Each message names the file or setting and includes the cause, which
/// [`source`](std::error::Error::source) does not repeat.
///
/// # Examples
///
/// ```
/// use convirt::{Config, Error};
///
/// let error = Error::from(Config::from_file("nowhere.yaml", &[]).unwrap_err());
/// assert!(error.is_misuse());
/// assert!(error.to_string().starts_with("nowhere.yaml: cannot be read: "));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration cannot be read or is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The chest phantom cannot be written.
    #[error(transparent)]
    Phantom(#[from] PhantomError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A device, kernel, precision or the memory for a computation is not available.
    #[error(transparent)]
    Compute(#[from] ComputeError),
    /// The networks cannot be built as configured.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Weights cannot be found, read or written, or do not match the network.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A model cannot be loaded, or an embedding cannot be computed or written.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// No run, or more than one, has the given name.
    #[error(transparent)]
    RunName(#[from] RunNameError),
    /// An index of embeddings cannot be built or searched.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The prompts of a zero-shot classification cannot be used.
    #[error(transparent)]
    ZeroShot(#[from] ZeroShotError),
    /// An encoder is too large for an ONNX file, which is one Protocol Buffers message.
    #[cfg(feature = "onnx")]
    #[error("{path}: {bytes} bytes, but an ONNX file holds 2 GiB at most", path = path.display())]
    OnnxTooLarge {
        /// The file that would have been written.
        path: PathBuf,
        /// Its size.
        bytes: usize,
    },
    /// A run cannot be opened or resumed.
    #[cfg(feature = "train")]
    #[error(transparent)]
    Run(#[from] RunError),
    /// Encoders cannot be compared on labelled images.
    #[cfg(feature = "train")]
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The device failed in a training step.
    #[cfg(feature = "train")]
    #[error("step {step}: {cause}")]
    Step {
        /// The step.
        step: usize,
        /// The error of the device.
        cause: ExecutionError,
    },
    /// The loss or the gradient was not finite in a training step, and in as many before it as may
    /// be skipped.
    #[cfg(feature = "train")]
    #[error("step {step}: {cause}")]
    NotFinite {
        /// The step.
        step: usize,
        /// Which number is not finite, and what to do.
        cause: NotFinite,
    },
    /// The training loader ended before the training.
    #[error("no batch for step {step}: none of its images could be read")]
    NoBatches {
        /// The step.
        step: usize,
    },
    /// Another of several devices or processes cannot go on.
    #[error("the work with several peers: {0}")]
    Peer(#[from] PeerError),
    /// The held-out pairs cannot be read.
    #[cfg(feature = "train")]
    #[error("the held-out pairs: {0}")]
    Evaluation(DatasetError),
    /// Training stopped with an error.
    #[cfg(feature = "train")]
    #[error("training stopped: {0}")]
    Training(Arc<TrainingError>),
}

impl Error {
    /// Returns whether the request is wrong, an invalid setting for example, rather than its
    /// execution. Programs use another exit code for such an error.
    pub fn is_misuse(&self) -> bool {
        match self {
            Self::Config(_) => true,
            Self::Data(error) => error.is_misuse(),
            Self::Phantom(PhantomError::OutOfRange { .. }) => true,
            Self::Compute(
                ComputeError::UnknownDevice { .. }
                | ComputeError::SeveralDevices { .. }
                | ComputeError::IdlePeers { .. },
            ) => true,
            Self::Weights(WeightsError::UnusedPrefix { .. }) => true,
            Self::Inference(InferenceError::EmbeddingFormat { .. }) => true,
            #[cfg(feature = "train")]
            Self::Run(RunError::FixedOnResume { .. } | RunError::EndsBefore { .. }) => true,
            #[cfg(feature = "train")]
            Self::Transfer(
                TransferError::NothingToCompare { .. } | TransferError::PixelsSide { .. },
            ) => true,
            _ => false,
        }
    }
}

/// Converts the errors of the data crate's stages.
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
    ImageError,
    LoaderError,
    ManifestError,
    PrepareError,
    SettingError,
    TokenizerError
);
