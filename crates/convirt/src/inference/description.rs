//! What a model's folder holds, and its description.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use convirt_data::{DecodeLimits, EvalResize, FileError, ReportTokenizer};
use convirt_model::ModelError;
use serde::{Deserialize, Serialize};

use super::error::InferenceError;
use crate::compute::ComputeError;
use crate::config::Objective;
use crate::error::Error;
use crate::json_file::read_json;
use crate::network::{MemoryNeed, NetworkConfig};
use crate::weights::{self, checksums};

const WEIGHTS: &str = "model.safetensors";
/// Weights that are about to become the model's.
const NEW_WEIGHTS: &str = "new.safetensors";
const DESCRIPTION: &str = "convirt.json";
const TOKENIZER: &str = "tokenizer.json";

/// What a model folder's `convirt.json` says: all but weights and vocabulary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description<N = NetworkConfig> {
    /// What the model was trained for, which tells what `network` is. Descriptions from before
    /// there was a choice do not say it.
    #[serde(default)]
    pub objective: Objective,
    pub network: N,
    /// Side of the network's input, in pixels.
    pub image_size: usize,
    pub eval_resize: EvalResize,
    /// Longer side that images are scaled down to before anything else, in pixels.
    pub longer_side: Option<usize>,
    /// Whether JPEG and PNG files are turned as their EXIF asks; in descriptions from before there
    /// was a choice, they are.
    #[serde(
        default = "default_exif_orientation",
        skip_serializing_if = "is_default_exif_orientation"
    )]
    pub exif_orientation: bool,
    /// Longest text, in tokens; none of images alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
}

impl Description {
    /// Reads `convirt.json` of a model folder.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(DESCRIPTION);
        checksums::verify(&path)?;
        let json = read_json(&path)?;
        let description = match Self::parse(&json) {
            Ok(description) => description,
            Err(cause) => return Err(InferenceError::BrokenDescription { path, cause }.into()),
        };
        match description.validate() {
            Ok(()) => Ok(description),
            Err(cause) => Err(InferenceError::InvalidDescription { path, cause }.into()),
        }
    }

    /// Checks that a network of such numbers is possible, and its inputs.
    fn validate(&self) -> Result<(), ModelError> {
        self.network.validate()?;
        check_sides(self.image_size, self.longer_side)?;
        // What surrounds a text takes two.
        let tokens = self.max_tokens.unwrap_or(3);
        in_range("max_tokens", tokens, 3..=1 << 20, "3 to 1,048,576")
    }

    /// Longest text in tokens, if the network reads texts.
    #[cfg(feature = "train")]
    pub fn longest_text(&self) -> Option<usize> {
        let NetworkConfig::ConVirt(network) = &self.network else {
            return None;
        };
        let max = network.text.max_tokens();
        Some(self.max_tokens.map_or(max, |tokens| tokens.min(max)))
    }

    fn parse(json: &[u8]) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Kind {
            #[serde(default)]
            objective: Objective,
        }
        let Kind { objective } = serde_json::from_slice(json)?;
        Ok(match objective {
            Objective::ConVirt => {
                serde_json::from_slice::<Description<_>>(json)?.map(NetworkConfig::ConVirt)
            }
            Objective::SimClr => {
                serde_json::from_slice::<Description<_>>(json)?.map(NetworkConfig::SimClr)
            }
        })
    }

    /// Writes `convirt.json` and the tokenizer, where there is one, and their checksums; neither
    /// changes while a model trains.
    pub fn save(&self, tokenizer: Option<&ReportTokenizer>, folder: &Path) -> Result<(), Error> {
        fs::create_dir_all(folder).map_err(FileError::write(folder))?;
        let path = folder.join(DESCRIPTION);
        let json = serde_json::to_string_pretty(self).expect("a description is plain data");
        fs::write(&path, json + "\n").map_err(FileError::write(&path))?;
        let mut names = vec![DESCRIPTION];
        if let Some(tokenizer) = tokenizer {
            tokenizer.save(folder)?;
            names.extend(ReportTokenizer::FILES);
        }
        Ok(checksums::record(folder, &names)?)
    }

    /// Writes the weights of a network of this description, and their checksum.
    pub fn save_weights(&self, network: &impl Module, folder: &Path) -> Result<(), Error> {
        let tensors = weights::tensors(&network.valid(), &self.network.layout());
        let aside = folder.join(NEW_WEIGHTS);
        weights::save(tensors, &aside)?;
        Ok(checksums::publish(&aside, folder, WEIGHTS)?)
    }
}

/// Checks the sizes that a description scales images to, in pixels.
pub(crate) fn check_sides(image_size: usize, longer_side: Option<usize>) -> Result<(), ModelError> {
    in_range("image_size", image_size, 8..=4_096, "8 to 4,096")?;
    let longer_side = longer_side.unwrap_or(1);
    in_range("longer_side", longer_side, 1..=65_535, "1 to 65,535")
}

