//! The image-only baseline: one tower that encodes two views of each image.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::{
    Encoded, ModelError, NtXentLoss, NtXentLossConfig, NtXentOutput, ParameterCount,
    ParameterCounts, ProjectionHead, ProjectionHeadConfig, ResNet, ResNetConfig,
};

/// Configuration of a [`SimClr`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimClrConfig {
    /// Image encoder.
    pub image: ResNetConfig,
    /// Width of the space in which views are compared.
    pub d_embedding: usize,
    /// The loss.
    pub loss: NtXentLossConfig,
}

impl SimClrConfig {
    /// Creates the configuration of the baseline of Zhang et al. 2022: 128 wide, τ 0.1.
    pub fn new(image: ResNetConfig) -> Self {
        Self {
            image,
            d_embedding: 128,
            loss: NtXentLossConfig::default(),
        }
    }

    /// Counts the parameters without building the model.
    pub fn parameter_count(&self) -> ParameterCount {
        let head = ProjectionHeadConfig::new(self.image.d_model(), self.d_embedding);
        let total = (self.image.parameters() + head.parameters()) as usize;
        ParameterCount {
            total,
            trainable: total,
        }
    }

    /// Checks the width of the space and the loss.
    ///
    /// # Errors
    ///
    /// [`ModelError::OutOfRange`] naming the field.
    pub fn validate(&self) -> Result<(), ModelError> {
        self.loss.validate()?;
        ProjectionHeadConfig::new(self.image.d_model(), self.d_embedding).validate()
    }

    /// Initializes the model.
    ///
    /// # Errors
    ///
    /// [`ModelError::OutOfRange`] for an empty space and for a temperature outside its range.
    pub fn init(&self, device: &Device) -> Result<SimClr, ModelError> {
        self.validate()?;
        let head = ProjectionHeadConfig::new(self.image.d_model(), self.d_embedding);
        Ok(SimClr {
            image_encoder: self.image.init(device),
            image_projection: head.init(device),
            loss: self.loss.init()?,
        })
    }
}

/// An image encoder trained to recognize which two views show the same image
/// ([Chen et al. 2020](https://arxiv.org/abs/2002.05709)).
///
/// Its parts have the names of [`ConVirt`](crate::ConVirt)'s.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_model::{ResNetConfig, ResNetDepth, SimClrConfig};
///
/// # fn main() -> Result<(), convirt_model::ModelError> {
/// let device = Device::flex();
/// let model = SimClrConfig::new(ResNetConfig::new(ResNetDepth::ResNet18)).init(&device)?;
/// // Two views of one image.
/// let output = model.forward(Tensor::ones([2, 3, 32, 32], &device));
/// assert_eq!(output.nearest_views.into_data(), [1, 0].into());
/// # Ok(())
/// # }
/// ```
#[derive(Module, Debug)]
pub struct SimClr {
    /// The encoder, f.
    pub image_encoder: ResNet,
    /// The projection head, g; used in training only.
    pub image_projection: ProjectionHead,
    /// The loss over a batch of views.
    pub loss: NtXentLoss,
}

impl SimClr {
    /// Encodes images.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, 3, height, width]`
    pub fn encode_image(&self, images: Tensor<4>) -> Encoded {
        let features = self.image_encoder.forward(images);
        Encoded::new(features, &self.image_projection)
    }

    /// Encodes two views of each image and computes the loss; see [`NtXentLoss::forward`].
    ///
    /// In training, batch norms take their statistics over all views.
    ///
    /// # Shapes
    ///
    /// - views: `[2 * batch, 3, height, width]`, rows `i` and `batch + i` show image `i`
    pub fn forward(&self, views: Tensor<4>) -> NtXentOutput {
        self.loss.forward(self.encode_image(views).embedding)
    }

    /// Counts the parameters of each part, total and trainable. There is no text encoder.
    pub fn parameter_counts(&self) -> ParameterCounts {
        ParameterCounts {
            image_encoder: ParameterCount::from_module(&self.image_encoder),
            text_encoder: ParameterCount::default(),
            heads: ParameterCount::from_module(&self.image_projection),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;
    use crate::ResNetDepth;

    fn config() -> SimClrConfig {
        SimClrConfig {
            d_embedding: 6,
            ..SimClrConfig::new(ResNetConfig::new(ResNetDepth::ResNet18))
        }
    }

    #[test]
    fn views_are_compared_after_the_projection() {
        let device = Device::flex();
        let model = config().init(&device).unwrap();
        let views = Tensor::<4>::random([4, 3, 32, 32], Distribution::Default, &device);
        let encoded = model.encode_image(views.clone());
        assert_eq!(encoded.features.dims(), [4, 512]);
        assert_eq!(encoded.embedding.dims(), [4, 6]);
        let expected = model.loss.forward(encoded.embedding).loss.into_data();
        assert_eq!(model.forward(views).loss.into_data(), expected);
    }

    /// 11,176,512 of the image encoder, and 512·513 + 6·513 of the head.
    #[test]
    fn parameters_are_those_of_the_encoder_and_one_head() {
        let counts = config().init(&Device::flex()).unwrap().parameter_counts();
        assert_eq!(counts.image_encoder.trainable, 11_176_512);
        assert_eq!(counts.text_encoder.total, 0);
        assert_eq!(counts.heads.total, 512 * 513 + 6 * 513);
    }

    #[test]
    fn contradictions_are_errors_that_name_the_field() {
        let empty = SimClrConfig {
            d_embedding: 0,
            ..config()
        };
        let error = empty.init(&Device::flex()).unwrap_err().to_string();
        assert!(error.contains("`d_embedding` is 0"), "{error}");
    }
}
