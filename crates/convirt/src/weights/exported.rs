//! The `config.json` of an exported model, told from those of other libraries.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::json_file::read_json;

/// The type of model that a `config.json` describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ModelType {
    Convirt,
}

/// Reads a `config.json`; `None` if it does not describe a model of this crate.
pub(crate) fn read_exported_config(path: &Path) -> Option<Map<String, Value>> {
    let config: Map<String, Value> = serde_json::from_slice(&read_json(path).ok()?).ok()?;
    let is_ours = ModelType::deserialize(config.get("model_type")?).is_ok();
    is_ours.then_some(config)
}
