//! Errors in writing a cleaned manifest.

use std::path::PathBuf;

use crate::files::{FileError, shown};
use crate::manifest::ManifestError;

/// An error in writing a cleaned manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoctorError {
    /// The cleaned manifest cannot be written.
    #[error(transparent)]
    File(#[from] FileError),

    /// The manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),

    /// The cleaned manifest would overwrite the original.
    #[error("{}: is the manifest itself; choose another name", shown(path))]
    OverwritesInput {
        /// The path.
        path: PathBuf,
    },
}
