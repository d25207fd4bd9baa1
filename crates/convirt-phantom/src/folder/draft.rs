//! A folder that appears only when it is complete.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::PhantomError;

/// A temporary folder beside the target; it is removed unless it is published.
pub(crate) struct Draft {
    pub folder: PathBuf,
}

impl Draft {
    /// Creates the temporary folder beside `target`.
    pub fn begin(target: &Path) -> Result<Self, PhantomError> {
        let name = target.file_name().ok_or_else(|| PhantomError::Write {
            path: target.into(),
            cause: io::Error::new(io::ErrorKind::InvalidInput, "not a folder's name"),
        })?;
        // Other processes, and other threads of this one, may write the same phantom.
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
        // A killed process with the same id may have left its draft.
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

    /// Renames the draft to `target`, which must not exist or be an empty folder.
    pub fn publish(self, target: &Path) -> Result<(), PhantomError> {
        // This removes an empty folder only.
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
        // After publishing there is nothing to remove; otherwise another error is being reported.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
