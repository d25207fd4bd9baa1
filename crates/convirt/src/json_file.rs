//! JSON files: read up to a maximum size, written complete or not at all.

use std::path::Path;

use convirt_data::{FileError, NewFile, read_regular_text};
use serde::Serialize;

use crate::error::Error;

/// Maximum number of bytes. Descriptions, states and summaries take kilobytes; the index of a model
/// in a hundred files takes one megabyte.
pub(crate) const MAX_JSON: u64 = 16 << 20;

/// Reads a JSON file, without the byte order mark that some editors write.
pub(crate) fn read_json(path: &Path) -> Result<Vec<u8>, Error> {
    let text = read_regular_text(path, MAX_JSON).map_err(FileError::read(path))?;
    Ok(text.into_bytes())
}

/// Writes plain data as an indented JSON file, or replaces it.
///
/// # Panics
///
/// If the data has no form in JSON, such as a map whose keys are not text.
pub(crate) fn write_json(path: &Path, data: &impl Serialize) -> Result<(), FileError> {
    let json = serde_json::to_string_pretty(data).expect("plain data") + "\n";
    NewFile::write_whole(path, json.as_bytes()).map_err(FileError::write(path))
}
