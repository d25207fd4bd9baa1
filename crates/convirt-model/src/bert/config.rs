//! Configuration of the encoder, read from and written to Hugging Face's `config.json`.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::hugging_face::HuggingFaceConfig;
use super::{Activation, Bert};
use crate::ModelError;
use burn::tensor::Device;

/// Encoder family. It determines positions, token types and the keys of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BertFamily {
    /// [BERT](https://arxiv.org/abs/1810.04805): positions from 0, token types.
    Bert,
    /// [RoBERTa](https://arxiv.org/abs/1907.11692): positions from `pad_token_id + 1`, skipping
    /// padding.
    Roberta,
    /// [XLM-RoBERTa](https://arxiv.org/abs/1911.02116): as RoBERTa.
    XlmRoberta,
    /// [DistilBERT](https://arxiv.org/abs/1910.01108): positions from 0, no token types.
    DistilBert,
}

impl BertFamily {
    /// Returns the family's `model_type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bert => "bert",
            Self::Roberta => "roberta",
            Self::XlmRoberta => "xlm-roberta",
            Self::DistilBert => "distilbert",
        }
    }

    /// Whether positions count from `pad_token_id + 1` and skip padding.
    pub(super) fn counts_after_padding(self) -> bool {
        matches!(self, Self::Roberta | Self::XlmRoberta)
    }
}

/// Configuration of a [`Bert`] encoder.
///
/// Serialized as the `config.json` of its family; keys that do not concern the encoder are ignored.
///
/// # Examples
///
/// ```
/// use convirt_model::{BertConfig, BertFamily};
///
/// # fn main() -> Result<(), convirt_model::ModelError> {
/// let json = r#"{"model_type": "distilbert", "vocab_size": 30522, "dim": 768, "n_layers": 6,
///     "n_heads": 12, "hidden_dim": 3072, "max_position_embeddings": 512}"#;
/// let config = BertConfig::parse(json)?;
/// assert_eq!((config.family, config.num_hidden_layers), (BertFamily::DistilBert, 6));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "HuggingFaceConfig", into = "HuggingFaceConfig")]
pub struct BertConfig {
    /// Encoder family (`model_type`).
    pub family: BertFamily,
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
    /// `d_model`.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads of each layer, a divisor of `hidden_size`.
    pub num_attention_heads: usize,
    /// Width of the feed-forward network.
    pub intermediate_size: usize,
    /// Activation function of the feed-forward network.
    pub hidden_act: Activation,
    /// Dropout of embeddings, attention output and feed-forward output, 0 to below 1.
    pub hidden_dropout_prob: f64,
    /// Dropout of attention probabilities, 0 to below 1.
    pub attention_probs_dropout_prob: f64,
    /// Rows of the position table; see [`max_tokens`](Self::max_tokens).
    pub max_position_embeddings: usize,
    /// Number of token types; 0 in DistilBERT.
    pub type_vocab_size: usize,
    /// Standard deviation of the initial weights.
    pub initializer_range: f64,
    /// Added to the variance in layer normalization.
    pub layer_norm_eps: f64,
    /// The padding token; its embedding starts at zero.
    pub pad_token_id: usize,
    /// Whether positions are fixed sinusoids; DistilBERT only.
    pub sinusoidal_pos_embds: bool,
}

/// Limits, at least ten times the sizes of published encoders.
impl BertConfig {
    /// Largest [`vocab_size`](Self::vocab_size).
    pub const MAX_VOCAB_SIZE: usize = 10_000_000;
    /// Largest [`hidden_size`](Self::hidden_size).
    pub const MAX_HIDDEN_SIZE: usize = 65_536;
    /// Largest [`num_hidden_layers`](Self::num_hidden_layers).
    pub const MAX_LAYERS: usize = 1_024;
    /// Largest [`num_attention_heads`](Self::num_attention_heads).
    pub const MAX_HEADS: usize = 4_096;
    /// Largest [`intermediate_size`](Self::intermediate_size).
    pub const MAX_INTERMEDIATE_SIZE: usize = 1 << 20;
    /// Largest [`max_position_embeddings`](Self::max_position_embeddings).
    pub const MAX_POSITIONS: usize = 1 << 20;
    /// Range of both dropouts.
    pub const DROPOUTS: Range<f64> = 0.0..1.0;
}

