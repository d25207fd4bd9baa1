//! Why a data set is not prepared.

use std::path::PathBuf;

use crate::files::{FileError, shown, truncated_list};
use crate::image::ImageError;
use crate::manifest::{ManifestError, TableError};
use crate::setting::SettingError;

/// Why a data set is not prepared.
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

    /// The pairs cannot be divided.
    #[error(transparent)]
    Manifest(#[from] ManifestError),

    /// The folder to prepare into holds something else.
    #[error(
        "{}: holds something else than prepared pairs; choose another folder",
        shown(path)
    )]
    NotAPreparation {
        /// The folder.
        path: PathBuf,
    },

    /// The folder holds pairs prepared from other data or at another size.
    #[error(
        "{}: holds {found} and not {wanted}; delete it or choose another folder",
        shown(path)
    )]
    OtherPreparation {
        /// The folder.
        path: PathBuf,
        /// What there is.
        found: String,
        /// What was asked for.
        wanted: String,
    },

    /// Another process prepares pairs in the folder.
    #[error("{}: another preparation is at work in this folder", shown(path))]
    FolderInUse {
        /// The folder.
        path: PathBuf,
    },

    /// A folder holds no reports.
    #[error("{}: no reports; looked for {looked_for} there and below", shown(path))]
    NoReports {
        /// The folder.
        path: PathBuf,
        /// The files that would have done.
        looked_for: &'static str,
    },

    /// A table that comes with a data set is not there.
    #[error("{}: no {looked_for}; {hint}", shown(folder))]
    NoTable {
        /// The folder.
        folder: PathBuf,
        /// The file that would have done.
        looked_for: &'static str,
        /// What it is needed for, and what can be done without it.
        hint: &'static str,
    },

    /// No image is of the views asked for.
    #[error(
        "{}: no image of the views {asked:?}; found {}",
        shown(path),
        truncated_list(found)
    )]
    NoSuchView {
        /// The table that names the views, or the data set whose images do.
        path: PathBuf,
        /// The views asked for.
        asked: Vec<String>,
        /// The views there are.
        found: Vec<String>,
    },

    /// Views are asked for, and no image tells its own.
    #[error(
        "{}: no image tells its view, so that {asked:?} cannot be chosen: DICOM files do, PNG and \
         JPEG files do not; take all views",
        shown(path)
    )]
    UnknownViews {
        /// The data set.
        path: PathBuf,
        /// The views asked for.
        asked: Vec<String>,
    },

    /// Nothing of a data set can be used.
    #[error("{}: not one pair could be made; {summary}", shown(path))]
    NothingPrepared {
        /// The data set.
        path: PathBuf,
        /// What was left out, by reason.
        summary: String,
    },
}

impl PrepareError {
    /// Whether a setting is refused: what was asked for is wrong, rather than the files.
    pub fn is_misuse(&self) -> bool {
        matches!(
            self,
            Self::Setting(_) | Self::Manifest(ManifestError::Setting(_))
        )
    }
}
