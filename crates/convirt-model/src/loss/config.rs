//! Configuration of the loss.

use std::ops::RangeInclusive;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::{ContrastiveLoss, MAX_SCALE};
use crate::ModelError;

/// What a [`ContrastiveLoss`] computes of the similarities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossKind {
    /// The cross-entropies of a softmax over the batch (Zhang et al. 2022, Eq. 2–4).
    #[default]
    Softmax,
    /// A sigmoid of each pair by itself ([Zhai et al. 2023](https://arxiv.org/abs/2303.15343)).
    Sigmoid,
}

impl LossKind {
    /// Returns the loss of a model that finds all pairs of a batch equally similar, in nats: ln N for
    /// the softmax, and N times the entropy of a fraction of 1/N for the sigmoid.
    pub fn chance(self, batch: usize) -> f64 {
        let batch = batch.max(1) as f64;
        match self {
            Self::Softmax => batch.ln(),
            Self::Sigmoid if batch == 1.0 => 0.0,
            Self::Sigmoid => batch.ln() + (batch - 1.0) * (batch / (batch - 1.0)).ln(),
        }
    }
}

/// Configuration of a [`ContrastiveLoss`]; the defaults are the paper's, except for
/// [`multi_positive`](Self::multi_positive). Files may use ConVIRT-Colab's `alpha_weight` for
/// [`image_to_text_weight`](Self::image_to_text_weight).
///
/// # Examples
///
/// ```
/// use burn::tensor::Device;
/// use convirt_model::ContrastiveLossConfig;
///
/// let config = ContrastiveLossConfig {
///     temperature: 0.0,
///     ..Default::default()
/// };
/// let error = config.init(&Device::flex()).unwrap_err();
/// assert_eq!(error.to_string(), "`temperature` is 0; expected 0.0001 to 1,000");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContrastiveLossConfig {
    /// What is computed of the similarities; default softmax.
    pub kind: LossKind,
    /// τ, 0.0001 to 1,000; default 0.1.
    pub temperature: f64,
    /// Initial bias of the logits of the sigmoid loss, −100 to 100; default −10. It is trained.
    pub bias: f64,
    /// λ, the weight of the image→text direction of the softmax loss, 0 to 1; default 0.75.
    #[serde(rename = "alpha_weight", alias = "image_to_text_weight")]
    pub image_to_text_weight: f64,
    /// Whether similarity is the cosine or the plain dot product; default true.
    pub use_cosine_similarity: bool,
    /// Whether τ is trained, starting from `temperature` (at least 0.01); default false.
    pub learnable_temperature: bool,
    /// Whether pairs with equal texts are positives of each other; default true, false is the
    /// paper's loss.
    pub multi_positive: bool,
}

impl Default for ContrastiveLossConfig {
    fn default() -> Self {
        Self {
            kind: LossKind::Softmax,
            temperature: 0.1,
            bias: -10.0,
            image_to_text_weight: 0.75,
            use_cosine_similarity: true,
            learnable_temperature: false,
            multi_positive: true,
        }
    }
}

impl ContrastiveLossConfig {
    /// Range of τ. Outside, float32 does not distinguish similarities divided by τ. Published
    /// values are from 0.01 to 1.
    pub const TEMPERATURES: RangeInclusive<f64> = 1e-4..=1e3;

    /// Lower limit of a learnable τ.
    pub const MIN_LEARNABLE_TEMPERATURE: f64 = 1.0 / MAX_SCALE;

    /// Range of λ.
    pub const IMAGE_TO_TEXT_WEIGHTS: RangeInclusive<f64> = 0.0..=1.0;

    /// Range of the initial bias.
    pub const BIASES: RangeInclusive<f64> = -100.0..=100.0;

    /// Initializes the loss.
    ///
    /// # Errors
    ///
    /// [`ModelError::OutOfRange`] for a temperature, a bias or a weight outside its range.
    pub fn init(&self, device: &Device) -> Result<ContrastiveLoss, ModelError> {
        self.validate()?;
        Ok(ContrastiveLoss::new(self, device))
    }

