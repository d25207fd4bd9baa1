//! Where the text encoder and its vocabulary come from.

use std::path::PathBuf;

use convirt_data::{FileError, ReportTokenizer, read_regular_text};
use convirt_model::BertConfig;

use crate::config::{Config, ScratchTextConfig};
use crate::error::Error;
use crate::inference::InferenceError;
use crate::json_file::MAX_JSON;
use crate::weights::{WeightsKind, located};

/// A text encoder to be initialized: its shape, vocabulary and weights.
pub(crate) struct TextTower {
    pub config: BertConfig,
    pub tokenizer: ReportTokenizer,
    /// Folder of a pretrained encoder; `None` starts from scratch.
    pub weights: Option<PathBuf>,
}

impl TextTower {
    /// The tower that `model.bert_base_model` names: a folder, a model of the hub, or `scratch`
    /// with a vocabulary trained on `texts`. Of an earlier run's weights the vocabulary stays.
    pub fn new<'a>(
        config: &Config,
        texts: impl Iterator<Item = &'a str>,
        vocabulary: Option<ReportTokenizer>,
    ) -> Result<Self, Error> {
        let model = &config.model;
        let mut tower = match model.text_is_from_scratch() {
            true => {
                let shape = &model.text_from_scratch;
                let lower_case = model.lower_cases_from_scratch();
                let learned = || ReportTokenizer::train(texts, shape.vocab_size, lower_case);
                Self::from_scratch(shape, vocabulary.map_or_else(learned, Ok)?)
            }
            false => {
                let key = "model.bert_base_model";
                let folder = located(key, &model.bert_base_model, WeightsKind::TextEncoder)?;
                let own = || ReportTokenizer::from_folder(&folder, model.do_lower_case);
                let vocabulary = vocabulary.map_or_else(own, Ok)?;
                Self::from_folder(folder, vocabulary)?
            }
        };
        if let Some(dropout) = model.dropout {
            tower.config.hidden_dropout_prob = dropout;
            tower.config.attention_probs_dropout_prob = dropout;
        }
        Ok(tower)
    }

    fn from_scratch(shape: &ScratchTextConfig, tokenizer: ReportTokenizer) -> Self {
        Self {
            config: BertConfig {
                hidden_size: shape.hidden_size,
                num_hidden_layers: shape.layers,
                num_attention_heads: shape.heads,
                intermediate_size: shape.intermediate_size,
                max_position_embeddings: shape.max_tokens,
                pad_token_id: tokenizer.pad_id() as usize,
                ..BertConfig::base(tokenizer.vocab_size())
            },
            tokenizer,
            weights: None,
        }
    }

    /// The pretrained tower of a folder, with a vocabulary of its own or an earlier run's.
    pub fn from_folder(folder: PathBuf, tokenizer: ReportTokenizer) -> Result<Self, Error> {
        let description = folder.join("config.json");
        let json =
            read_regular_text(&description, MAX_JSON).map_err(FileError::read(&description))?;
        let tower = Self {
            config: BertConfig::parse(&json).map_err(|cause| {
                InferenceError::InvalidDescription {
                    path: description,
                    cause,
                }
            })?,
            tokenizer,
            weights: Some(folder.clone()),
        };
        let (words, rows) = (tower.tokenizer.vocab_size(), tower.config.vocab_size);
        match words <= rows {
            true => Ok(tower),
            false => Err(InferenceError::VocabularyTooLarge {
                folder,
                words,
                rows,
            }
            .into()),
        }
    }
}
