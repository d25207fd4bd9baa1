//! The section `loss`, the configuration type of the model crate.

use convirt_model::ContrastiveLossConfig;

use super::invalid_setting::{Check, contradiction, number};

/// Checks the section.
pub(super) fn check(loss: &ContrastiveLossConfig) -> Check {
    let temperature = loss.temperature;
    number(
        "temperature",
        temperature,
        ContrastiveLossConfig::TEMPERATURES,
    )?;
    number("bias", loss.bias, ContrastiveLossConfig::BIASES)?;
    let minimum = ContrastiveLossConfig::MIN_LEARNABLE_TEMPERATURE;
    if loss.learnable_temperature && temperature < minimum {
        let problem = format!("below {minimum}, the minimum of a learnable temperature");
        return contradiction("temperature", problem);
    }
    number(
        "alpha_weight",
        loss.image_to_text_weight,
        ContrastiveLossConfig::IMAGE_TO_TEXT_WEIGHTS,
    )
}

#[cfg(test)]
mod tests {
    use convirt_model::LossKind;

    use super::*;
    use crate::config::Config;

    #[test]
    fn every_setting_reaches_the_model() {
        let text = "\
dataset: {csv_file: a.csv}
loss:
  kind: sigmoid
  temperature: 0.2
  bias: -3
  learnable_temperature: True
  use_cosine_similarity: False
  alpha_weight: 0.25
  multi_positive: False
";
        let expected = ContrastiveLossConfig {
            kind: LossKind::Sigmoid,
            temperature: 0.2,
            bias: -3.0,
            image_to_text_weight: 0.25,
            use_cosine_similarity: false,
            learnable_temperature: true,
            multi_positive: false,
        };
        let config = Config::from_yaml("config.yaml", text, &[]).unwrap();
        assert_eq!(config.loss, expected);
    }

    #[test]
    fn errors_name_the_keys_of_the_file() {
        let mut loss = ContrastiveLossConfig {
            image_to_text_weight: 1.5,
            ..ContrastiveLossConfig::default()
        };
        let config = |loss| {
            let mut config = Config::default();
            config.dataset.csv_file = "a.csv".into();
            config.loss = loss;
            config.validate().map_err(|error| error.to_string())
        };
        let message = "loss.alpha_weight: expected a number from 0 to 1, found 1.5";
        assert_eq!(config(loss), Err(message.to_string()));
        loss.image_to_text_weight = 1.0;
        assert_eq!(config(loss), Ok(()));
        (loss.temperature, loss.learnable_temperature) = (0.005, true);
        let message = "loss.temperature: below 0.01, the minimum of a learnable temperature";
        assert_eq!(config(loss), Err(message.to_string()));
    }
}
