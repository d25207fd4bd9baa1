//! Files that appear complete or not at all.

use std::fs;
use std::path::Path;

use crate::DataError;

/// Writes a file, and the folders above it, so that it appears complete or not at all.
///
/// # Errors
///
/// [`DataError::Write`].
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<(), DataError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&partial, content))
        .and_then(|()| fs::rename(&partial, path))
        .map_err(|source| DataError::Write {
            path: path.into(),
            source,
        })
}
