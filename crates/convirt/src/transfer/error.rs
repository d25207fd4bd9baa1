//! Why encoders cannot be compared on labelled images.

use convirt_data::ManifestError;

/// Why encoders cannot be compared on labelled images.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The side of a pixel baseline is not a number in range.
    #[error("`{found}`: after `pixels:` comes the side, 1 to 256 pixels, such as `pixels:24`")]
    PixelsSide {
        /// What was given.
        found: String,
    },

    /// There is nothing to compare.
    #[error("no {missing} given")]
    NothingToCompare {
        /// What is missing: "encoder", "fraction" or "run".
        missing: &'static str,
    },

    /// A fraction of the training images is too small to hold out a part for validation.
    #[error(
        "a fraction of {fraction}: {cause}; take a larger one, or mark rows as `valid` in a split \
         column"
    )]
    NoValidationImages {
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

    /// A fine-tuning diverged: its loss is not finite.
    #[error("the loss became {loss} in epoch {epoch}: lower the learning rate")]
    Diverged {
        /// The loss.
        loss: f64,
        /// The epoch, from 1.
        epoch: usize,
    },
}
