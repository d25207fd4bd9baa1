//! The error of the crate, with a variant for each stage.

use crate::doctor::DoctorError;
use crate::files::FileError;
use crate::image::ImageError;
use crate::loader::LoaderError;
use crate::manifest::ManifestError;
use crate::prepare::PrepareError;
use crate::setting::SettingError;
use crate::skips::TooManyBadRows;
use crate::text::TokenizerError;

/// An error in reading data, with a variant for each stage between files and batches.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A setting is invalid.
    #[error(transparent)]
    Setting(#[from] SettingError),

    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),

    /// Too many rows are bad input.
    #[error(transparent)]
    TooManyBadRows(#[from] TooManyBadRows),

    /// A tokenizer cannot be read or learned, or a text cannot be encoded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),

    /// An image cannot be read or decoded.
    #[error(transparent)]
    Image(#[from] ImageError),

    /// A manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),

    /// A batch cannot be made.
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
    /// Whether a setting is invalid, and not a file.
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
