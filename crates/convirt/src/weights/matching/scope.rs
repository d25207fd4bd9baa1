//! Finds the networks in a file and the prefix of their names.

use super::architecture::check_image_encoder;
use super::names::{Layout, Naming, has_whole_parts};
use crate::weights::error::KEEP_NAMES;
use crate::weights::{WeightsError, WeightsFile, WeightsFormat};

/// The part of a file that is loaded, and its names.
pub(in crate::weights) struct Scope {
    /// The name of the part in messages.
    pub part: &'static str,
    pub layout: Layout,
}

/// An encoder in a file: the prefix of its names, and the naming after the prefix.
type NamedEncoder<'a> = (&'a str, Naming);

impl Scope {
    /// Finds the image encoder of a file.
    pub fn image_encoder(file: &WeightsFile) -> Result<Self, WeightsError> {
        check_image_encoder(file)?;
        let (prefix, naming) = image_encoder(file)?;
        Ok(Self {
            part: IMAGE_ENCODER,
            layout: Layout::encoder(prefix, naming),
        })
    }

    /// Returns the scope of a classifier's head with torchvision's names.
    pub fn classifier_head() -> Self {
        Self {
            part: "classifier head",
            layout: Layout::encoder("fc.", Naming::OURS),
        }
    }

    /// Finds the text encoder of a file.
    pub fn text_encoder(file: &WeightsFile) -> Result<Self, WeightsError> {
        let (prefix, naming) = text_encoder(file)?;
        Ok(Self {
            part: TEXT_ENCODER,
            layout: Layout::encoder(prefix, naming),
        })
    }

    /// Finds a whole model of this crate or ConVIRT-Colab.
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
            if let [Some(prefix), Some(text_prefix)] = prefixes
                && prefix == text_prefix
            {
                layout.prefix = prefix.to_string();
                return Ok(Self {
                    part: "model",
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

    /// Finds the image encoder and its projection head in a model of SimCLR, ConVIRT or
    /// ConVIRT-Colab.
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
                    part: "image encoder and projection",
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

    /// Returns the file's name of the parameter at `path`.
    pub fn name_of(&self, path: &str) -> String {
        self.layout.name_of(path)
    }
}

const IMAGE_ENCODER: &str = "image encoder";
const TEXT_ENCODER: &str = "text encoder";

/// The shape of a ResNet's first convolution.
const STEM_SHAPE: [usize; 4] = [64, 3, 7, 7];
/// The end of the name of a text encoder's word embeddings.
const WORD_EMBEDDINGS: &str = "embeddings.word_embeddings.weight";

/// The kind of an encoder in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EncoderKind {
    ImageEncoder,
    TextEncoder,
}

impl EncoderKind {
    /// Returns the name for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::ImageEncoder => IMAGE_ENCODER,
            Self::TextEncoder => TEXT_ENCODER,
        }
    }
}

/// Returns the name prefixes of all encoders of a kind in a file.
pub(super) fn encoder_prefixes(file: &WeightsFile, kind: EncoderKind) -> Vec<String> {
    let encoders = match kind {
        EncoderKind::ImageEncoder => image_encoders(file),
        EncoderKind::TextEncoder => text_encoders(file),
    };
    let prefixes = encoders.iter().map(|(prefix, _)| prefix.to_string());
    prefixes.collect()
}

fn image_encoder(file: &WeightsFile) -> Result<NamedEncoder<'_>, WeightsError> {
    let expected = format!("no `conv1.weight` of shape {STEM_SHAPE:?}");
    single_encoder(IMAGE_ENCODER, expected, image_encoders(file), file)
}

/// Finds all image encoders, which are recognized by the 7×7 convolution of their stem.
fn image_encoders(file: &WeightsFile) -> Vec<NamedEncoder<'_>> {
    let stems = file
        .tensors()
        .iter()
        .filter(|(_, tensor)| tensor.shape == STEM_SHAPE);
    let encoders = stems.filter_map(|(name, _)| {
        let prefix = |end| {
            name.strip_suffix(end)
                .filter(|prefix| has_whole_parts(prefix))
        };
        prefix("conv1.weight")
            .map(|prefix| (prefix, Naming::TORCHVISION))
            .or(prefix("0.weight").map(|prefix| (prefix, Naming::SEQUENTIAL)))
    });
    encoders.collect()
}

fn text_encoder(file: &WeightsFile) -> Result<NamedEncoder<'_>, WeightsError> {
    let expected = format!("no `{WORD_EMBEDDINGS}`");
    single_encoder(TEXT_ENCODER, expected, text_encoders(file), file)
}

/// Finds all text encoders, which are recognized by their word embeddings.
fn text_encoders(file: &WeightsFile) -> Vec<NamedEncoder<'_>> {
    let encoders = file.tensors().keys().filter_map(|name| {
        let prefix = name
            .strip_suffix(WORD_EMBEDDINGS)
            .filter(|prefix| has_whole_parts(prefix))?;
        Some((prefix, text_naming(file, prefix)))
    });
    encoders.collect()
}

/// Returns the naming of the text encoder with this prefix.
///
/// DistilBERT has other names for its layers than the other families.
fn text_naming(file: &WeightsFile, prefix: &str) -> Naming {
    let layers = format!("{prefix}transformer.layer.");
    let next = file.tensors().range(layers.clone()..).next();
    if next.is_some_and(|(name, _)| name.starts_with(&layers)) {
        Naming::DISTILBERT
    } else {
        Naming::BERT
    }
}

/// Returns the only encoder of a kind in a file, or an error if there are none or several.
fn single_encoder<'a>(
    part: &'static str,
    expected: String,
    encoders: Vec<NamedEncoder<'a>>,
    file: &WeightsFile,
) -> Result<NamedEncoder<'a>, WeightsError> {
    let path = file.path().to_path_buf();
    match encoders[..] {
        [] => Err(WeightsError::NoSuchPart {
            path,
            part,
            expected: match file.format() {
                WeightsFormat::Onnx => format!("{expected}; {KEEP_NAMES}"),
                _ => expected,
            },
        }),
        // Burn's files have the names of this crate.
        [(prefix, _)] if file.format() == WeightsFormat::Burnpack => Ok((prefix, Naming::OURS)),
        [encoder] => Ok(encoder),
        _ => Err(WeightsError::Ambiguous {
            path,
            part,
            prefixes: encoders
                .iter()
                .map(|(prefix, _)| prefix.to_string())
                .collect(),
        }),
    }
}