impl BertConfig {
    /// Returns BERT-base's configuration for a vocabulary; change its fields for other sizes.
    pub fn base(vocab_size: usize) -> Self {
        Self {
            family: BertFamily::Bert,
            vocab_size,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Activation::Gelu,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            pad_token_id: 0,
            sinusoidal_pos_embds: false,
        }
    }

    /// Reads a `config.json`.
    ///
    /// Files without `model_type` and `architectures`, like those of the first checkpoints, are
    /// BERT's.
    ///
    /// # Errors
    ///
    /// [`ModelError::Json`] for text that is not JSON or has keys of another type,
    /// [`ModelError::Unsupported`] for another architecture, activation function or kind of
    /// position, [`ModelError::MissingKey`] for an absent size, and those of
    /// [`validate`](Self::validate).
    pub fn parse(json: &str) -> Result<Self, ModelError> {
        let config: HuggingFaceConfig = serde_json::from_str(json)?;
        config.try_into()
    }

    /// Returns `hidden_size`, the width of the encoder's output.
    pub fn d_model(&self) -> usize {
        self.hidden_size
    }

    /// Returns the longest text in tokens, `[CLS]` and `[SEP]` included.
    pub fn max_tokens(&self) -> usize {
        let offset = self.first_position();
        self.max_position_embeddings.saturating_sub(offset)
    }

    /// The position of the first token.
    pub(super) fn first_position(&self) -> usize {
        if self.family.counts_after_padding() {
            self.pad_token_id.saturating_add(1)
        } else {
            0
        }
    }

    /// Counts the parameters of a valid configuration without building the encoder: those of the
    /// embeddings, and those of one layer.
    pub fn parameters(&self) -> [u64; 2] {
        let [width, inner] = [self.hidden_size, self.intermediate_size].map(|size| size as u64);
        let types = match self.family {
            BertFamily::DistilBert => 0,
            _ => self.type_vocab_size,
        };
        let rows = [self.vocab_size, self.max_position_embeddings, types];
        let rows: u64 = rows.into_iter().map(|rows| rows as u64).sum();
        let norm = 2 * width;
        let linear = |d_input: u64, d_output: u64| d_input * d_output + d_output;
        let layer = 4 * linear(width, width) + linear(width, inner) + linear(inner, width);
        [rows * width + norm, layer + 2 * norm]
    }

    /// Counts the activations of a layer that training keeps for a text of `tokens` tokens:
    /// queries, keys, values and the output of the attention; the projected and the normalized
    /// states of both sublayers; the hidden states of the feed-forward network before and after its
    /// activation function; and the attention probabilities.
    pub fn layer_activations(&self, tokens: usize) -> u64 {
        let [tokens, width, inner, heads] = [
            tokens,
            self.hidden_size,
            self.intermediate_size,
            self.num_attention_heads,
        ]
        .map(|size| size as u64);
        let token_activations = 8 * width + 2 * inner;
        let probabilities = heads.saturating_mul(tokens);
        tokens.saturating_mul(token_activations.saturating_add(probabilities))
    }

    /// Initializes an encoder with weights from N(0, `initializer_range`), zero biases and a zero
    /// padding row.
    ///
    /// # Errors
    ///
    /// Those of [`validate`](Self::validate).
    pub fn init(&self, device: &Device) -> Result<Bert, ModelError> {
        self.validate()?;
        Ok(Bert::new(self, device))
    }

