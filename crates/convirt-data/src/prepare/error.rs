//! Errors in preparing a data set.

use std::path::PathBuf;

use crate::files::{FileError, shown, truncated_list};
use crate::image::ImageError;
use crate::manifest::{ManifestError, TableError};
use crate::setting::SettingError;

/// An error in preparing a data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] SettingError),

    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),

    /// An image cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),

    /// A table that comes with the data set cannot be used.
    #[error(transparent)]
    Table(#[from] TableError),

    /// The pairs cannot be split.
    #[error(transparent)]
    Manifest(#[from] ManifestError),

    /// The output folder contains something other than prepared pairs.
    #[error(
        "{}: holds something else than prepared pairs; choose another folder",
        shown(path)
    )]
    NotAPreparation {
        /// The folder.
        path: PathBuf,
    },

    /// The output folder contains pairs prepared from other data or at another size.
    #[error(
        "{}: holds {found} and not {requested}; delete it or choose another folder",
        shown(path)
    )]
    OtherPreparation {
        /// The folder.
        path: PathBuf,
        /// The existing preparation.
        found: String,
        /// The requested preparation.
        requested: String,
    },

    /// Another process is using the output folder.
    #[error("{}: another preparation is at work in this folder", shown(path))]
    FolderInUse {
        /// The folder.
        path: PathBuf,
    },

    /// A folder contains no reports.
    #[error("{}: no reports; looked for {looked_for} there and below", shown(path))]
    NoReports {
        /// The folder.
        path: PathBuf,
        /// The expected files.
        looked_for: &'static str,
    },

    /// A table of the data set is missing.
    #[error("{}: no {looked_for}; {hint}", shown(folder))]
    NoTable {
        /// The folder.
        folder: PathBuf,
        /// The expected file.
        looked_for: &'static str,
        /// Purpose of the table, and the alternative without it.
        hint: &'static str,
    },

    /// No image has one of the requested views.
    #[error(
        "{}: no image of the views {asked:?}; found {}",
        shown(path),
        truncated_list(found)
    )]
    NoSuchView {
        /// The table or data set that contains the views.
        path: PathBuf,
        /// The requested views.
        asked: Vec<String>,
        /// The existing views.
        found: Vec<String>,
    },

    /// Views are requested, but the view of every image is unknown.
    #[error(
        "{}: no image tells its view, so that {asked:?} cannot be chosen: DICOM files do, PNG and \
         JPEG files do not; take all views",
        shown(path)
    )]
    UnknownViews {
        /// The data set.
        path: PathBuf,
        /// The requested views.
        asked: Vec<String>,
    },

    /// No pair could be made.
    #[error("{}: not one pair could be made; {summary}", shown(path))]
    NothingPrepared {
        /// The data set.
        path: PathBuf,
        /// The omissions, by reason.
        summary: String,
    },
}

impl PrepareError {
    /// Whether a setting is invalid, and not a file.
    pub fn is_misuse(&self) -> bool {
        matches!(
            self,
            Self::Setting(_) | Self::Manifest(ManifestError::Setting(_))
        )
    }
}
