//! Checks the architecture that a weights file or the `config.json` beside it names.
//!
//! Matching shapes are not enough, because different networks can have tensors of the same shapes.
//! For example, every tensor of `resnetaa50` fits a ResNet-50, but `resnetaa50` has additional
//! pooling layers between its convolutions.

use std::io;
use std::path::Path;

use convirt_data::read_regular_text;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::json_file::MAX_JSON;
use crate::weights::error::printable;
use crate::weights::formats::{WeightsFormat, torch_file};
use crate::weights::{WeightsError, WeightsFile};

/// The file in which timm and Hugging Face describe a model.
const CONFIG_FILE: &str = "config.json";

/// The supported image encoders, as an error lists them.
const SUPPORTED_RESNETS: &str = "resnet18, resnet34, resnet50, resnet101, resnet152";

/// Arguments of timm's models that do not change the encoder.
const IRRELEVANT_ARGUMENTS: &[&str] = &["num_classes", "global_pool", "in_chans"];

/// Types of models whose `config.json` is accepted: ResNets and our own exports, whose image encoder
/// is supported, and text encoders, whose `config.json` does not describe an image encoder.
const MODEL_TYPES: &[&str] = &[
    "resnet",
    "convirt",
    "bert",
    "roberta",
    "xlm-roberta",
    "distilbert",
];

/// The keys of a `config.json` that describe the architecture of an image encoder.
#[derive(Deserialize)]
struct Description {
    /// The name of a timm model.
    architecture: Option<String>,
    /// The arguments that change a timm model compared with its name.
    model_args: Option<Map<String, Value>>,
    /// The model family in `transformers`.
    model_type: Option<String>,
    /// The model classes in `transformers`.
    architectures: Option<Vec<String>>,
}

/// Checks that the image encoder of a file is supported.
///
/// The architecture is named by the file's own key `arch` or by a `config.json` beside the file. A
/// file without either is accepted.
///
/// # Errors
///
/// [`WeightsError::Architecture`] for an unsupported architecture.
pub(super) fn check_image_encoder(file: &WeightsFile) -> Result<(), WeightsError> {
    if file.format() == WeightsFormat::Torch
        && let Some(name) = torch_file::architecture(file.path())?
        && !is_class(&name)
        && !is_resnet(&name)
    {
        return Err(WeightsError::Architecture {
            path: file.path().to_path_buf(),
            key: torch_file::ARCHITECTURE,
            found: printable(&name),
            supported: SUPPORTED_RESNETS,
        });
    }
    check_description(&file.path().with_file_name(CONFIG_FILE))
}

fn check_description(path: &Path) -> Result<(), WeightsError> {
    let Some(description) = read_description(path)? else {
        return Ok(());
    };
    let refuse = |key: &'static str, found: &str| {
        Err(WeightsError::Architecture {
            path: path.to_path_buf(),
            key,
            found: printable(found),
            supported: SUPPORTED_RESNETS,
        })
    };
    if let Some(name) = &description.architecture {
        if !is_resnet(name) {
            return refuse("architecture", name);
        }
        let arguments = description.model_args.iter().flat_map(Map::keys);
        let mut changes = arguments.filter(|name| !IRRELEVANT_ARGUMENTS.contains(&name.as_str()));
        return match changes.next() {
            Some(argument) => refuse("model_args", argument),
            None => Ok(()),
        };
    }
    match &description.model_type {
        Some(kind) if !MODEL_TYPES.contains(&kind.as_str()) => {
            return refuse("model_type", kind);
        }
        Some(_) => return Ok(()),
        None => {}
    }
    let architectures = description.architectures.iter().flatten();
    let mut unsupported = architectures.filter(|name| !is_known_class(name));
    match unsupported.next() {
        Some(name) => refuse("architectures", name),
        None => Ok(()),
    }
}

