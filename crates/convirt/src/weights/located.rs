//! Paths of the models that settings name.

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

/// Returns the path that a setting names: a path that exists, or the folder of a model of the hub in
/// its cache, into which it is downloaded first.
pub(crate) fn located(
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
    return Ok(Hub::from_env().folder(&model, kind)?);
    #[cfg(not(feature = "hub"))]
    {
        let _ = (model, kind);
        let name = name.to_string();
        Err(WeightsError::NoHub { key, name })
    }
}

/// Returns the path as [`located`] does, if nothing has to be downloaded.
pub(crate) fn located_here(name: &str, kind: WeightsKind) -> Option<PathBuf> {
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
