//! The files of a model folder, and its description `convirt.json`.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use convirt_data::{DecodeLimits, EvalResize, FileError, ReportTokenizer};
use convirt_model::{BertConfig, ModelError};
use serde::{Deserialize, Serialize};

use super::error::InferenceError;
use super::run_name::{RunNameError, find_run};
use crate::compute::ComputeError;
use crate::config::{DEFAULT_RUNS_DIR, Objective};
use crate::error::Error;
use crate::json_file::{read_json, write_json};
use crate::network::{MemoryNeed, NetworkConfig};
use crate::weights::{
    self, ModelType, WeightsError, checksums, locate_model, read_exported_config,
};

const WEIGHTS: &str = "model.safetensors";
/// Temporary name of weights that are being written; they replace the model's when complete.
const NEW_WEIGHTS: &str = "new.safetensors";
const DESCRIPTION: &str = "convirt.json";
/// Name of the description in an exported folder, where other libraries look for it.
const EXPORTED_DESCRIPTION: &str = "config.json";
/// The names of both, in an error.
const ANY_DESCRIPTION: &str = "convirt.json (or config.json of an export)";
const TOKENIZER: &str = "tokenizer.json";

/// The content of a model folder's `convirt.json`: everything but the weights and the vocabulary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description<N = NetworkConfig> {
    /// Distinguishes the `config.json` of an exported model from that of other libraries; a
    /// `convirt.json` does not need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_type: Option<ModelType>,
    /// The training objective, which decides what type `network` has. Older descriptions lack this
    /// key; they are of ConVIRT.
    #[serde(default)]
    pub objective: Objective,
    pub network: N,
    /// Side of the network's input, in pixels.
    pub image_size: usize,
    pub eval_resize: EvalResize,
    /// Length that the longer side of an image is first scaled down to, in pixels.
    pub longer_side: Option<usize>,
    /// Whether JPEG and PNG files are rotated and mirrored as their EXIF orientation says. Older
    /// descriptions lack this key; it is true for them.
    #[serde(
        default = "default_exif_orientation",
        skip_serializing_if = "is_default_exif_orientation"
    )]
    pub exif_orientation: bool,
    /// Maximum length of a text, in tokens; `None` for a model without a text encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
}

/// Returns the path of the description in a model folder: `convirt.json`, or the `config.json` of an
/// exported model; `None` if the folder has neither.
///
/// # Errors
///
/// If a `config.json` is not the file that its record of checksums lists.
fn find_description(folder: &Path) -> Result<Option<PathBuf>, WeightsError> {
    let own = folder.join(DESCRIPTION);
    if own.is_file() {
        return Ok(Some(own));
    }
    let exported = folder.join(EXPORTED_DESCRIPTION);
    if !exported.is_file() {
        return Ok(None);
    }
    checksums::verify(&exported)?;
    Ok(read_exported_config(&exported).map(|_| exported))
}

impl Description {
    /// Reads and checks the description in a model folder.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        Self::read(find_description(folder)?.unwrap_or_else(|| folder.join(DESCRIPTION)))
    }

    fn read(path: PathBuf) -> Result<Self, Error> {
        checksums::verify(&path)?;
        let json = read_json(&path)?;
        let description = match Self::parse(&json) {
            Ok(description) => description,
            Err(cause) => return Err(InferenceError::BrokenDescription { path, cause }.into()),
        };
        match description.validate() {
            // A model is the same under both names of its description.
            Ok(()) => Ok(Self {
                model_type: None,
                ..description
            }),
            Err(cause) => Err(InferenceError::InvalidDescription { path, cause }.into()),
        }
    }

    /// Checks that all numbers are in range.
    fn validate(&self) -> Result<(), ModelError> {
        self.network.validate()?;
        check_sides(self.image_size, self.longer_side)?;
        // The tokens [CLS] and [SEP] take two.
        let tokens = self.max_tokens.unwrap_or(3);
        in_range("max_tokens", tokens, 3..=1 << 20, "3 to 1,048,576")
    }

    /// Returns the maximum length of a text, in tokens, if the network has a text encoder.
    #[cfg(feature = "train")]
    pub fn longest_text(&self) -> Option<usize> {
        let NetworkConfig::ConVirt(network) = &self.network else {
            return None;
        };
        Some(self.longest_text_of(&network.text))
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

    /// Writes `convirt.json`, the tokenizer if there is one, and the checksums of these files.
    ///
    /// They do not change during training, so that they are written only once.
    pub fn save(&self, tokenizer: Option<&ReportTokenizer>, folder: &Path) -> Result<(), Error> {
        self.save_as(DESCRIPTION, tokenizer, folder)
    }

    /// Writes the same files for an exported model, whose description is a `config.json`.
    pub fn save_exported(
        &self,
        tokenizer: Option<&ReportTokenizer>,
        folder: &Path,
    ) -> Result<(), Error> {
        let exported = Self {
            model_type: Some(ModelType::Convirt),
            ..self.clone()
        };
        exported.save_as(EXPORTED_DESCRIPTION, tokenizer, folder)
    }

    fn save_as(
        &self,
        name: &str,
        tokenizer: Option<&ReportTokenizer>,
        folder: &Path,
    ) -> Result<(), Error> {
        fs::create_dir_all(folder).map_err(FileError::write(folder))?;
        write_json(&folder.join(name), self)?;
        let mut names = vec![name];
        if let Some(tokenizer) = tokenizer {
            tokenizer.save(folder)?;
            names.extend(ReportTokenizer::FILES);
        }
        Ok(checksums::record(folder, &names)?)
    }

    /// Writes the weights of a network with this description, and their checksum.
    pub fn save_weights(&self, network: &impl Module, folder: &Path) -> Result<(), Error> {
        let tensors = weights::tensors(&network.valid(), &self.network.layout());
        let new_weights = folder.join(NEW_WEIGHTS);
        weights::save(tensors, &new_weights)?;
        Ok(checksums::publish(&new_weights, folder, WEIGHTS)?)
    }
}

