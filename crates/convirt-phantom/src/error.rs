//! Why a phantom cannot be written.

use std::io;
use std::path::PathBuf;

/// Why a phantom cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PhantomError {
    /// A setting is out of range.
    #[error("`{setting}` is {value}; it must be {allowed}")]
    OutOfRange {
        /// The setting, a field of [`PhantomConfig`](crate::PhantomConfig).
        setting: &'static str,
        /// The value given.
        value: usize,
        /// The values allowed.
        allowed: &'static str,
    },

    /// The folder for the phantom cannot be read.
    #[error("{}: cannot be read: {cause}", path.display())]
    Read {
        /// The folder.
        path: PathBuf,
        /// The error of the operating system.
        cause: io::Error,
    },

    /// A file of the phantom cannot be written.
    #[error("{}: cannot be written: {cause}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        cause: io::Error,
    },

    /// The folder holds something other than a chest phantom.
    #[error(
        "{}: holds something other than a chest phantom; choose another folder or empty this one",
        path.display()
    )]
    NotAPhantom {
        /// The folder.
        path: PathBuf,
    },

    /// The folder holds a phantom of another configuration.
    #[error(
        "{}: holds another chest phantom ({present}) than the requested one ({requested}); delete \
         it or choose another folder",
        path.display()
    )]
    OtherPhantom {
        /// The folder.
        path: PathBuf,
        /// The phantom in the folder.
        present: String,
        /// The requested phantom.
        requested: String,
    },

    /// A file of the phantom was removed or emptied after it was written.
    #[error(
        "{}: `{}` is missing from the chest phantom; delete the folder so that it is written again",
        path.display(),
        missing.display()
    )]
    IncompletePhantom {
        /// The folder.
        path: PathBuf,
        /// The first file that is missing, empty or incomplete.
        missing: PathBuf,
    },
}
