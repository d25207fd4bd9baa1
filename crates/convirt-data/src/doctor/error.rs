//! Why a cleaned manifest is not written.

use std::path::PathBuf;

use crate::files::{FileError, shown};
use crate::manifest::ManifestError;

/// Why a cleaned manifest is not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoctorError {
    /// The cleaned manifest cannot be written.
    #[error(transparent)]
    File(#[from] FileError),

    /// The manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),

    /// A cleaned manifest would take the place of the one it is made of.
    #[error("{}: is the manifest itself; choose another name", shown(path))]
    OverwritesInput {
        /// The path.
        path: PathBuf,
    },
}