/// Checks the sizes, in pixels, that a description scales images to.
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
    if range.contains(&number) {
        Ok(())
    } else {
        Err(ModelError::OutOfRange {
            key,
            found: number.to_string(),
            expected,
        })
    }
}

/// Returns the default of a description's `exif_orientation`.
pub(crate) fn default_exif_orientation() -> bool {
    DecodeLimits::default().exif_orientation
}

/// Returns whether `exif_orientation` has its default and need not be written.
pub(crate) fn is_default_exif_orientation(exif_orientation: &bool) -> bool {
    *exif_orientation == default_exif_orientation()
}

impl<N> Description<N> {
    /// Returns the maximum length of a text in tokens, which an encoder may limit further.
    pub fn longest_text_of(&self, encoder: &BertConfig) -> usize {
        let encoder_max = encoder.max_tokens();
        (self.max_tokens).map_or(encoder_max, |max_tokens| max_tokens.min(encoder_max))
    }

    /// Replaces the network's configuration by `change` of it.
    pub fn map<M>(self, change: impl FnOnce(N) -> M) -> Description<M> {
        Description {
            model_type: self.model_type,
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

/// The files of a saved model.
pub(crate) struct ModelFiles {
    /// The model folder.
    pub folder: PathBuf,
    /// The weights: `model.safetensors` in the folder, or a checkpoint.
    pub weights: PathBuf,
    pub description: Description,
}

impl ModelFiles {
    /// Finds the model that `run` means: a run by its path or name, as [`find_run`] finds it, a model
    /// folder, a checkpoint, or a name on the Hugging Face hub.
    pub fn find(run: &Path) -> Result<Self, Error> {
        let runs = Path::new(DEFAULT_RUNS_DIR);
        let path = match find_run(runs, run)? {
            Some(path) => path,
            None => match locate_model(run) {
                Some(located) => located?,
                None => return Err(RunNameError::no_run(runs, run).into()),
            },
        };
        let (folder, weights) = if path.is_file() {
            let folder = folder_of_weights(&path).unwrap_or_else(|| path.clone());
            (folder, path)
        } else {
            let inside = path.join("model");
            let folder = if inside.is_dir() { inside } else { path };
            let weights = folder.join(WEIGHTS);
            (folder, weights)
        };
        let description = find_description(&folder)?.map(Description::read);
        let description = description.transpose()?;
        let is_without_texts =
            (description.as_ref()).is_some_and(|description| !description.objective.reads_texts());
        let files = [
            (ANY_DESCRIPTION, description.is_some()),
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

    /// Checks, before the network is built, that it fits into memory.
    pub fn check_memory(&self, device: &Device) -> Result<(), ComputeError> {
        MemoryNeed::for_inference(&self.description.network).check(device)
    }
}

/// Returns the model folder that a weights file belongs to: the folder it is in, or the folder
/// `model` of its run.
pub(crate) fn folder_of_weights(weights: &Path) -> Option<PathBuf> {
    let folder = weights.parent()?;
    let run = folder.parent().unwrap_or(Path::new(""));
    let candidates = [folder.to_path_buf(), run.join("model")];
    candidates
        .into_iter()
        .find(|folder| !matches!(find_description(folder), Ok(None)))
}

#[cfg(test)]
mod tests {
    use super::*;

    // A SimCLR description with one number changed at a time. The weights file is empty: no network
    // may be built before the error.
    #[test]
    fn numbers_out_of_range_are_an_error_that_names_the_file_and_the_key() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(WEIGHTS), "").unwrap();
        let valid = r#"{"objective": "simclr", "image_size": 32, "eval_resize": "stretch",
            "longer_side": 40, "max_tokens": 9, "network": {"image": {"depth": "resnet18"},
            "d_embedding": 16, "loss": {"temperature": 0.1}}}"#;
        let load = |json: &str| {
            fs::write(folder.path().join(DESCRIPTION), json).unwrap();
            Description::load(folder.path()).map_err(|error| error.to_string())
        };
        load(valid).unwrap();
        for (key, number, changed) in [
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
            let (number, changed) = (format!("{key}\": {number}"), format!("{key}\": {changed}"));
            let message = load(&valid.replace(&number, &changed)).unwrap_err();
            let is_named = message.contains(DESCRIPTION) && message.contains(key);
            assert!(is_named, "{changed}: {message}");
        }
    }
}
