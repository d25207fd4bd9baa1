//! Hugging Face's indices of weights that are spread over several files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use convirt_data::{decode_text, read_regular};
use serde::Deserialize;

use crate::json_file::MAX_JSON;
use crate::weights::WeightsError;
use crate::weights::file::{WeightsFile, WeightsFormat};

/// Bytes that file systems allow for a name.
const LONGEST_NAME: usize = 255;

/// `model.safetensors.index.json` or `pytorch_model.bin.index.json`.
#[derive(Deserialize)]
struct Index {
    /// File of each tensor.
    weight_map: BTreeMap<String, String>,
}

impl Index {
    fn read(path: &Path) -> Result<Self, WeightsError> {
        let json = read_regular(path, MAX_JSON).map_err(WeightsError::read(path))?;
        let json = decode_text(json).map_err(|error| WeightsError::damaged(path, error))?;
        serde_json::from_str(&json).map_err(|error| WeightsError::damaged(path, error))
    }

    /// The files, which are to stand beside the index; `path` is its own.
    fn parts(&self, path: &Path) -> Result<BTreeSet<String>, WeightsError> {
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

/// Opens every file of an index.
pub(super) fn open(path: &Path) -> Result<WeightsFile, WeightsError> {
    let index = Index::read(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut tensors = BTreeMap::new();
    let mut format = WeightsFormat::Safetensors;
    for part in index.parts(path)? {
        let file = WeightsFile::open_file(&folder.join(&part))?;
        format = file.format();
        for (name, tensor) in file.into_tensors() {
            if tensors.contains_key(&name) {
                let detail = format!("tensor `{name}` of {part} is in another part, too");
                return Err(WeightsError::damaged(path, detail));
            }
            tensors.insert(name, tensor);
        }
    }
    let missing = index
        .weight_map
        .iter()
        .find(|(name, _)| !tensors.contains_key(*name));
    match missing {
        None => Ok(WeightsFile::new(path, format, tensors)),
        Some((name, part)) => {
            let detail = format!("no tensor `{name}` in {part}, where it should be");
            Err(WeightsError::damaged(path, detail))
        }
    }
}
