//! Finds the weights that a setting names, in the file system or on the Hugging Face hub.

mod kind;
#[cfg(feature = "hub")]
mod hub;

use std::path::PathBuf;

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
    #[cfg(feature = "hub")]
    return Ok(Hub::from_env().fetch(&model, kind)?);
    #[cfg(not(feature = "hub"))]
    {
        let _ = (model, kind);
        let name = name.to_string();
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
