//! The networks in a file, whatever their names begin with.

use super::architecture::check_image_encoder;
use super::names::{Layout, Naming, is_whole};
use crate::weights::error::KEEP_NAMES;
use crate::weights::{WeightsError, WeightsFile, WeightsFormat};

/// What of a file is loaded, and under which names.
pub(in crate::weights) struct Scope {
    pub what: &'static str,
    pub layout: Layout,
}

/// An encoder in a file: what its names begin with, and what they are behind that.
type Found<'a> = (&'a str, Naming);

impl Scope {
    /// The image encoder of a file.
    pub fn image_encoder(file: &WeightsFile) -> Result<Self, WeightsError> {
        check_image_encoder(file)?;
        let (prefix, naming) = image_encoder(file)?;
        Ok(Self {
            what: IMAGE_ENCODER,
            layout: Layout::encoder(prefix, naming),
        })
    }

    /// The head of a classifier in torchvision's names.
    pub fn classifier_head() -> Self {
        Self {
            what: "classifier head",
            layout: Layout::encoder("fc.", Naming::OURS),
        }
    }

    /// The text encoder of a file.
    pub fn text_encoder(file: &WeightsFile) -> Result<Self, WeightsError> {
        let (prefix, naming) = text_encoder(file)?;
        Ok(Self {
            what: TEXT_ENCODER,
            layout: Layout::encoder(prefix, naming),
        })
    }

    /// A whole model: ours, or ConVIRT-Colab's.
    pub fn network(file: &WeightsFile) -> Result<Self, WeightsError> {
        let (image, image_naming) = image_encoder(file)?;
        let (text, text_naming) = text_encoder(file)?;
        for ([image_end, text_end], mut layout) in [
            (
                ["image_encoder.", "text_encoder."],
                Layout::convirt(image_naming, text_naming),
            ),
            (
                ["res_features.", "bert_model."],
                Layout::colab(image_naming, text_naming),
            ),
        ] {
            let prefixes = [image.strip_suffix(image_end), text.strip_suffix(text_end)];
            if let [Some(prefix), Some(same)] = prefixes
                && prefix == same
            {
                layout.prefix = prefix.to_string();
                return Ok(Self {
                    what: "model",
                    layout,
                });
            }
        }
        Err(WeightsError::NoSuchPart {
            path: file.path().to_path_buf(),
            part: "whole model",
            expected: format!(
                "its encoders are under `{image}` and `{text}`, not `image_encoder.` and \
                 `text_encoder.`, or `res_features.` and `bert_model.`"
            ),
        })
    }

    /// The image encoder of a whole model with its projection: SimCLR's, ConVIRT's or
    /// ConVIRT-Colab's.
    pub fn image_side(file: &WeightsFile) -> Result<Self, WeightsError> {
        let (image, naming) = image_encoder(file)?;
        let layouts = [
            ("image_encoder.", Layout::convirt(naming, Naming::OURS)),
            ("res_features.", Layout::colab(naming, Naming::OURS)),
        ];
        for (end, layout) in layouts {
            if let Some(prefix) = image.strip_suffix(end) {
                let mut layout = layout.image_side();
                layout.prefix = prefix.to_string();
                return Ok(Self {
                    what: "image encoder and projection",
                    layout,
                });
            }
        }
        Err(WeightsError::NoSuchPart {
            path: file.path().to_path_buf(),
            part: "whole model",
            expected: format!(
                "its image encoder is under `{image}`, not `image_encoder.` or `res_features.`"
            ),
        })
    }

    /// The file's name for the parameter at `path`.
    pub fn name_of(&self, path: &str) -> String {
        self.layout.name_of(path)
    }
}

const IMAGE_ENCODER: &str = "image encoder";
const TEXT_ENCODER: &str = "text encoder";

/// First convolution of a ResNet.
const STEM: [usize; 4] = [64, 3, 7, 7];
/// End of the name of a text encoder's word embeddings.
const WORDS: &str = "embeddings.word_embeddings.weight";

/// Which encoder of a file is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    ImageEncoder,
    TextEncoder,
}

impl Part {
    /// Name as in a message.
    pub fn name(self) -> &'static str {
        match self {
            Self::ImageEncoder => IMAGE_ENCODER,
            Self::TextEncoder => TEXT_ENCODER,
        }
    }
}

/// What the names of each encoder of a kind in a file begin with.
pub(crate) fn prefixes(file: &WeightsFile, part: Part) -> Vec<String> {
    let encoders = match part {
        Part::ImageEncoder => image_encoders(file),
        Part::TextEncoder => text_encoders(file),
    };
    let prefixes = encoders.iter().map(|(prefix, _)| prefix.to_string());
    prefixes.collect()
}

fn image_encoder(file: &WeightsFile) -> Result<Found<'_>, WeightsError> {
    let expected = format!("no `conv1.weight` of shape {STEM:?}");
    only(IMAGE_ENCODER, expected, image_encoders(file), file)
}

/// An image encoder is known by its stem's 7×7 convolution.
fn image_encoders(file: &WeightsFile) -> Vec<Found<'_>> {
    let stems = file
        .tensors()
        .iter()
        .filter(|(_, tensor)| tensor.shape == STEM);
    let found = stems.filter_map(|(name, _)| {
        let prefix = |end| name.strip_suffix(end).filter(|prefix| is_whole(prefix));
        prefix("conv1.weight")
            .map(|prefix| (prefix, Naming::TORCHVISION))
            .or(prefix("0.weight").map(|prefix| (prefix, Naming::SEQUENTIAL)))
    });
    found.collect()
}

fn text_encoder(file: &WeightsFile) -> Result<Found<'_>, WeightsError> {
    let expected = format!("no `{WORDS}`");
    only(TEXT_ENCODER, expected, text_encoders(file), file)
}

/// A text encoder is known by its word embeddings.
fn text_encoders(file: &WeightsFile) -> Vec<Found<'_>> {
    let found = file.tensors().keys().filter_map(|name| {
        let prefix = name.strip_suffix(WORDS).filter(|prefix| is_whole(prefix))?;
        Some((prefix, text_naming(file, prefix)))
    });
    found.collect()
}

/// DistilBERT calls its layers otherwise than the other families do.
fn text_naming(file: &WeightsFile, prefix: &str) -> Naming {
    let layers = format!("{prefix}transformer.layer.");
    let next = file.tensors().range(layers.clone()..).next();
    match next.is_some_and(|(name, _)| name.starts_with(&layers)) {
        true => Naming::DISTILBERT,
        false => Naming::BERT,
    }
}

/// The one encoder of a kind that a file has; Burn's files have our names.
fn only<'a>(
    part: &'static str,
    expected: String,
    found: Vec<Found<'a>>,
    file: &WeightsFile,
) -> Result<Found<'a>, WeightsError> {
    let path = file.path().to_path_buf();
    match found[..] {
        [] => Err(WeightsError::NoSuchPart {
            path,
            part,
            expected: match file.format() {
                WeightsFormat::Onnx => format!("{expected}; {KEEP_NAMES}"),
                _ => expected,
            },
        }),
        [(prefix, _)] if file.format() == WeightsFormat::Burnpack => Ok((prefix, Naming::OURS)),
        [found] => Ok(found),
        _ => Err(WeightsError::Ambiguous {
            path,
            part,
            prefixes: found.iter().map(|(prefix, _)| prefix.to_string()).collect(),
        }),
    }
}
