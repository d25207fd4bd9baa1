//! Why a file is not read or written.

use std::io;
use std::path::{Path, PathBuf};

use super::printable::shown;
use super::text_encoding::NotUtf8;

/// Why a file is not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A file cannot be read.
    #[error("{}: cannot be read: {cause}", shown(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },

    /// A file cannot be written.
    #[error("{}: cannot be written: {cause}", shown(path))]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },

    /// A file is no text in UTF-8.
    #[error("{}: cannot be read as text: {cause}", shown(path))]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        cause: NotUtf8,
    },
}

impl FileError {
    /// For `map_err` on what reads `path`.
    pub fn read(path: &Path) -> impl Fn(io::Error) -> Self + Copy {
        move |cause| Self::Read {
            path: path.to_path_buf(),
            cause,
        }
    }

    /// For `map_err` on what writes `path`.
    pub fn write(path: &Path) -> impl Fn(io::Error) -> Self + Copy {
        move |cause| Self::Write {
            path: path.to_path_buf(),
            cause,
        }
    }
}
