//! The folder that a preparation fills, and fills up after an interruption.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::{FileError, NewFile, open_regular};
use crate::image::DecodeLimits;
use crate::prepare::error::PrepareError;

/// A folder that this process alone writes into, as long as it is held.
pub(super) struct OutFolder {
    path: PathBuf,
    /// Holds the lock.
    marker: File,
}

/// What the folder holds, so that other images are not mixed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Contents {
    /// Name of the data set.
    pub(super) dataset: String,
    /// Longer side of the images written, in pixels; `None` as long as there are none.
    pub(super) longer_side: Option<usize>,
    /// Whether JPEG and PNG files are turned as their EXIF asks.
    #[serde(default = "default_exif_orientation")]
    pub(super) exif_orientation: bool,
    /// Counts up whenever the same source gives other images.
    pub(super) version: u32,
}

fn default_exif_orientation() -> bool {
    DecodeLimits::default().exif_orientation
}

impl OutFolder {
    /// The marker's name.
    const MARKER: &str = "prepare.json";

    /// Takes hold of `path`, which is new, empty, or left by an earlier run with the same contents.
    pub(super) fn open(path: &Path, wanted: &Contents) -> Result<Self, PrepareError> {
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
        folder.agree_on(wanted).map_err(write)??;
        Ok(folder)
    }

    /// Compares the marker with what is wanted, and writes what it does not say yet.
    fn agree_on(&mut self, wanted: &Contents) -> io::Result<Result<(), PrepareError>> {
        let mut text = String::new();
        self.marker.read_to_string(&mut text)?;
        let found: Option<Contents> = match text.trim() {
            "" => None,
            text => match serde_json::from_str(text) {
                Ok(found) => Some(found),
                Err(_) => {
                    return Ok(Err(PrepareError::NotAPreparation {
                        path: self.path.clone(),
                    }));
                }
            },
        };
        if let Some(found) = &found {
            let images = |it: &Contents| Some((it.longer_side?, it.exif_orientation));
            let other_images = (images(found), images(wanted));
            let agrees = found.dataset == wanted.dataset
                && found.version == wanted.version
                && !matches!(other_images, (Some(one), Some(other)) if one != other);
            if !agrees {
                return Ok(Err(PrepareError::OtherPreparation {
                    path: self.path.clone(),
                    found: found.to_string(),
                    wanted: wanted.to_string(),
                }));
            }
        }
        // What was said of images holds as long as nothing is said of them.
        let contents = match &found {
            Some(found) if wanted.longer_side.is_none() => found,
            _ => wanted,
        };
        if found.as_ref() != Some(contents) {
            // Killed in between, it leaves an empty marker, which says nothing wrong.
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

    /// Writes a file of the folder, which appears complete or not at all.
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
    fn the_same_preparation_goes_on_and_another_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("out");
        let open = |dataset, side| OutFolder::open(&path, &contents(dataset, side)).map(drop);
        open("openi", None).unwrap();
        open("openi", Some(256)).unwrap();
        open("openi", Some(256)).unwrap();
        open("openi", None).unwrap();
        // As a run leaves it that is killed at its beginning.
        fs::write(path.join(OutFolder::MARKER), "").unwrap();
        open("openi", Some(256)).unwrap();
        for (dataset, side) in [("openi", Some(512)), ("mimic", Some(256))] {
            let error = open(dataset, side).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("openi at 256 pixels"), "{text}");
        }
    }

    #[test]
    fn a_folder_with_something_else_is_left_alone() {
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
