//! Errors in reading and writing files.

use std::io;
use std::path::{Path, PathBuf};

use super::printable::shown;
use super::text_encoding::NotUtf8;

/// An error in reading or writing a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A file cannot be read.
    #[error("{}: cannot be read: {cause}", shown(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        cause: io::Error,
    },

    /// A file cannot be written.
    #[error("{}: cannot be written: {cause}", shown(path))]
    Write {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        cause: io::Error,
    },

    /// A file is not text in UTF-8.
    #[error("{}: cannot be read as text: {cause}", shown(path))]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// How it differs from UTF-8.
        cause: NotUtf8,
    },
}

impl FileError {
    /// Returns a function for `map_err` that makes a [`Read`](Self::Read) error of `path`.
    pub fn read(path: &Path) -> impl Fn(io::Error) -> Self + Copy {
        move |cause| Self::Read {
            path: path.to_path_buf(),
            cause,
        }
    }

    /// Returns a function for `map_err` that makes a [`Write`](Self::Write) error of `path`.
    pub fn write(path: &Path) -> impl Fn(io::Error) -> Self + Copy {
        move |cause| Self::Write {
            path: path.to_path_buf(),
            cause,
        }
    }
}
