//! Hugging Face's indices of weights that are spread over several files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use convirt_data::{decode_text, read_regular};
use serde::Deserialize;

use crate::json_file::MAX_JSON;
use crate::weights::WeightsError;

/// Bytes that file systems allow for a name.
const LONGEST_NAME: usize = 255;

/// `model.safetensors.index.json` or `pytorch_model.bin.index.json`.
#[derive(Deserialize)]
pub(super) struct Index {
    /// File of each tensor.
    pub(super) weight_map: BTreeMap<String, String>,
}

impl Index {
    pub(super) fn read(path: &Path) -> Result<Self, WeightsError> {
        let json = read_regular(path, MAX_JSON).map_err(WeightsError::read(path))?;
        let json = decode_text(json).map_err(|error| WeightsError::damaged(path, error))?;
        serde_json::from_str(&json).map_err(|error| WeightsError::damaged(path, error))
    }

    /// The files, which are to stand beside the index; `path` is its own.
    pub(super) fn parts(&self, path: &Path) -> Result<BTreeSet<String>, WeightsError> {
        let parts: BTreeSet<_> = self.weight_map.values().cloned().collect();
        let is_plain = |name: &&String| {
            let path = Path::new(name);
            path.file_name() == Some(path.as_os_str())
                && path.extension() != Some("json".as_ref())
                && !name.contains(char::is_control)
                && name.len() <= LONGEST_NAME
        };
        match parts.iter().find(|name| !is_plain(name)) {
            None => Ok(parts),
            Some(name) => {
                let detail = format!("not the name of a file of weights beside it: `{name}`");
                Err(WeightsError::damaged(path, detail))
            }
        }
    }
}

/// The files that an index at `path` names.
pub(crate) fn parts(path: &Path) -> Result<BTreeSet<String>, WeightsError> {
    Index::read(path)?.parts(path)
}
