//! What weights are said to be, by a description beside them or in their own file. Networks of one
//! shape can compute different things: of `resnetaa50`, which pools between its convolutions, each
//! tensor would fit a ResNet-50.

use std::io;
use std::path::Path;

use convirt_data::read_regular_text;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::json_file::MAX_JSON;
use crate::weights::error::printable;
use crate::weights::formats::{WeightsFormat, torch_file};
use crate::weights::{WeightsError, WeightsFile};

/// The description that timm and Hugging Face write.
const DESCRIPTION: &str = "config.json";

/// The image encoders that are computed, as an error lists them.
const RESNETS: &str = "resnet18, resnet34, resnet50, resnet101, resnet152";

/// Arguments of timm's models that leave the encoder as it is.
const HARMLESS: &[&str] = &["num_classes", "global_pool", "in_chans"];

/// Families of text encoders, whose descriptions say nothing of images.
const TEXT_FAMILIES: &[&str] = &["bert", "roberta", "xlm-roberta", "distilbert"];

/// What of a description tells the architecture of an image encoder.
#[derive(Deserialize)]
struct Description {
    /// timm's.
    architecture: Option<String>,
    /// timm's: what is not as its name says.
    model_args: Option<Map<String, Value>>,
    /// Hugging Face's.
    model_type: Option<String>,
    architectures: Option<Vec<String>>,
}

/// Checks that the image encoder in a file is one that is computed, where the file's own `arch` or
/// a `config.json` beside it tells.
///
/// # Errors
///
/// [`WeightsError::Architecture`] for another one.
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
            supported: RESNETS,
        });
    }
    check_description(&file.path().with_file_name(DESCRIPTION))
}

fn check_description(path: &Path) -> Result<(), WeightsError> {
    let Some(description) = read(path)? else {
        return Ok(());
    };
    let refuse = |key: &'static str, found: &str| {
        Err(WeightsError::Architecture {
            path: path.to_path_buf(),
            key,
            found: printable(found),
            supported: RESNETS,
        })
    };
    if let Some(name) = &description.architecture {
        if !is_resnet(name) {
            return refuse("architecture", name);
        }
        let arguments = description.model_args.iter().flat_map(Map::keys);
        let mut changes = arguments.filter(|name| !HARMLESS.contains(&name.as_str()));
        return match changes.next() {
            Some(argument) => refuse("model_args", argument),
            None => Ok(()),
        };
    }
    match &description.model_type {
        Some(kind) if kind != "resnet" && !TEXT_FAMILIES.contains(&kind.as_str()) => {
            return refuse("model_type", kind);
        }
        Some(_) => return Ok(()),
        None => {}
    }
    let architectures = description.architectures.iter().flatten();
    let mut others = architectures.filter(|name| !is_known_class(name));
    match others.next() {
        Some(name) => refuse("architectures", name),
        None => Ok(()),
    }
}

fn read(path: &Path) -> Result<Option<Description>, WeightsError> {
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

/// Whether a name of timm's, now or before, is of torchvision's ResNet.
fn is_resnet(name: &str) -> bool {
    // Behind the dot stands what it was trained on.
    let name = name.split('.').next().unwrap_or(name);
    let plain = ["tv_", "ssl_", "swsl_"]
        .iter()
        .find_map(|origin| name.strip_prefix(origin))
        .or_else(|| name.strip_prefix("gluon_")?.strip_suffix("_v1b"))
        .unwrap_or(name);
    // People write `ResNet-50` too.
    let plain = plain.to_ascii_lowercase().replace(['-', '_'], "");
    RESNETS.split(", ").any(|resnet| resnet == plain)
}

/// Whether a name is one of a class, such as `ResNet` or `DataParallel`, which some training loops
/// write as `arch`: it does not tell which layers the network has.
fn is_class(name: &str) -> bool {
    name.chars().all(|letter| letter.is_ascii_alphabetic())
}

/// Whether a class of `transformers` is a ResNet, or a text encoder.
fn is_known_class(name: &str) -> bool {
    let known = ["ResNet", "Bert", "Roberta", "XLMRoberta", "DistilBert"];
    known.iter().any(|known| name.starts_with(known))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::weights::{SavedTensor, save};

    /// What is said of an image encoder beside this description.
    fn checked(json: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        save(vec![SavedTensor::zeros("a", &[1])], &path).unwrap();
        fs::write(folder.path().join(DESCRIPTION), json).unwrap();
        let file = WeightsFile::open(&path).unwrap();
        check_image_encoder(&file).map_err(|error| error.to_string())
    }

    // timm.list_models("*resnet*50*") and transformers' classes.
    #[test]
    fn an_architecture_that_is_not_computed_is_refused_by_name() {
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
            let error = checked(json).unwrap_err();
            for part in ["config.json", named, "resnet152"] {
                assert!(error.contains(part), "no `{part}` in: {error}");
            }
        }
    }

    #[test]
    fn resnets_are_known_by_all_of_their_names() {
        for json in [
            r#"{"architecture": "resnet50", "num_classes": 1000}"#,
            r#"{"architecture": "resnet18.a1_in1k", "model_args": {"num_classes": 5}}"#,
            r#"{"architecture": "tv_resnet101"}"#,
            r#"{"architecture": "ResNet-50"}"#,
            r#"{"architecture": "gluon_resnet152_v1b"}"#,
            r#"{"model_type": "resnet", "architectures": ["ResNetForImageClassification"]}"#,
            // Of a text encoder in the same folder.
            r#"{"model_type": "bert"}"#,
            r#"{"architectures": ["BertForMaskedLM"]}"#,
            "{}",
        ] {
            checked(json).unwrap();
        }
        assert!(checked("{").unwrap_err().contains("config.json"));
    }

    /// What is said of an image encoder in a file of `torch.save` whose dictionary holds this entry
    /// and an empty `state_dict`.
    fn checked_torch(key: &str, value: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.pth.tar");
        let text = |text: &str| format!("X{}\0\0\0{text}", text.len() as u8 as char);
        // A dictionary, a mark, keys and values, set items, stop.
        let pickle = format!("}}({}{}{}}}u.", text(key), text(value), text("state_dict"));
        fs::write(&path, [b"\x80\x02", pickle.as_bytes()].concat()).unwrap();
        let file = WeightsFile::open(&path).unwrap();
        check_image_encoder(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn an_architecture_that_a_file_of_pytorch_names_is_checked_too() {
        for name in ["resnetaa50", "resnet50d", "vit_small"] {
            let error = checked_torch("arch", name).unwrap_err();
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
            checked_torch(key, value).unwrap();
        }
    }
}
