//! Atomic writes: a file appears complete or not at all.

use std::fs;
use std::io;
use std::path::Path;

use crate::files::error::FileError;

/// Writes a file, and the folders above it, so that it appears complete or not at all.
///
/// # Errors
///
/// [`FileError::Write`].
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<(), FileError> {
    try_write_whole(path, content).map_err(FileError::write(path))
}

/// Writes like [`write_whole`] and returns the error of the operating system.
pub(crate) fn try_write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder)?;
    let written = fs::write(&partial, content).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        drop(fs::remove_file(&partial));
    }
    written
}