    /// Checks the ranges of the numbers.
    ///
    /// # Errors
    ///
    /// [`ModelError::OutOfRange`] naming the field.
    pub fn validate(&self) -> Result<(), ModelError> {
        let temperature = self.temperature;
        check_temperature(temperature)?;
        if self.learnable_temperature && temperature < Self::MIN_LEARNABLE_TEMPERATURE {
            let expected = "at least 0.01, the lower limit of a learnable temperature";
            return Err(out_of_range("temperature", temperature, expected));
        }
        if !Self::BIASES.contains(&self.bias) {
            return Err(out_of_range("bias", self.bias, "-100 to 100"));
        }
        let weight = self.image_to_text_weight;
        if !Self::IMAGE_TO_TEXT_WEIGHTS.contains(&weight) {
            return Err(out_of_range("image_to_text_weight", weight, "0 to 1"));
        }
        Ok(())
    }
}

/// Checks the range of τ.
pub(super) fn check_temperature(temperature: f64) -> Result<(), ModelError> {
    if ContrastiveLossConfig::TEMPERATURES.contains(&temperature) {
        Ok(())
    } else {
        Err(out_of_range("temperature", temperature, "0.0001 to 1,000"))
    }
}

fn out_of_range(key: &'static str, found: f64, expected: &'static str) -> ModelError {
    ModelError::OutOfRange {
        key,
        found: found.to_string(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sigmoid's chance is the least loss of logits that are all the same: of a bias −ln(N − 1).
    #[test]
    fn chance_is_the_loss_of_the_best_constant() {
        assert!((LossKind::Softmax.chance(32) - 32f64.ln()).abs() < 1e-12);
        assert_eq!(LossKind::Sigmoid.chance(1), 0.0);
        for batch in [2, 32, 1_000] {
            let others = batch as f64 - 1.0;
            let loss = |bias: f64| (-bias).exp().ln_1p() + others * bias.exp().ln_1p();
            let chance = LossKind::Sigmoid.chance(batch);
            assert!((chance - loss(-others.ln())).abs() < 1e-9, "{batch}");
            assert!(chance < loss(-others.ln() + 0.1) && chance < loss(-others.ln() - 0.1));
        }
    }

    #[test]
    fn ranges_are_errors_that_name_the_field() {
        let device = Device::flex();
        let default = ContrastiveLossConfig::default();
        for (config, key) in [
            (
                ContrastiveLossConfig {
                    temperature: 0.0,
                    ..default
                },
                "`temperature` is 0",
            ),
            (
                ContrastiveLossConfig {
                    temperature: 1e-40,
                    ..default
                },
                "expected 0.0001 to 1,000",
            ),
            (
                ContrastiveLossConfig {
                    temperature: f64::NAN,
                    ..default
                },
                "`temperature` is NaN",
            ),
            (
                ContrastiveLossConfig {
                    temperature: 0.005,
                    learnable_temperature: true,
                    ..default
                },
                "at least 0.01",
            ),
            (
                ContrastiveLossConfig {
                    bias: -101.0,
                    ..default
                },
                "`bias` is -101",
            ),
            (
                ContrastiveLossConfig {
                    image_to_text_weight: 1.5,
                    ..default
                },
                "`image_to_text_weight` is 1.5",
            ),
        ] {
            let error = config.init(&device).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn the_weight_is_read_by_colabs_name_and_by_its_own() {
        let expected = ContrastiveLossConfig {
            image_to_text_weight: 0.5,
            ..Default::default()
        };
        for text in [
            r#"{"alpha_weight": 0.5}"#,
            r#"{"image_to_text_weight": 0.5}"#,
        ] {
            let config: ContrastiveLossConfig = serde_json::from_str(text).unwrap();
            assert_eq!(config, expected, "{text}");
        }
    }

    #[test]
    fn absent_keys_are_the_papers_and_unknown_ones_are_errors() {
        let read = serde_json::from_str::<ContrastiveLossConfig>;
        let expected = ContrastiveLossConfig {
            temperature: 0.5,
            ..Default::default()
        };
        assert_eq!(read("{\"temperature\": 0.5}").unwrap(), expected);
        assert!(read("{\"temprature\": 0.5}").is_err());
    }
}
