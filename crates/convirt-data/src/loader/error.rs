//! Why there is no batch.

use crate::image::ImageError;
use crate::setting::SettingError;
use crate::skips::TooManyBadRows;
use crate::text::TokenizerError;

/// Why there is no batch.
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

    /// There are no studies or images to make batches of.
    #[error("nothing to load: no studies or images")]
    NothingToLoad,

    /// A batch is larger than the whole set.
    #[error(
        "a batch of {batch_size} is larger than the training set of {studies} pairs; lower \
         `batch_size`"
    )]
    BatchTooLarge {
        /// Pairs asked for in a batch.
        batch_size: usize,
        /// Pairs there are.
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
        /// Images that could not be read up to now.
        unreadable: usize,
        /// Images in all.
        images: usize,
        /// The share that is borne, from 0 to 1.
        max_bad_share: f64,
        /// The first few of them, each with its path and the reason.
        first: Vec<String>,
    },

    /// Threads for the loader cannot be started.
    #[error("{num_workers} loader threads cannot be started: {cause}")]
    Workers {
        /// Threads asked for.
        num_workers: usize,
        /// Why.
        cause: rayon::ThreadPoolBuildError,
    },

    /// A loader thread panicked: a defect of the program.
    #[error("a loader thread panicked in batch {batch}")]
    WorkerPanicked {
        /// The step, or the number of the batch in the evaluation.
        batch: usize,
    },
}

impl LoaderError {
    /// Whether a setting is refused: what was asked for is wrong, rather than the files.
    pub fn is_misuse(&self) -> bool {
        matches!(self, Self::Setting(_))
    }
}
