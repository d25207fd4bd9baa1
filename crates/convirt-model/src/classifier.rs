//! An image encoder with a classification head.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::dropout::apply_dropout;
use crate::linear::apply_linear;
use crate::{ImageEncoder, ImageEncoderConfig, ModelError};

/// Longest side of images whose pixels are classified, the same limit as for a network's input.
const MAX_SIDE: usize = 4_096;

/// Configuration of an [`ImageClassifier`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageClassifierConfig {
    /// The encoder.
    pub encoder: ImageEncoderConfig,
    /// Number of labels, at least 1.
    pub labels: usize,
    /// Dropout before the head in training, 0 to below 1.
    pub dropout: f64,
}

impl ImageClassifierConfig {
    /// Creates a configuration with the paper's dropout of 0.2.
    pub fn new(encoder: ImageEncoderConfig, labels: usize) -> Self {
        Self {
            encoder,
            labels,
            dropout: 0.2,
        }
    }

    /// Initializes the encoder, and the head as `torch.nn.Linear` does, U(±1/√fan_in).
    ///
    /// # Errors
    ///
    /// [`ModelError::OutOfRange`] for no labels and for a dropout outside its range.
    pub fn init(&self, device: &Device) -> Result<ImageClassifier, ModelError> {
        self.init_on(self.encoder.init(device), device)
    }

    /// Initializes the head on a given encoder.
    ///
    /// # Errors
    ///
    /// Those of [`init`](Self::init).
    pub fn init_on(
        &self,
        encoder: ImageEncoder,
        device: &Device,
    ) -> Result<ImageClassifier, ModelError> {
        if let ImageEncoderConfig::Pixels { side } = self.encoder
            && side > MAX_SIDE
        {
            return Err(ModelError::OutOfRange {
                key: "side",
                found: side.to_string(),
                expected: "at most 4,096 pixels",
            });
        }
        if self.labels == 0 {
            return Err(ModelError::OutOfRange {
                key: "labels",
                found: "0".to_string(),
                expected: "at least 1",
            });
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(ModelError::OutOfRange {
                key: "dropout",
                found: self.dropout.to_string(),
                expected: "from 0 to below 1",
            });
        }
        Ok(ImageClassifier {
            head: LinearConfig::new(encoder.d_model(), self.labels).init(device),
            encoder,
            dropout: DropoutConfig::new(self.dropout).init(),
        })
    }
}

/// Classifies images: encoder, dropout and linear head (Zhang et al. 2022, Section 4).
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_model::{ImageClassifierConfig, ImageEncoderConfig};
///
/// # fn main() -> Result<(), convirt_model::ModelError> {
/// let device = Device::flex();
/// let config = ImageClassifierConfig::new(ImageEncoderConfig::Pixels { side: 8 }, 3);
/// let classifier = config.init(&device)?;
/// let logits = classifier.forward(Tensor::ones([2, 3, 8, 8], &device));
/// assert_eq!(logits.dims(), [2, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Module, Debug)]
pub struct ImageClassifier {
    /// f_v.
    pub encoder: ImageEncoder,
    /// Dropout of the features, in training.
    pub dropout: Dropout,
    /// The head.
    pub head: Linear,
}

impl ImageClassifier {
    /// Scores images; the training loss decides what the scores mean.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, 3, height, width]`
    /// - output: `[batch, labels]`, logits
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        self.classify(self.encoder.forward(images))
    }

    /// Scores images by their features.
    ///
    /// # Shapes
    ///
    /// - features: `[batch, d_model]`
    /// - output: `[batch, labels]`, logits
    pub fn classify(&self, features: Tensor<2>) -> Tensor<2> {
        apply_linear(&self.head, apply_dropout(&self.dropout, features))
    }
}

#[cfg(test)]
mod tests {
    use convirt_ops::with_dropout_seed;

    use super::*;

    fn config() -> ImageClassifierConfig {
        ImageClassifierConfig::new(ImageEncoderConfig::Pixels { side: 8 }, 3)
    }

    #[test]
    fn features_are_dropped_in_training_only() {
        let device = Device::flex();
        let classifier = config().init(&device.clone().autodiff()).unwrap();
        let features = Tensor::<2>::ones([2, 64], &device.clone().autodiff());
        let scores = |classifier: &ImageClassifier, features: &Tensor<2>| {
            classifier.classify(features.clone()).into_data()
        };
        let trained = |seed| with_dropout_seed(seed, 0, || scores(&classifier, &features));
        assert_eq!(trained(3), trained(3));
        assert_ne!(trained(3), trained(4));
        let (valid, plain) = (classifier.valid(), features.without_autodiff());
        assert_eq!(scores(&valid, &plain), scores(&valid, &plain));
        let images = Tensor::ones([2, 3, 8, 8], &device);
        assert_eq!(valid.forward(images).into_data(), scores(&valid, &plain));
    }

    #[test]
    fn zero_labels_and_dropout_out_of_range_are_errors() {
        let device = Device::flex();
        let none = ImageClassifierConfig {
            labels: 0,
            ..config()
        };
        assert!(
            none.init(&device)
                .unwrap_err()
                .to_string()
                .contains("labels")
        );
        for dropout in [1.0, -0.1, f64::NAN] {
            let error = ImageClassifierConfig {
                dropout,
                ..config()
            }
            .init(&device);
            assert!(error.unwrap_err().to_string().contains("dropout"));
        }
    }
}
