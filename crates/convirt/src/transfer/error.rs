//! Why encoders cannot be compared on labelled images.

use convirt_data::ManifestError;

/// Why encoders cannot be compared on labelled images.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The side of a baseline of pixels is no number.
    #[error("`{found}`: after `pixels:` comes the side, 1 to 256 pixels, such as `pixels:24`")]
    PixelsSide {
        /// What was given.
        found: String,
    },

    /// There is nothing to compare.
    #[error("no {what} given")]
    NothingAsked {
        /// What is missing.
        what: &'static str,
    },

    /// A fraction of the training images is too small to choose anything by a part of it.
    #[error(
        "a fraction of {fraction}: {cause}; take a larger one, or mark rows as `valid` in a split \
         column"
    )]
    NothingToChooseBy {
        /// The fraction.
        fraction: f64,
        /// Which label is too rare.
        cause: ManifestError,
    },

    /// An encoder has no weights that could be trained.
    #[error("`{encoder}` has no weights to fine-tune; it serves a linear probe only")]
    NothingToFineTune {
        /// The encoder.
        encoder: String,
    },

    /// A fine-tuning went astray.
    #[error("the loss became {loss} in epoch {epoch}: lower the learning rate")]
    Diverged {
        /// The loss.
        loss: f64,
        /// The epoch, from 1.
        epoch: usize,
    },
}
