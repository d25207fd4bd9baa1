//! Models by the name that a setting gives them.

use std::path::PathBuf;

use super::error::WeightsError;
#[cfg(feature = "hub")]
use super::hub::Hub;
use crate::config::ModelName;

/// What of a model is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Description, weights and vocabulary.
    TextEncoder,
    /// Weights.
    ImageEncoder,
}

/// The path that a setting names: one that exists, or that of a model of the hub in its cache.
pub(crate) fn located(
    key: &'static str,
    name: &str,
    wanted: Wanted,
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
    return Ok(Hub::from_env().folder(&model, wanted)?);
    #[cfg(not(feature = "hub"))]
    {
        let _ = (model, wanted);
        let name = name.to_string();
        Err(WeightsError::NoSuchWeights { key, name })
    }
}

/// The same as far as it is here: nothing is downloaded.
pub(crate) fn located_here(name: &str, wanted: Wanted) -> Option<PathBuf> {
    let path = PathBuf::from(name);
    if path.exists() {
        return Some(path);
    }
    #[cfg(feature = "hub")]
    return Hub::from_env().cached(&ModelName::parse(name)?, wanted);
    #[cfg(not(feature = "hub"))]
    {
        let _ = wanted;
        None
    }
}
