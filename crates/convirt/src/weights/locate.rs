//! Finds the weights that a setting names, in the file system or on the Hugging Face hub.

mod kind;
#[cfg(feature = "hub")]
mod hub;

use std::path::{Path, PathBuf};

use super::error::WeightsError;
use crate::config::{DEFAULT_RUNS_DIR, ModelName};
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
    #[cfg(feature = "hub")]
    return Ok(Hub::from_env().fetch(&model, kind)?);
    #[cfg(not(feature = "hub"))]
    {
        let _ = (model, kind);
        let name = name.to_string();
        Err(WeightsError::NoHub { key, name })
    }
}

/// Returns the folder of a whole model of the hub, after downloading it if it is not in the cache;
/// `None` if `name` cannot be such a model, or this build cannot reach the hub.
///
/// A single word is never one, but the name of a run; nor is a path into the folder of runs or into
/// any folder that exists.
pub(crate) fn locate_model(name: &Path) -> Option<Result<PathBuf, WeightsError>> {
    let owner = name
        .parent()
        .filter(|owner| !owner.as_os_str().is_empty())?;
    if owner == Path::new(DEFAULT_RUNS_DIR) || owner.exists() {
        return None;
    }
    let model = ModelName::parse(name.to_str()?)?;
    #[cfg(feature = "hub")]
    return Some(
        Hub::from_env()
            .fetch(&model, WeightsKind::Model)
            .map_err(WeightsError::from),
    );
    #[cfg(not(feature = "hub"))]
    {
        let _ = model;
        None
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