    /// Checks the ranges of the numbers and whether they fit together.
    ///
    /// # Errors
    ///
    /// [`ModelError::UnevenHeads`] or [`ModelError::OutOfRange`] naming the field.
    pub fn validate(&self) -> Result<(), ModelError> {
        for (key, size, max, expected) in [
            (
                "vocab_size",
                self.vocab_size,
                Self::MAX_VOCAB_SIZE,
                "1 to 10,000,000",
            ),
            (
                "hidden_size",
                self.hidden_size,
                Self::MAX_HIDDEN_SIZE,
                "1 to 65,536",
            ),
            (
                "num_hidden_layers",
                self.num_hidden_layers,
                Self::MAX_LAYERS,
                "1 to 1,024",
            ),
            (
                "num_attention_heads",
                self.num_attention_heads,
                Self::MAX_HEADS,
                "1 to 4,096",
            ),
            (
                "intermediate_size",
                self.intermediate_size,
                Self::MAX_INTERMEDIATE_SIZE,
                "1 to 1,048,576",
            ),
        ] {
            in_range(key, size, (1..=max).contains(&size), expected)?;
        }
        for (key, size, max, expected) in [
            (
                "max_position_embeddings",
                self.max_position_embeddings,
                Self::MAX_POSITIONS,
                "at most 1,048,576",
            ),
            (
                "type_vocab_size",
                self.type_vocab_size,
                65_536,
                "at most 65,536",
            ),
        ] {
            in_range(key, size, size <= max, expected)?;
        }
        let (heads, hidden_size) = (self.num_attention_heads, self.hidden_size);
        if !hidden_size.is_multiple_of(heads) {
            return Err(ModelError::UnevenHeads { hidden_size, heads });
        }
        for (key, probability) in [
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            (
                "attention_probs_dropout_prob",
                self.attention_probs_dropout_prob,
            ),
        ] {
            let is_valid = Self::DROPOUTS.contains(&probability);
            in_range(key, probability, is_valid, "0 to below 1")?;
        }
        // A smaller ε is 0 in float32, and equal states would be divided by it. A larger one
        // exceeds the variance of the states.
        let epsilon = self.layer_norm_eps;
        let is_valid = (1e-30..=1.0).contains(&epsilon);
        in_range("layer_norm_eps", epsilon, is_valid, "1e-30 to 1")?;
        let deviation = self.initializer_range;
        let is_valid = deviation > 0.0 && deviation <= 10.0;
        in_range(
            "initializer_range",
            deviation,
            is_valid,
            "above 0, at most 10",
        )?;
        let pad = self.pad_token_id;
        in_range(
            "pad_token_id",
            pad,
            pad < self.vocab_size,
            "below vocab_size",
        )?;
        in_range(
            "max_position_embeddings",
            self.max_position_embeddings,
            self.max_tokens() > 0,
            "room for at least one token",
        )
    }
}