fn in_range(
    key: &'static str,
    number: usize,
    range: RangeInclusive<usize>,
    expected: &'static str,
) -> Result<(), ModelError> {
    match range.contains(&number) {
        true => Ok(()),
        false => Err(ModelError::OutOfRange {
            key,
            found: number.to_string(),
            expected,
        }),
    }
}

/// The default of a description's `exif_orientation`.
pub(crate) fn default_exif_orientation() -> bool {
    DecodeLimits::default().exif_orientation
}

/// Whether it need not be written.
pub(crate) fn is_default_exif_orientation(exif_orientation: &bool) -> bool {
    *exif_orientation == default_exif_orientation()
}

impl<N> Description<N> {
    pub fn map<M>(self, change: impl FnOnce(N) -> M) -> Description<M> {
        Description {
            objective: self.objective,
            network: change(self.network),
            image_size: self.image_size,
            eval_resize: self.eval_resize,
            longer_side: self.longer_side,
            exif_orientation: self.exif_orientation,
            max_tokens: self.max_tokens,
        }
    }
}

/// The model of a run.
pub(crate) struct ModelFiles {
    /// Its folder.
    pub folder: PathBuf,
    /// Its weights: those in the folder, or a checkpoint.
    pub weights: PathBuf,
    pub description: Description,
}

impl ModelFiles {
    /// Finds the model that `path` means: a run, its model folder, or one of its checkpoints.
    pub fn find(path: &Path) -> Result<Self, Error> {
        let (folder, weights) = if path.is_file() {
            let folder = folder_of_weights(path).unwrap_or_default();
            (folder, path.to_path_buf())
        } else {
            let inside = path.join("model");
            let folder = match inside.is_dir() {
                true => inside,
                false => path.to_path_buf(),
            };
            let weights = folder.join(WEIGHTS);
            (folder, weights)
        };
        let is_described = folder.join(DESCRIPTION).is_file();
        let description = is_described.then(|| Description::load(&folder));
        let description = description.transpose()?;
        let is_without_texts =
            (description.as_ref()).is_some_and(|description| !description.objective.reads_texts());
        let files = [
            (DESCRIPTION, is_described),
            (
                TOKENIZER,
                is_without_texts || folder.join(TOKENIZER).is_file(),
            ),
            (WEIGHTS, weights.is_file()),
        ];
        let missing = files.into_iter().filter(|(_, is_there)| !is_there);
        let missing: Vec<&'static str> = missing.map(|(name, _)| name).collect();
        let Some(description) = description.filter(|_| missing.is_empty()) else {
            return Err(InferenceError::NoModel { folder, missing }.into());
        };
        if !is_without_texts {
            for name in ReportTokenizer::FILES {
                checksums::verify(&folder.join(name))?;
            }
        }
        Ok(Self {
            folder,
            weights,
            description,
        })
    }

    /// Checks that the network fits into memory, before it is built.
    pub fn check_memory(&self, device: &Device) -> Result<(), ComputeError> {
        MemoryNeed::for_inference(&self.description.network).check(device)
    }
}

/// The model folder that a file of weights belongs to: the one it lies in, or that of its run.
pub(crate) fn folder_of_weights(weights: &Path) -> Option<PathBuf> {
    let folder = weights.parent()?;
    let of_run = folder.parent().unwrap_or(Path::new("")).join("model");
    let folders = [folder.to_path_buf(), of_run];
    folders
        .into_iter()
        .find(|folder| folder.join(DESCRIPTION).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model folder whose description is that of a SimCLR, changed, and whose weights are none.
    #[test]
    fn descriptions_beyond_measure_are_refused_by_file_and_key_before_anything_is_built() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(WEIGHTS), "").unwrap();
        let sound = r#"{"objective": "simclr", "image_size": 32, "eval_resize": "stretch",
            "longer_side": 40, "max_tokens": 9, "network": {"image": {"depth": "resnet18"},
            "d_embedding": 16, "loss": {"temperature": 0.1}}}"#;
        let load = |json: &str| {
            fs::write(folder.path().join(DESCRIPTION), json).unwrap();
            Description::load(folder.path()).map_err(|error| error.to_string())
        };
        load(sound).unwrap();
        for (key, found, changed) in [
            ("d_embedding", "16", "1000000000000"),
            ("image_size", "32", "1000000000"),
            ("longer_side", "40", "0"),
            ("longer_side", "40", "18446744073709551615"),
            ("max_tokens", "9", "2"),
            ("max_tokens", "9", "18446744073709551615"),
            ("temperature", "0.1", "0"),
            ("temperature", "0.1", "1e-40"),
            ("temperature", "0.1", "1e40"),
        ] {
            let (found, changed) = (format!("{key}\": {found}"), format!("{key}\": {changed}"));
            let message = load(&sound.replace(&found, &changed)).unwrap_err();
            let is_named = message.contains(DESCRIPTION) && message.contains(key);
            assert!(is_named, "{changed}: {message}");
        }
    }
}
