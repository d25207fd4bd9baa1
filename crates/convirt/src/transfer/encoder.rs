//! The encoders that a transfer compares, and where they come from.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use burn::tensor::Device;
use convirt_model::{ImageEncoder, ImageEncoderConfig, ModelError, ResNetConfig, ResNetDepth};

use super::error::TransferError;
use crate::config::{DEFAULT_RUNS_DIR, ModelConfig};
use crate::error::Error;
use crate::inference::{Description, RunNameError, find_run, folder_of_weights};
use crate::weights::{
    ChosenEncoder, EncoderKind, WeightsFile, WeightsKind, image_encoder_config, load_image_encoder,
    locate_weights,
};

/// Where an image encoder comes from.
///
/// Its text form is `random` or `random:resnet18`, `imagenet` or `imagenet:resnet18`, `pixels` or
/// `pixels:32`; any other text is [`Weights`](Self::Weights). The default depth is the paper's,
/// `resnet50`.
///
/// # Examples
///
/// ```
/// use convirt::transfer::EncoderSource;
///
/// let source: EncoderSource = "random:resnet18".parse().unwrap();
/// assert_eq!(source.to_string(), "random:resnet18");
/// let source: EncoderSource = "runs/first".parse().unwrap();
/// assert_eq!(source, EncoderSource::Weights("runs/first".into()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncoderSource {
    /// A run (its path, or its name as in [`RunDir::open`](crate::RunDir::open)), one of its checkpoints, a file or folder of
    /// weights, or the name of a model on the Hugging Face hub.
    Weights(String),
    /// torchvision's weights, trained on ImageNet, from the Hugging Face hub.
    ImageNet(ResNetDepth),
    /// A network with random initial weights.
    Random(ResNetDepth),
    /// The grey pixels themselves, as a baseline.
    Pixels {
        /// Side that images are scaled to, in pixels; the default is 24.
        side: usize,
    },
}

/// An encoder that has been located; its weights are not loaded yet.
pub(crate) struct OpenEncoder {
    pub source: EncoderSource,
    shape: Shape,
    /// Side of the inputs that it was trained on, in pixels, if it is from a run.
    pub trained_size: Option<usize>,
    /// Whether its images are rotated and mirrored as their EXIF orientation says; true unless its
    /// run says otherwise.
    pub exif_orientation: bool,
}

enum Shape {
    Pixels { side: usize },
    Random(ResNetConfig),
    Weights(ResNetConfig, WeightsFile),
}

impl FromStr for EncoderSource {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (kind, detail) = match text.split_once(':') {
            Some((kind, detail)) => (kind, Some(detail)),
            None => (text, None),
        };
        let depth = || -> Result<ResNetDepth, ModelError> {
            detail.map_or(Ok(ResNetDepth::ResNet50), str::parse)
        };
        Ok(match kind {
            "random" => Self::Random(depth()?),
            ModelConfig::IMAGENET => Self::ImageNet(depth()?),
            "pixels" => Self::Pixels {
                side: match detail.map(str::parse) {
                    None => 24,
                    Some(Ok(side @ 1..=256)) => side,
                    Some(_) => {
                        return Err(TransferError::PixelsSide {
                            found: text.to_string(),
                        }
                        .into());
                    }
                },
            },
            _ => Self::Weights(text.to_string()),
        })
    }
}

impl fmt::Display for EncoderSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weights(name) => f.write_str(name),
            Self::ImageNet(depth) => write!(f, "{}:{depth}", ModelConfig::IMAGENET),
            Self::Random(depth) => write!(f, "random:{depth}"),
            Self::Pixels { side } => write!(f, "pixels:{side}"),
        }
    }
}

