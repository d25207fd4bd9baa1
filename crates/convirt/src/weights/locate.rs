//! Finds the weights that a setting names, in the file system or on the Hugging Face hub.

mod kind;
#[cfg(feature = "hub")]
mod hub;

use std::path::{Path, PathBuf};

use super::error::WeightsError;
use crate::config::ModelName;
#[cfg(feature = "hub")]
use hub::Hub;

#[cfg(feature = "hub")]
pub use hub::HubError;
pub(crate) use kind::WeightsKind;

/// Returns the path of the weights that a setting names.
///
/// `name` is an existing path, or a model of the hub. The model is downloaded if it is not in the
/// cache, and the result is its folder in the cache. Errors name the setting `key`.
pub(crate) fn locate_weights(
    key: &'static str,
    name: &str,
    kind: WeightsKind,
) -> Result<PathBuf, WeightsError> {
    let path = PathBuf::from(name);
    if path.exists() {
        return Ok(path);
    }
    let Some(model) = ModelName::parse(name) else {
        let name = name.to_string();
        return Err(WeightsError::NoSuchWeights { key, name });
    };
    fetch(key, &model, kind)
}

/// Returns the folder of a whole model of the hub, after downloading it if it is not in the cache;
/// `None` if `name` cannot be such a model.
///
/// A single word is never one, but the name of a run; nor is a path into a folder that exists.
pub(crate) fn locate_model(name: &Path) -> Option<Result<PathBuf, WeightsError>> {
    let owner = name.parent()?;
    if owner.as_os_str().is_empty() || owner.exists() {
        return None;
    }
    let model = ModelName::parse(name.to_str()?)?;
    Some(fetch("model", &model, WeightsKind::Model))
}

fn fetch(key: &'static str, model: &ModelName, kind: WeightsKind) -> Result<PathBuf, WeightsError> {
    #[cfg(feature = "hub")]
    {
        let _ = key;
        Ok(Hub::from_env().fetch(model, kind)?)
    }
    #[cfg(not(feature = "hub"))]
    {
        let _ = kind;
        let name = model.name.clone();
        Err(WeightsError::NoHub { key, name })
    }
}

/// Returns the same path as [`locate_weights`], or `None` if a download would be needed.
pub(crate) fn locate_local_weights(name: &str, kind: WeightsKind) -> Option<PathBuf> {
    let path = PathBuf::from(name);
    if path.exists() {
        return Some(path);
    }
    #[cfg(feature = "hub")]
    return Hub::from_env().cached(&ModelName::parse(name)?, kind);
    #[cfg(not(feature = "hub"))]
    {
        let _ = kind;
        None
    }
}
