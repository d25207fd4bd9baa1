//! The indices of Hugging Face models whose weights are split over several files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use convirt_data::{decode_text, read_regular};
use serde::Deserialize;

use crate::json_file::MAX_JSON;
use crate::weights::WeightsError;

/// Maximum length of a file name in common file systems, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// The content of `model.safetensors.index.json` or `pytorch_model.bin.index.json`.
#[derive(Deserialize)]
pub(super) struct Index {
    /// The file name of each tensor, by tensor name.
    pub(super) weight_map: BTreeMap<String, String>,
}

impl Index {
    /// Reads an index.
    pub(super) fn read(path: &Path) -> Result<Self, WeightsError> {
        let json = read_regular(path, MAX_JSON).map_err(WeightsError::read(path))?;
        let json = decode_text(json).map_err(|error| WeightsError::damaged(path, error))?;
        serde_json::from_str(&json).map_err(|error| WeightsError::damaged(path, error))
    }

    /// Returns the names of the listed files. Names outside the index's folder are rejected.
    ///
    /// `path` is the path of the index itself.
    pub(super) fn parts(&self, path: &Path) -> Result<BTreeSet<String>, WeightsError> {
        let parts: BTreeSet<_> = self.weight_map.values().cloned().collect();
        let is_plain = |name: &&String| {
            let path = Path::new(name);
            path.file_name() == Some(path.as_os_str())
                && path.extension() != Some("json".as_ref())
                && !name.contains(char::is_control)
                && name.len() <= MAX_NAME_BYTES
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

/// Returns the names of the files that the index at `path` lists.
pub(crate) fn parts(path: &Path) -> Result<BTreeSet<String>, WeightsError> {
    Index::read(path)?.parts(path)
}
