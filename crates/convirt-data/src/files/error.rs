//! Why a file is not read or written.

use std::io;
use std::path::PathBuf;

use super::printable::shown;
use super::text_encoding::NotUtf8;

/// Why a file is not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A file cannot be read.
    #[error("{}: cannot be read", shown(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },

    /// A file cannot be written.
    #[error("{}: cannot be written", shown(path))]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },

    /// A file is no text in UTF-8.
    #[error("{}: cannot be read as text", shown(path))]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        source: NotUtf8,
    },
}