impl EncoderSource {
    /// Locates the encoder, without loading its weights. `chosen` selects one if a file has
    /// several.
    ///
    /// # Errors
    ///
    /// When there are no such weights, or they hold no image encoder.
    pub(crate) fn open(&self, chosen: &mut ChosenEncoder) -> Result<OpenEncoder, Error> {
        let name = match self {
            Self::Pixels { side } => return Ok(self.opened(Shape::Pixels { side: *side })),
            Self::Random(depth) => {
                return Ok(self.opened(Shape::Random(ResNetConfig::new(*depth))));
            }
            Self::ImageNet(depth) => ModelConfig::imagenet_name(*depth),
            Self::Weights(name) => name.clone(),
        };
        let (runs, run) = (Path::new(DEFAULT_RUNS_DIR), Path::new(&name));
        let path = match find_run(runs, run)? {
            Some(run) => run,
            // An image encoder on the hub has an owner in its name.
            None if run.parent() == Some(Path::new("")) => {
                return Err(RunNameError::no_run(runs, run).into());
            }
            None => locate_weights("encoder", &name, WeightsKind::ImageEncoder)?,
        };
        let file = chosen.open(&path, EncoderKind::ImageEncoder)?;
        let config = image_encoder_config(&file)?;
        let folder = folder_of_weights(file.path());
        let description = folder
            .map(|folder| Description::load(&folder))
            .transpose()?;
        Ok(OpenEncoder {
            trained_size: description.as_ref().map(|model| model.image_size),
            exif_orientation: description.is_none_or(|model| model.exif_orientation),
            ..self.opened(Shape::Weights(config, file))
        })
    }

    fn opened(&self, shape: Shape) -> OpenEncoder {
        OpenEncoder {
            source: self.clone(),
            shape,
            trained_size: None,
            exif_orientation: true,
        }
    }
}

impl OpenEncoder {
    /// Returns the file of its weights, if it has one.
    pub fn weights(&self) -> Option<&Path> {
        match &self.shape {
            Shape::Weights(_, file) => Some(file.path()),
            Shape::Random(_) | Shape::Pixels { .. } => None,
        }
    }

    /// Returns the configuration of the encoder.
    pub fn config(&self) -> ImageEncoderConfig {
        match &self.shape {
            Shape::Pixels { side } => ImageEncoderConfig::Pixels { side: *side },
            Shape::Random(config) | Shape::Weights(config, _) => {
                ImageEncoderConfig::ResNet(*config)
            }
        }
    }

    /// Returns the side of its inputs, in pixels: `size` for a network, its own for pixels.
    pub fn image_size(&self, size: usize) -> usize {
        match self.shape {
            Shape::Pixels { side } => side,
            Shape::Random(_) | Shape::Weights(..) => size,
        }
    }

    /// Initializes the encoder: loads its weights, or draws random ones with the device's seed.
    ///
    /// # Errors
    ///
    /// When the weights are damaged or do not fit.
    pub fn init(&self, device: &Device) -> Result<ImageEncoder, Error> {
        let encoder = self.config().init(device);
        Ok(match (encoder, &self.shape) {
            (ImageEncoder::ResNet(network), Shape::Weights(_, file)) => {
                let (network, _) = load_image_encoder(network, file, &[])?;
                ImageEncoder::ResNet(network)
            }
            (encoder, _) => encoder,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_the_same_after_printing_and_parsing() {
        for (text, source) in [
            (
                "random:resnet18",
                EncoderSource::Random(ResNetDepth::ResNet18),
            ),
            (
                "imagenet:resnet50",
                EncoderSource::ImageNet(ResNetDepth::ResNet50),
            ),
            ("pixels:32", EncoderSource::Pixels { side: 32 }),
            ("runs/2026_x", EncoderSource::Weights("runs/2026_x".into())),
            (
                "C:/weights.pth",
                EncoderSource::Weights("C:/weights.pth".into()),
            ),
        ] {
            assert_eq!(text.parse::<EncoderSource>().unwrap(), source);
            assert_eq!(source.to_string(), text);
        }
        let without_depth: EncoderSource = "random".parse().unwrap();
        assert_eq!(without_depth, EncoderSource::Random(ResNetDepth::ResNet50));
        let without_side: EncoderSource = "pixels".parse().unwrap();
        assert_eq!(without_side, EncoderSource::Pixels { side: 24 });
    }

    #[test]
    fn unknown_depths_and_sides_are_errors_that_quote_them() {
        for (text, part) in [
            ("random:resnet19", "resnet19"),
            ("pixels:many", "pixels:many"),
            ("pixels:100000", "1 to 256 pixels"),
        ] {
            let error = text.parse::<EncoderSource>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn missing_weights_are_an_error_that_names_them() {
        for (name, part) in [
            ("nowhere/model.safetensors", "nowhere/model.safetensors"),
            ("latst", "no run `latst`"),
            ("model.pth", "no run `model.pth`, neither as a path nor in"),
        ] {
            let source = EncoderSource::Weights(name.into());
            let opened = source.open(&mut ChosenEncoder::new(None));
            let error = opened.err().expect("no such file").to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
