//! The section `loss`.

use convirt_model::ContrastiveLossConfig;
use serde::{Deserialize, Serialize};

/// The contrastive loss, in Colab's terms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// τ, above 0; 0.1 (paper).
    pub temperature: f64,
    /// Whether τ is trained, starting from `temperature`, which is at least 0.01 then; `false`
    /// (paper).
    pub learnable_temperature: bool,
    /// Cosine (`true`, paper) or plain dot product.
    pub use_cosine_similarity: bool,
    /// λ, weight of the direction image→text against text→image, 0 to 1; 0.75 (paper).
    pub alpha_weight: f64,
    /// Whether pairs with equal texts in a batch are positives of each other; `true`. `false` is
    /// the paper's loss, to which they are negatives.
    pub multi_positive: bool,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            temperature: 0.1,
            learnable_temperature: false,
            use_cosine_similarity: true,
            alpha_weight: 0.75,
            multi_positive: true,
        }
    }
}

impl From<&LossConfig> for ContrastiveLossConfig {
    fn from(config: &LossConfig) -> Self {
        Self {
            temperature: config.temperature,
            image_to_text_weight: config.alpha_weight,
            use_cosine_similarity: config.use_cosine_similarity,
            learnable_temperature: config.learnable_temperature,
            multi_positive: config.multi_positive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_model() {
        let ours = ContrastiveLossConfig::from(&LossConfig::default());
        assert_eq!(ours, ContrastiveLossConfig::default());
    }

    #[test]
    fn every_setting_reaches_the_model() {
        let config = LossConfig {
            temperature: 0.2,
            learnable_temperature: true,
            use_cosine_similarity: false,
            alpha_weight: 0.25,
            multi_positive: false,
        };
        let expected = ContrastiveLossConfig {
            temperature: 0.2,
            image_to_text_weight: 0.25,
            use_cosine_similarity: false,
            learnable_temperature: true,
            multi_positive: false,
        };
        assert_eq!(ContrastiveLossConfig::from(&config), expected);
    }
}
