//! The keys of `config.json` in each family.

use serde::{Deserialize, Serialize};

use super::{Activation, BertConfig, BertFamily};
use crate::ModelError;

/// All keys that the encoder reads, in both spellings.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct HuggingFaceConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    model_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    architectures: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_decoder: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vocab_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_position_embeddings: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    initializer_range: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pad_token_id: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position_embedding_type: Option<String>,
    #[serde(flatten)]
    bert: BertSpelling,
    #[serde(flatten)]
    distilbert: DistilBertSpelling,
}

/// BERT's, RoBERTa's and XLM-RoBERTa's spelling.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct BertSpelling {
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_hidden_layers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_attention_heads: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    intermediate_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden_act: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden_dropout_prob: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attention_probs_dropout_prob: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    type_vocab_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer_norm_eps: Option<f64>,
}

/// DistilBERT's spelling.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct DistilBertSpelling {
    #[serde(skip_serializing_if = "Option::is_none")]
    dim: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n_layers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n_heads: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden_dim: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropout: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attention_dropout: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sinusoidal_pos_embds: Option<bool>,
}

impl HuggingFaceConfig {
    /// The family, after checking that all keys agree with it.
    fn checked_family(&self) -> Result<BertFamily, ModelError> {
        let family = self.family()?;
        // RoBERTa and XLM-RoBERTa differ only in their vocabularies.
        let kind = |family| match family {
            BertFamily::XlmRoberta => BertFamily::Roberta,
            other => other,
        };
        let class = self.family_by_class()?;
        if class.is_some_and(|class| kind(class) != kind(family)) {
            return Err(ModelError::Unsupported {
                key: "architectures",
                found: self.architectures.iter().flatten().cloned().collect(),
                supported: "one of the family that `model_type` names",
            });
        }
        match self.is_decoder {
            Some(true) => Err(ModelError::Unsupported {
                key: "is_decoder",
                found: "true".to_string(),
                supported: "false",
            }),
            _ => Ok(family),
        }
    }

    /// The family of the model's class, such as `RobertaForMaskedLM`.
    fn family_by_class(&self) -> Result<Option<BertFamily>, ModelError> {
        let Some(name) = self.architectures.iter().flatten().next() else {
            return Ok(None);
        };
        let is_encoder = |kind: &str| {
            let mut kinds = ["Model", "For", "LMHead"].iter();
            kinds.any(|known| kind.starts_with(known))
        };
        let families = [
            ("Bert", BertFamily::Bert),
            ("Roberta", BertFamily::Roberta),
            ("XLMRoberta", BertFamily::XlmRoberta),
            ("DistilBert", BertFamily::DistilBert),
        ];
        let mut families = families.into_iter();
        let family = families.find(|(start, _)| name.strip_prefix(start).is_some_and(is_encoder));
        match family {
            Some((_, family)) => Ok(Some(family)),
            None => Err(ModelError::Unsupported {
                key: "architectures",
                found: name.clone(),
                supported: "BertModel, RobertaModel, XLMRobertaModel, DistilBertModel, and their \
                            classes `For…`",
            }),
        }
    }

    fn family(&self) -> Result<BertFamily, ModelError> {
        match self.model_type.as_deref() {
            // The first checkpoints have no such key.
            None => self
                .family_by_class()
                .map(|family| family.unwrap_or(BertFamily::Bert)),
            Some("bert") => Ok(BertFamily::Bert),
            Some("roberta") => Ok(BertFamily::Roberta),
            Some("xlm-roberta") => Ok(BertFamily::XlmRoberta),
            Some("distilbert") => Ok(BertFamily::DistilBert),
            Some(other) => Err(ModelError::Unsupported {
                key: "model_type",
                found: other.to_string(),
                supported: "bert, roberta, xlm-roberta, distilbert",
            }),
        }
    }
}

/// Absent keys that do not determine the shape get the defaults of `transformers`.
impl TryFrom<HuggingFaceConfig> for BertConfig {
    type Error = ModelError;

