//! What can go wrong between the files and the batches.

use crate::doctor::DoctorError;
use crate::files::FileError;
use crate::image::ImageError;
use crate::loader::LoaderError;
use crate::manifest::ManifestError;
use crate::prepare::PrepareError;
use crate::setting::SettingError;
use crate::skips::TooManyBadRows;
use crate::text::TokenizerError;

/// What can go wrong between the files and the batches: one error for each stage.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A setting is refused.
    #[error(transparent)]
    Setting(#[from] SettingError),

    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),

    /// Too many rows are bad input.
    #[error(transparent)]
    TooManyBadRows(#[from] TooManyBadRows),

    /// There is no tokenizer, or a text cannot be encoded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),

    /// There is no image.
    #[error(transparent)]
    Image(#[from] ImageError),

    /// A manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),

    /// There is no batch.
    #[error(transparent)]
    Loader(#[from] LoaderError),

    /// A data set cannot be prepared.
    #[error(transparent)]
    Prepare(#[from] PrepareError),

    /// A cleaned manifest cannot be written.
    #[error(transparent)]
    Doctor(#[from] DoctorError),
}

impl DataError {
    /// Whether a setting is refused: what was asked for is wrong, rather than the files.
    pub fn is_misuse(&self) -> bool {
        match self {
            Self::Setting(_) => true,
            Self::Manifest(error) => error.is_misuse(),
            Self::Loader(error) => error.is_misuse(),
            Self::Prepare(error) => error.is_misuse(),
            _ => false,
        }
    }
}
