//! Errors in loading batches.

use std::time::Duration;

use crate::image::ImageError;
use crate::setting::SettingError;
use crate::skips::TooManyBadRows;
use crate::text::TokenizerError;

/// An error in loading a batch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoaderError {
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] SettingError),

    /// An image cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),

    /// A text cannot be encoded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),

    /// Too many rows are bad input.
    #[error(transparent)]
    TooManyBadRows(#[from] TooManyBadRows),

    /// There are no studies or images.
    #[error("nothing to load: no studies or images")]
    NothingToLoad,

    /// A batch is larger than the training set.
    #[error(
        "a batch of {batch_size} is larger than the training set of {studies} pairs; lower \
         `batch_size`"
    )]
    BatchTooLarge {
        /// Requested pairs in a batch.
        batch_size: usize,
        /// Existing pairs.
        studies: usize,
    },

    /// Too many images cannot be read.
    #[error(
        "{unreadable} of {images} images cannot be read ({:.2} %), more than the {:.2} % allowed; \
         mend them or allow more. The first: {}",
        100.0 * *unreadable as f64 / (*images).max(1) as f64, 100.0 * max_bad_share,
        first.join("; ")
    )]
    TooManyUnreadable {
        /// Unreadable images so far.
        unreadable: usize,
        /// Images in all.
        images: usize,
        /// Largest tolerated fraction, from 0 to 1.
        max_bad_share: f64,
        /// The first few of them, each with its path and the reason.
        first: Vec<String>,
    },

    /// The loader threads cannot be started.
    #[error("{num_workers} loader threads cannot be started: {cause}")]
    Workers {
        /// Requested threads.
        num_workers: usize,
        /// Why.
        cause: rayon::ThreadPoolBuildError,
    },

    /// A sample did not come within [`LoaderConfig::timeout`](crate::LoaderConfig::timeout).
    #[error(
        "batch {batch}: no sample came for {} s; {missing} are missing, the first: {}. The file \
         system may be stalled: check that these files can be read, then resume; \
         `loader_timeout_minutes` sets the limit",
        waited.as_secs(), first.join("; ")
    )]
    Stalled {
        /// The training step, or the number of the batch in an evaluation.
        batch: usize,
        /// Time since the last sample.
        waited: Duration,
        /// Samples of the batch that are missing.
        missing: usize,
        /// The first few of them, each with its image and, if it has one, its row.
        first: Vec<String>,
    },

    /// A loader thread panicked because of a bug.
    #[error("a loader thread panicked in batch {batch}")]
    WorkerPanicked {
        /// The training step, or the number of the batch in an evaluation.
        batch: usize,
    },
}

impl LoaderError {
    /// Whether a setting is invalid, and not a file.
    pub fn is_misuse(&self) -> bool {
        matches!(self, Self::Setting(_))
    }
}