    fn try_from(keys: HuggingFaceConfig) -> Result<Self, ModelError> {
        let family = keys.checked_family()?;
        let required = |value: Option<usize>, key| {
            let model_type = family.name();
            value.ok_or(ModelError::MissingKey { model_type, key })
        };
        if let Some(kind) = keys
            .position_embedding_type
            .filter(|kind| kind != "absolute")
        {
            return Err(ModelError::Unsupported {
                key: "position_embedding_type",
                found: kind,
                supported: "absolute",
            });
        }
        let base = BertConfig::base(required(keys.vocab_size, "vocab_size")?);
        let shared = BertConfig {
            family,
            max_position_embeddings: required(
                keys.max_position_embeddings,
                "max_position_embeddings",
            )?,
            initializer_range: keys.initializer_range.unwrap_or(base.initializer_range),
            pad_token_id: keys
                .pad_token_id
                .unwrap_or(usize::from(family.counts_after_padding())),
            ..base
        };
        let (bert, distilbert) = (keys.bert, keys.distilbert);
        let config = if family == BertFamily::DistilBert {
            BertConfig {
                hidden_size: required(distilbert.dim, "dim")?,
                num_hidden_layers: required(distilbert.n_layers, "n_layers")?,
                num_attention_heads: required(distilbert.n_heads, "n_heads")?,
                intermediate_size: required(distilbert.hidden_dim, "hidden_dim")?,
                hidden_act: activation("activation", distilbert.activation)?,
                hidden_dropout_prob: distilbert.dropout.unwrap_or(0.1),
                attention_probs_dropout_prob: distilbert.attention_dropout.unwrap_or(0.1),
                type_vocab_size: 0,
                sinusoidal_pos_embds: distilbert.sinusoidal_pos_embds.unwrap_or(false),
                ..shared
            }
        } else {
            BertConfig {
                hidden_size: required(bert.hidden_size, "hidden_size")?,
                num_hidden_layers: required(bert.num_hidden_layers, "num_hidden_layers")?,
                num_attention_heads: required(bert.num_attention_heads, "num_attention_heads")?,
                intermediate_size: required(bert.intermediate_size, "intermediate_size")?,
                hidden_act: activation("hidden_act", bert.hidden_act)?,
                hidden_dropout_prob: bert.hidden_dropout_prob.unwrap_or(0.1),
                attention_probs_dropout_prob: bert.attention_probs_dropout_prob.unwrap_or(0.1),
                type_vocab_size: bert.type_vocab_size.unwrap_or(2),
                layer_norm_eps: bert.layer_norm_eps.unwrap_or(1e-12),
                ..shared
            }
        };
        config.validate()?;
        Ok(config)
    }
}

impl From<BertConfig> for HuggingFaceConfig {
    fn from(config: BertConfig) -> Self {
        let activation = Some(config.hidden_act.name().to_string());
        let shared = Self {
            model_type: Some(config.family.name().to_string()),
            vocab_size: Some(config.vocab_size),
            max_position_embeddings: Some(config.max_position_embeddings),
            initializer_range: Some(config.initializer_range),
            pad_token_id: Some(config.pad_token_id),
            ..Self::default()
        };
        if config.family == BertFamily::DistilBert {
            let distilbert = DistilBertSpelling {
                dim: Some(config.hidden_size),
                n_layers: Some(config.num_hidden_layers),
                n_heads: Some(config.num_attention_heads),
                hidden_dim: Some(config.intermediate_size),
                activation,
                dropout: Some(config.hidden_dropout_prob),
                attention_dropout: Some(config.attention_probs_dropout_prob),
                sinusoidal_pos_embds: Some(config.sinusoidal_pos_embds),
            };
            return Self {
                distilbert,
                ..shared
            };
        }
        let bert = BertSpelling {
            hidden_size: Some(config.hidden_size),
            num_hidden_layers: Some(config.num_hidden_layers),
            num_attention_heads: Some(config.num_attention_heads),
            intermediate_size: Some(config.intermediate_size),
            hidden_act: activation,
            hidden_dropout_prob: Some(config.hidden_dropout_prob),
            attention_probs_dropout_prob: Some(config.attention_probs_dropout_prob),
            type_vocab_size: Some(config.type_vocab_size),
            layer_norm_eps: Some(config.layer_norm_eps),
        };
        Self { bert, ..shared }
    }
}

fn activation(key: &'static str, name: Option<String>) -> Result<Activation, ModelError> {
    let Some(name) = name else {
        return Ok(Activation::Gelu);
    };
    Activation::from_name(&name).ok_or(ModelError::Unsupported {
        key,
        found: name,
        supported: "gelu, gelu_new, gelu_pytorch_tanh, relu",
    })
}
