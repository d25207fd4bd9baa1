//! A folder that appears complete or not at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::PhantomError;

/// A folder beside the one wanted, removed again unless it is published.
pub(crate) struct Draft {
    pub folder: PathBuf,
}

impl Draft {
    /// Makes the folder beside `target`.
    pub fn begin(target: &Path) -> Result<Self, PhantomError> {
        let name = target.file_name().ok_or_else(|| PhantomError::Write {
            path: target.into(),
            cause: io::Error::new(io::ErrorKind::InvalidInput, "not a folder's name"),
        })?;
        // Other processes, and other threads of this one, may be writing the same.
        static DRAFTS: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            ".{}.{}-{}.partial",
            name.to_string_lossy(),
            std::process::id(),
            DRAFTS.fetch_add(1, Ordering::Relaxed)
        );
        let draft = Self {
            folder: target.with_file_name(name),
        };
        // A process of the same number may have been killed here earlier.
        match fs::remove_dir_all(&draft.folder) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(draft.error(source)),
            _ => fs::create_dir_all(&draft.folder).map_err(|source| draft.error(source)),
        }?;
        Ok(draft)
    }

    /// Writes a file, and the folders it needs, at `path` inside the draft.
    pub fn write(&self, path: &Path, content: &[u8]) -> Result<(), PhantomError> {
        let path = self.folder.join(path);
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, content))
            .map_err(|cause| PhantomError::Write {
                path: path.clone(),
                cause,
            })
    }

    /// Gives the draft the name `target`, which may be an empty folder and nothing else.
    pub fn publish(self, target: &Path) -> Result<(), PhantomError> {
        // An empty folder may stand there; a full one is not removed.
        match fs::remove_dir(target) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(source),
            _ => fs::rename(&self.folder, target),
        }
        .map_err(|cause| PhantomError::Write {
            path: target.into(),
            cause,
        })
    }

    fn error(&self, cause: io::Error) -> PhantomError {
        PhantomError::Write {
            path: self.folder.clone(),
            cause,
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After publishing there is nothing left; otherwise the cause is already being reported.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