fn in_range(
    key: &'static str,
    found: impl ToString,
    is_valid: bool,
    expected: &'static str,
) -> Result<(), ModelError> {
    if is_valid {
        return Ok(());
    }
    let found = found.to_string();
    Err(ModelError::OutOfRange {
        key,
        found,
        expected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ParameterCount;

    const CLINICAL_BERT: &str = r#"{
        "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
        "hidden_size": 768, "initializer_range": 0.02, "intermediate_size": 3072,
        "max_position_embeddings": 512, "num_attention_heads": 12, "num_hidden_layers": 12,
        "type_vocab_size": 2, "vocab_size": 28996
    }"#;
    const ROBERTA: &str = r#"{
        "architectures": ["RobertaForMaskedLM"], "attention_probs_dropout_prob": 0.1,
        "bos_token_id": 0, "eos_token_id": 2, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
        "hidden_size": 768, "initializer_range": 0.02, "intermediate_size": 3072,
        "layer_norm_eps": 1e-05, "max_position_embeddings": 514, "model_type": "roberta",
        "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 1,
        "type_vocab_size": 1, "vocab_size": 50265
    }"#;
    const DISTILBERT: &str = r#"{
        "activation": "gelu", "attention_dropout": 0.2, "dim": 768, "dropout": 0.1,
        "hidden_dim": 3072, "initializer_range": 0.02, "max_position_embeddings": 512,
        "model_type": "distilbert", "n_heads": 12, "n_layers": 6, "pad_token_id": 0,
        "qa_dropout": 0.1, "seq_classif_dropout": 0.2, "sinusoidal_pos_embds": false,
        "tie_weights_": true, "vocab_size": 119547
    }"#;

    #[test]
    fn bert_without_model_type_is_read_as_bert() {
        assert_eq!(
            BertConfig::parse(CLINICAL_BERT).unwrap(),
            BertConfig::base(28996)
        );
    }

    #[test]
    fn parameters_are_counted_without_building_them() {
        let device = Device::flex();
        for json in [CLINICAL_BERT, ROBERTA, DISTILBERT] {
            let config = BertConfig {
                vocab_size: 11,
                hidden_size: 8,
                num_hidden_layers: 2,
                num_attention_heads: 2,
                intermediate_size: 12,
                max_position_embeddings: 9,
                ..BertConfig::parse(json).unwrap()
            };
            let built = ParameterCount::from_module(&config.init(&device).unwrap());
            let [embeddings, layer] = config.parameters();
            assert_eq!(embeddings + 2 * layer, built.total as u64);
        }
    }

    /// 10 tokens of 8 states of 768 numbers, twice 3,072, and 10 probabilities in each of 12 heads.
    #[test]
    fn activations_of_a_layer_include_a_square_of_probabilities() {
        let base = BertConfig::base(100);
        assert_eq!(
            base.layer_activations(10),
            10 * (8 * 768 + 2 * 3072 + 10 * 12)
        );
        assert_eq!(base.layer_activations(0), 0);
    }

    #[test]
    fn sizes_out_of_range_are_errors_that_name_the_key() {
        let base = BertConfig::base(100);
        for (key, config) in [
            ("vocab_size", BertConfig::base(usize::MAX)),
            (
                "hidden_size",
                BertConfig {
                    hidden_size: 12 << 20,
                    ..base.clone()
                },
            ),
            (
                "num_hidden_layers",
                BertConfig {
                    num_hidden_layers: usize::MAX,
                    ..base.clone()
                },
            ),
            (
                "max_position_embeddings",
                BertConfig {
                    max_position_embeddings: 1 << 40,
                    ..base.clone()
                },
            ),
            (
                "type_vocab_size",
                BertConfig {
                    type_vocab_size: 1 << 40,
                    ..base
                },
            ),
        ] {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(key), "{key}: {error}");
        }
    }

    #[test]
    fn roberta_leaves_room_for_its_position_offset() {
        for model_type in ["roberta", "xlm-roberta"] {
            let json = ROBERTA.replace("\"roberta\"", &format!("\"{model_type}\""));
            let config = BertConfig::parse(&json).unwrap();
            assert_eq!(config.family.name(), model_type);
            assert_eq!(config.max_tokens(), 512);
            assert_eq!(config.layer_norm_eps, 1e-5);
            assert_eq!(config.pad_token_id, 1);
        }
    }

    #[test]
    fn distilbert_is_read_from_its_own_keys() {
        let config = BertConfig::parse(DISTILBERT).unwrap();
        let expected = BertConfig {
            family: BertFamily::DistilBert,
            num_hidden_layers: 6,
            attention_probs_dropout_prob: 0.2,
            type_vocab_size: 0,
            ..BertConfig::base(119547)
        };
        assert_eq!(config, expected);
    }

    /// The models in ConVIRT-Colab's `config.yaml`, with the `model_type` of their `config.json`.
    #[test]
    fn all_models_listed_by_colab_have_a_supported_family() {
        for (name, model_type) in [
            ("emilyalsentzer/Bio_ClinicalBERT", "bert"),
            ("bert-base-uncased", "bert"),
            ("distilbert-base-nli-mean-tokens", "distilbert"),
            ("distilbert-base-multilingual-cased", "distilbert"),
            ("distiluse-base-multilingual-cased-v2", "distilbert"),
            ("distilbert-base-nli-stsb-mean-tokens", "distilbert"),
            (
                "xlm-r-100langs-bert-base-nli-stsb-mean-tokens",
                "xlm-roberta",
            ),
            ("cross-encoder/stsb-roberta-base", "roberta"),
            ("paraphrase-xlm-r-multilingual-v1", "xlm-roberta"),
            ("neuralmind/bert-base-portuguese-cased", "bert"),
        ] {
            let json = match model_type {
                "distilbert" => DISTILBERT.to_string(),
                _ => ROBERTA
                    .replace("\"roberta\"", &format!("\"{model_type}\""))
                    .replace("\"architectures\": [\"RobertaForMaskedLM\"],", ""),
            };
            let family = BertConfig::parse(&json).unwrap().family;
            assert_eq!(family.name(), model_type, "{name}");
        }
    }

    #[test]
    fn without_a_model_type_the_class_determines_the_family() {
        let config = BertConfig::parse(&ROBERTA.replace("\"model_type\": \"roberta\",", ""));
        assert_eq!(config.unwrap().family, BertFamily::Roberta);
    }

    #[test]
    fn configuration_survives_writing_and_reading_in_the_familys_keys() {
        for (json, key) in [
            (CLINICAL_BERT, "hidden_size"),
            (ROBERTA, "layer_norm_eps"),
            (DISTILBERT, "n_layers"),
        ] {
            let config = BertConfig::parse(json).unwrap();
            let written = serde_json::to_string_pretty(&config).unwrap();
            assert!(written.contains(&format!("\"{key}\"")), "{written}");
            assert!(written.contains("\"model_type\""), "{written}");
            assert!(!written.contains("null"), "{written}");
            assert_eq!(BertConfig::parse(&written).unwrap(), config);
            assert_eq!(
                serde_json::from_str::<BertConfig>(&written).unwrap(),
                config
            );
        }
    }

    #[test]
    fn wrong_configurations_are_errors_that_name_the_key() {
        let roberta = |old: &str, new: &str| ROBERTA.replace(old, new);
        for (json, message) in [
            (roberta("\"roberta\"", "\"gpt2\""), "`model_type` is `gpt2`"),
            (
                roberta("\"gelu\"", "\"quick_gelu\""),
                "`hidden_act` is `quick_gelu`",
            ),
            (
                roberta("RobertaFor", "RobertaPreLayerNormFor"),
                "`architectures` is `RobertaPreLayerNormForMaskedLM`",
            ),
            (
                roberta("RobertaFor", "BertFor"),
                "`architectures` is `BertForMaskedLM`",
            ),
            (
                roberta("\"bos", "\"is_decoder\": true, \"bos"),
                "`is_decoder` is `true`",
            ),
            (
                DISTILBERT.replace("\"gelu\"", "\"x\""),
                "`activation` is `x`",
            ),
            (
                roberta("\"hidden_size\"", "\"hidden\""),
                "no key `hidden_size`",
            ),
            (DISTILBERT.replace("\"dim\"", "\"d\""), "no key `dim`"),
            (
                roberta("\"hidden_size\": 768", "\"hidden_size\": 770"),
                "not divisible by 12",
            ),
            (
                roberta("\"vocab_size\": 50265", "\"vocab_size\": 1"),
                "`pad_token_id` is 1",
            ),
            (roberta("514", "2"), "`max_position_embeddings` is 2"),
            (roberta("1e-05", "1e-40"), "`layer_norm_eps` is 0.0"),
            (roberta("1e-05", "1e30"), "expected 1e-30 to 1"),
            (roberta("0.02", "1e300"), "`initializer_range` is 1"),
            (roberta("0.02", "-0.02"), "above 0, at most 10"),
            (
                roberta("_dropout_prob\": 0.1", "_dropout_prob\": 1.0"),
                "dropout_prob` is 1",
            ),
            (
                roberta(
                    "\"bos",
                    "\"position_embedding_type\": \"relative_key\", \"bos",
                ),
                "`position_embedding_type` is `relative_key`",
            ),
        ] {
            let error = BertConfig::parse(&json).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        let broken = BertConfig::parse("{\n\"vocab_size\": -1}").unwrap_err();
        let source = std::error::Error::source(&broken).unwrap().to_string();
        assert!(source.contains("line 2"), "{source}");
    }
}
