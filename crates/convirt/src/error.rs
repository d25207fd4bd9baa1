//! The error of the crate: one enum for each room that the outside world enters, under one.

#[cfg(feature = "onnx")]
use std::path::PathBuf;
#[cfg(feature = "train")]
use std::sync::Arc;

#[cfg(feature = "train")]
use burn::data::dataset::DatasetError;
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
use crate::inference::InferenceError;
use crate::retrieval::IndexError;
#[cfg(feature = "train")]
use crate::run::RunError;
#[cfg(feature = "train")]
use crate::transfer::TransferError;
use crate::weights::WeightsError;
use crate::zero_shot::ZeroShotError;

/// Error of the crate. Each names the file or setting it is about and says all that is known: what
/// it shows of a cause is not repeated as its source.
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
    /// The configuration does not make sense.
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
    /// There is nothing to compute on.
    #[error(transparent)]
    Compute(#[from] ComputeError),
    /// The networks cannot be built as configured.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Weights cannot be found or read, do not fit, or cannot be written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A model cannot be loaded, or an embedding cannot be made or written.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// An index of embeddings cannot be built or searched.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Classes cannot be told by their prompts.
    #[error(transparent)]
    ZeroShot(#[from] ZeroShotError),
    /// A tower is larger than a file of Protocol Buffers can be.
    #[cfg(feature = "onnx")]
    #[error("{path}: {bytes} bytes, but an ONNX file holds 2 GiB at most", path = path.display())]
    OnnxTooLarge {
        /// The file that would have been written.
        path: PathBuf,
        /// Its size.
        bytes: usize,
    },
    /// A run cannot be opened, or not be gone on with.
    #[cfg(feature = "train")]
    #[error(transparent)]
    Run(#[from] RunError),
    /// Encoders cannot be compared on labelled images.
    #[cfg(feature = "train")]
    #[error(transparent)]
    Transfer(#[from] TransferError),
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
    /// Whether what was asked for is wrong, a setting for instance, rather than what came of it:
    /// programs end with another exit code then.
    pub fn is_misuse(&self) -> bool {
        match self {
            Self::Config(_) => true,
            Self::Data(error) => error.is_misuse(),
            Self::Phantom(PhantomError::OutOfRange { .. }) => true,
            Self::Compute(ComputeError::UnknownDevice { .. }) => true,
            Self::Weights(WeightsError::UnusedPrefix { .. }) => true,
            Self::Inference(InferenceError::EmbeddingFormat { .. }) => true,
            #[cfg(feature = "train")]
            Self::Run(RunError::FixedOnResume { .. }) => true,
            #[cfg(feature = "train")]
            Self::Transfer(
                TransferError::NothingToCompare { .. } | TransferError::PixelsSide { .. },
            ) => true,
            _ => false,
        }
    }
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
    ImageError,
    LoaderError,
    ManifestError,
    PrepareError,
    SettingError,
    TokenizerError
);
