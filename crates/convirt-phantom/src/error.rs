//! What can go wrong while a phantom is written.

use std::io;
use std::path::PathBuf;

/// What can go wrong while a phantom is written.
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
        /// What the system says.
        cause: io::Error,
    },

    /// A file of the phantom cannot be written.
    #[error("{}: cannot be written: {cause}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },

    /// The folder holds something else.
    #[error(
        "{}: holds something else than a chest phantom; choose another folder or empty this one",
        path.display()
    )]
    NotAPhantom {
        /// The folder.
        path: PathBuf,
    },

    /// The folder holds a phantom of another configuration.
    #[error(
        "{}: holds another chest phantom ({present}) than asked for ({requested}); delete it or \
         choose another folder",
        path.display()
    )]
    OtherPhantom {
        /// The folder.
        path: PathBuf,
        /// The phantom that is there.
        present: String,
        /// The phantom asked for.
        requested: String,
    },

    /// A file of the phantom was removed or emptied after it was written.
    #[error(
        "{}: the chest phantom lacks `{}`; delete the folder so that it is written again",
        path.display(),
        missing.display()
    )]
    IncompletePhantom {
        /// The folder.
        path: PathBuf,
        /// The first file that is missing, empty or short.
        missing: PathBuf,
    },
}
