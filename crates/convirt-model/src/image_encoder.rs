//! The input of an image classifier: a network's features, or the pixels themselves.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::{ResNet, ResNetConfig};

/// Configuration of an [`ImageEncoder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageEncoderConfig {
    /// A residual network.
    ResNet(ResNetConfig),
    /// Grey pixels.
    Pixels {
        /// Side of the images, in pixels.
        side: usize,
    },
}

impl ImageEncoderConfig {
    /// Returns the width of the output.
    pub fn d_model(&self) -> usize {
        match self {
            Self::ResNet(config) => config.d_model(),
            Self::Pixels { side } => side * side,
        }
    }

    /// Initializes the encoder.
    pub fn init(&self, device: &Device) -> ImageEncoder {
        match *self {
            Self::ResNet(config) => ImageEncoder::ResNet(config.init(device)),
            Self::Pixels { side } => ImageEncoder::Pixels(Pixels { side }),
        }
    }
}

/// Encodes each image as one vector.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_model::ImageEncoderConfig;
///
/// let device = Device::flex();
/// let encoder = ImageEncoderConfig::Pixels { side: 2 }.init(&device);
/// let features = encoder.forward(Tensor::ones([1, 3, 2, 2], &device));
/// assert_eq!(features.dims(), [1, encoder.d_model()]);
/// ```
#[expect(
    clippy::large_enum_variant,
    reason = "a program has one or two of them"
)]
#[derive(Module, Debug)]
pub enum ImageEncoder {
    /// A residual network.
    ResNet(ResNet),
    /// The baseline without learning.
    Pixels(Pixels),
}

impl ImageEncoder {
    /// Encodes images.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, 3, height, width]`
    /// - output: `[batch, d_model]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        match self {
            Self::ResNet(network) => network.forward(images),
            Self::Pixels(pixels) => pixels.forward(images),
        }
    }

    /// Returns the width of the output.
    pub fn d_model(&self) -> usize {
        match self {
            Self::ResNet(network) => network.d_model(),
            Self::Pixels(pixels) => pixels.side * pixels.side,
        }
    }
}

/// An image's pixels as its features; each is the mean of its colours.
#[derive(Module, Debug)]
pub struct Pixels {
    side: usize,
}

impl Pixels {
    /// Averages the colours. In a grey image they differ by their normalization only.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, 3, side, side]`
    /// - output: `[batch, side · side]`
    ///
    /// # Panics
    ///
    /// When the images have another size.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let [batch, _, height, width] = images.dims();
        assert_eq!(
            [height, width],
            [self.side; 2],
            "height and width of the images"
        );
        images.mean_dim(1).reshape([batch, height * width])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ResNetDepth;

    #[test]
    fn pixels_are_the_mean_of_colours_row_by_row() {
        let device = Device::flex();
        let config = ImageEncoderConfig::Pixels { side: 2 };
        let colours = [
            [[1.0, 2.0], [3.0, 4.0]],
            [[2.0, 3.0], [4.0, 5.0]],
            [[6.0, 7.0], [8.0, 9.0]],
        ];
        let features = config
            .init(&device)
            .forward(Tensor::from_data([colours], &device));
        assert_eq!(config.d_model(), 4);
        let features: Vec<f32> = features.into_data().iter().collect();
        assert_eq!(features, [3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn an_encoder_returns_its_networks_features() {
        let device = Device::flex();
        let config = ImageEncoderConfig::ResNet(ResNetConfig::new(ResNetDepth::ResNet18));
        let encoder = config.init(&device);
        let images = Tensor::ones([1, 3, 32, 32], &device);
        let ImageEncoder::ResNet(network) = &encoder else {
            panic!("a ResNet was asked for");
        };
        let expected = network.forward(images.clone()).into_data();
        assert_eq!(encoder.forward(images).into_data(), expected);
        assert_eq!(encoder.d_model(), config.d_model());
    }
}
