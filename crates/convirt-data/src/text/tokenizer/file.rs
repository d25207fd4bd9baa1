//! Reading of the files in a tokenizer's folder.

use std::error::Error;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::files::{FileError, decode_text, read_regular};
use crate::text::error::TokenizerError;

/// Largest file, in bytes; XLM-RoBERTa's `tokenizer.json` has 17 MB.
const MAX_BYTES: u64 = 256 << 20;

pub(super) fn json_file<T: DeserializeOwned>(path: &Path) -> Result<T, TokenizerError> {
    serde_json::from_str(&text_file(path)?).map_err(|error| invalid(path, error))
}

pub(super) fn text_file(path: &Path) -> Result<String, TokenizerError> {
    let bytes = read_regular(path, MAX_BYTES).map_err(FileError::read(path))?;
    decode_text(bytes).map_err(|error| invalid(path, error))
}

pub(super) fn invalid(
    path: &Path,
    cause: impl Into<Box<dyn Error + Send + Sync>>,
) -> TokenizerError {
    TokenizerError::Invalid {
        path: path.into(),
        cause: cause.into(),
    }
}
