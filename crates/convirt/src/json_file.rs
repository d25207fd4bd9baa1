//! Reading of JSON files up to a maximum size.

use std::path::Path;

use convirt_data::{FileError, read_regular_text};

use crate::error::Error;

/// Maximum number of bytes. Descriptions, states and summaries take kilobytes; the index of a model
/// in a hundred files takes one megabyte.
pub(crate) const MAX_JSON: u64 = 16 << 20;

/// Reads a JSON file, without the byte order mark that some editors write.
pub(crate) fn read_json(path: &Path) -> Result<Vec<u8>, Error> {
    let text = read_regular_text(path, MAX_JSON).map_err(FileError::read(path))?;
    Ok(text.into_bytes())
}
