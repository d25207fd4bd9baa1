//! The output folder of a preparation, which can be resumed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::{FileError, NewFile, open_regular};
use crate::image::DecodeLimits;
use crate::prepare::error::PrepareError;

/// An output folder, locked for this process until dropped.
pub(super) struct OutFolder {
    path: PathBuf,
    /// The marker file, which is locked.
    marker: File,
}

/// Description of the folder's content, so that different preparations are not mixed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Contents {
    /// Name of the data set.
    pub(super) dataset: String,
    /// Longer side of the written images, in pixels; `None` without images.
    pub(super) longer_side: Option<usize>,
    /// Whether JPEG and PNG files are rotated according to their EXIF orientation.
    #[serde(default = "default_exif_orientation")]
    pub(super) exif_orientation: bool,
    /// Version of the decoder: increases when the same file gives a different image.
    pub(super) version: u32,
}

fn default_exif_orientation() -> bool {
    DecodeLimits::default().exif_orientation
}

impl OutFolder {
    /// Name of the marker file.
    const MARKER: &str = "prepare.json";

    /// Locks `path`, which is new, empty, or left by an earlier run with the same contents.
    pub(super) fn open(path: &Path, requested: &Contents) -> Result<Self, PrepareError> {
        let marker_path = path.join(Self::MARKER);
        let write = FileError::write(&marker_path);
        fs::create_dir_all(path).map_err(write)?;
        let is_new = !marker_path.exists();
        if is_new && fs::read_dir(path).map_err(write)?.next().is_some() {
            return Err(PrepareError::NotAPreparation { path: path.into() });
        }
        if !is_new {
            open_regular(&marker_path).map_err(write)?;
        }
        let marker = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&marker_path)
            .map_err(write)?;
        marker.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => PrepareError::FolderInUse { path: path.into() },
            TryLockError::Error(source) => write(source).into(),
        })?;
        let mut folder = Self {
            path: path.into(),
            marker,
        };
        folder.check_marker(requested).map_err(write)??;
        Ok(folder)
    }

    /// Compares the marker file with the requested contents, and updates it.
    fn check_marker(&mut self, requested: &Contents) -> io::Result<Result<(), PrepareError>> {
        let mut text = String::new();
        self.marker.read_to_string(&mut text)?;
        let existing: Option<Contents> = match text.trim() {
            "" => None,
            text => match serde_json::from_str(text) {
                Ok(existing) => Some(existing),
                Err(_) => {
                    return Ok(Err(PrepareError::NotAPreparation {
                        path: self.path.clone(),
                    }));
                }
            },
        };
        if let Some(existing) = &existing {
            let images = |it: &Contents| Some((it.longer_side?, it.exif_orientation));
            let other_images = (images(existing), images(requested));
            let agrees = existing.dataset == requested.dataset
                && existing.version == requested.version
                && !matches!(other_images, (Some(one), Some(other)) if one != other);
            if !agrees {
                return Ok(Err(PrepareError::OtherPreparation {
                    path: self.path.clone(),
                    found: existing.to_string(),
                    requested: requested.to_string(),
                }));
            }
        }
        // Without images, the description of existing images stays.
        let contents = match &existing {
            Some(existing) if requested.longer_side.is_none() => existing,
            _ => requested,
        };
        if existing.as_ref() != Some(contents) {
            // A process killed here leaves an empty marker, which is accepted.
            self.marker.set_len(0)?;
            self.marker.rewind()?;
            self.marker.write_all(&serde_json::to_vec(contents)?)?;
            self.marker.sync_all()?;
        }
        Ok(Ok(()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file into the folder; it appears complete or not at all.
    pub(super) fn write(&self, name: &Path, content: &[u8]) -> Result<(), FileError> {
        let path = self.path.join(name);
        NewFile::write_unsynced(&path, content).map_err(FileError::write(&path))
    }
}

impl std::fmt::Display for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.dataset)?;
        if let Some(side) = self.longer_side {
            write!(f, " at {side} pixels")?;
        }
        if !self.exif_orientation {
            write!(f, ", as stored")?;
        }
        write!(f, ", version {}", self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(dataset: &str, longer_side: Option<usize>) -> Contents {
        Contents {
            dataset: dataset.into(),
            longer_side,
            exif_orientation: true,
            version: 1,
        }
    }

    #[test]
    fn the_same_preparation_is_resumed_and_another_is_rejected() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("out");
        let open = |dataset, side| OutFolder::open(&path, &contents(dataset, side)).map(drop);
        open("openi", None).unwrap();
        open("openi", Some(256)).unwrap();
        open("openi", Some(256)).unwrap();
        open("openi", None).unwrap();
        // The state after a run was killed at its beginning.
        fs::write(path.join(OutFolder::MARKER), "").unwrap();
        open("openi", Some(256)).unwrap();
        for (dataset, side) in [("openi", Some(512)), ("mimic", Some(256))] {
            let error = open(dataset, side).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("openi at 256 pixels"), "{text}");
        }
    }

    #[test]
    fn a_folder_with_other_content_is_not_changed() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("thesis.txt"), "all of it").unwrap();
        let error = OutFolder::open(place.path(), &contents("openi", None))
            .err()
            .unwrap();
        assert!(
            matches!(error, PrepareError::NotAPreparation { .. }),
            "{error}"
        );
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn two_preparations_do_not_share_a_folder() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("out");
        let first = OutFolder::open(&path, &contents("openi", None)).unwrap();
        let second = OutFolder::open(&path, &contents("openi", None));
        assert!(matches!(second, Err(PrepareError::FolderInUse { .. })));
        drop(first);
        OutFolder::open(&path, &contents("openi", None)).unwrap();
    }
}
