//! JSON files, read up to a sensible size.

use std::path::Path;

use convirt_data::{FileError, read_regular_text};

use crate::error::Error;

/// Bytes of the largest: descriptions, states and summaries have kilobytes, the index of a model
/// that is spread over a hundred files has one megabyte.
pub(crate) const MAX_JSON: u64 = 16 << 20;

/// Reads a file of JSON, without the byte order mark that editors put before it.
pub(crate) fn read_json(path: &Path) -> Result<Vec<u8>, Error> {
    let text = read_regular_text(path, MAX_JSON).map_err(FileError::read(path))?;
    Ok(text.into_bytes())
}