/// Reads a `config.json`; returns `None` if there is none.
fn read_description(path: &Path) -> Result<Option<Description>, WeightsError> {
    match read_regular_text(path, MAX_JSON) {
        Ok(json) => {
            let description = serde_json::from_str(&json);
            let description = description.map_err(|error| WeightsError::damaged(path, error))?;
            Ok(Some(description))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(WeightsError::read(path)(error)),
    }
}

/// Returns whether a current or former timm name stands for torchvision's ResNet.
fn is_resnet(name: &str) -> bool {
    // The part after the dot names the training data.
    let name = name.split('.').next().unwrap_or(name);
    let plain = ["tv_", "ssl_", "swsl_"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .or_else(|| name.strip_prefix("gluon_")?.strip_suffix("_v1b"))
        .unwrap_or(name);
    // Some training scripts write `ResNet-50`.
    let plain = plain.to_ascii_lowercase().replace(['-', '_'], "");
    SUPPORTED_RESNETS.split(", ").any(|resnet| resnet == plain)
}

/// Returns whether a name is a class name, for example `ResNet` or `DataParallel`.
///
/// Some training loops write it as `arch`. It does not determine the layers of the network.
fn is_class(name: &str) -> bool {
    name.chars().all(|letter| letter.is_ascii_alphabetic())
}

/// Returns whether a class of `transformers` is a ResNet or a supported text encoder.
fn is_known_class(name: &str) -> bool {
    let known = ["ResNet", "Bert", "Roberta", "XLMRoberta", "DistilBert"];
    known.iter().any(|known| name.starts_with(known))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::weights::{SavedTensor, save};

    /// Checks an image encoder beside a `config.json` with this content; returns the error.
    fn check_beside(json: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        save(vec![SavedTensor::zeros("a", &[1])], &path).unwrap();
        fs::write(folder.path().join(CONFIG_FILE), json).unwrap();
        let file = WeightsFile::open(&path).unwrap();
        check_image_encoder(&file).map_err(|error| error.to_string())
    }

    // The names are from timm.list_models("*resnet*50*") and the classes of transformers.
    #[test]
    fn unsupported_architectures_are_rejected_by_name() {
        for (json, named) in [
            (r#"{"architecture": "resnetaa50"}"#, "resnetaa50"),
            (r#"{"architecture": "resnetblur50"}"#, "resnetblur50"),
            (r#"{"architecture": "resnet50d"}"#, "resnet50d"),
            (r#"{"architecture": "resnet50t.a1_in1k"}"#, "resnet50t"),
            (
                r#"{"architecture": "gluon_resnet50_v1s"}"#,
                "gluon_resnet50_v1s",
            ),
            (
                r#"{"architecture": "resnet50", "model_args": {"aa_layer": "avg"}}"#,
                "aa_layer",
            ),
            (r#"{"model_type": "vit"}"#, "vit"),
            (r#"{"architectures": ["ViTModel"]}"#, "ViTModel"),
        ] {
            let error = check_beside(json).unwrap_err();
            for part in ["config.json", named, "resnet152"] {
                assert!(error.contains(part), "no `{part}` in: {error}");
            }
        }
    }

    #[test]
    fn resnets_are_recognized_by_all_of_their_names() {
        for json in [
            r#"{"architecture": "resnet50", "num_classes": 1000}"#,
            r#"{"architecture": "resnet18.a1_in1k", "model_args": {"num_classes": 5}}"#,
            r#"{"architecture": "tv_resnet101"}"#,
            r#"{"architecture": "ResNet-50"}"#,
            r#"{"architecture": "gluon_resnet152_v1b"}"#,
            r#"{"model_type": "resnet", "architectures": ["ResNetForImageClassification"]}"#,
            // Descriptions of a text encoder in the same folder.
            r#"{"model_type": "bert"}"#,
            r#"{"architectures": ["BertForMaskedLM"]}"#,
            "{}",
        ] {
            check_beside(json).unwrap();
        }
        assert!(check_beside("{").unwrap_err().contains("config.json"));
    }

    /// Checks a file of `torch.save` with this entry and an empty `state_dict`; returns the error.
    fn check_torch_file(key: &str, value: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.pth.tar");
        let text = |text: &str| format!("X{}\0\0\0{text}", text.len() as u8 as char);
        // The opcodes EMPTY_DICT, MARK, keys and values, SETITEMS and STOP.
        let pickle = format!("}}({}{}{}}}u.", text(key), text(value), text("state_dict"));
        fs::write(&path, [b"\x80\x02", pickle.as_bytes()].concat()).unwrap();
        let file = WeightsFile::open(&path).unwrap();
        check_image_encoder(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn the_architecture_in_a_pytorch_file_is_checked() {
        for name in ["resnetaa50", "resnet50d", "vit_small"] {
            let error = check_torch_file("arch", name).unwrap_err();
            for part in ["checkpoint.pth.tar", "`arch`", name, "resnet152"] {
                assert!(error.contains(part), "no `{part}` in: {error}");
            }
        }
        for (key, value) in [
            ("arch", "resnet50"),
            ("arch", "ResNet"),
            ("arch", "DataParallel"),
            ("notes", "resnetaa50"),
        ] {
            check_torch_file(key, value).unwrap();
        }
    }
}
