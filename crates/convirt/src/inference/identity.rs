//! The identity of a model, so that embeddings of different models are not compared.

use std::fmt;
use std::path::Path;

use convirt_data::FileError;
use serde::{Deserialize, Serialize};

use super::description::Description;
use crate::error::Error;
use crate::weights::append_crc32c;

/// The identity of a model: a checksum of its files, and a name to show.
///
/// Two are equal when their checksums are: a copy of a model's files is the same model.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelIdentity {
    /// Name of the run's folder, for messages.
    pub name: String,
    /// CRC-32C of the description and the weights file.
    pub checksum: u32,
}

impl ModelIdentity {
    pub(crate) fn compute(description: &Description, weights: &Path) -> Result<Self, Error> {
        let description = serde_json::to_vec(description).expect("a description is plain data");
        let checksum = crc32c::crc32c(&description);
        let (checksum, _) = append_crc32c(checksum, weights).map_err(FileError::read(weights))?;
        Ok(Self {
            name: name_of_run(weights),
            checksum,
        })
    }
}

/// Returns the name of the run's folder: the innermost folder that is not `model` or `checkpoint`.
fn name_of_run(weights: &Path) -> String {
    let absolute = std::path::absolute(weights);
    let weights = absolute.as_deref().unwrap_or(weights);
    let mut folders = weights.ancestors().skip(1).filter_map(Path::file_name);
    let name = folders.find(|name| *name != "model" && *name != "checkpoint");
    name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

impl PartialEq for ModelIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.checksum == other.checksum
    }
}

impl fmt::Display for ModelIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:08x})", self.name, self.checksum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_weights_file_of_a_run_has_the_name_of_the_run() {
        for path in [
            "runs/first/model/model.safetensors",
            "runs/first/checkpoint/model-8.bpk",
            "runs/first/model.safetensors",
        ] {
            assert_eq!(name_of_run(Path::new(path)), "first");
        }
    }
}
