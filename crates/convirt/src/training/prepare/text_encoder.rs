//! The text encoder of a configuration, with its vocabulary and weights.

use std::path::PathBuf;

use convirt_data::{FileError, ReportTokenizer, read_regular_text};
use convirt_model::BertConfig;

use crate::config::{Config, ScratchTextConfig};
use crate::error::Error;
use crate::inference::InferenceError;
use crate::json_file::MAX_JSON;
use crate::weights::{WeightsKind, locate_weights};

/// A text encoder before its initialization: configuration, tokenizer and weights.
pub(crate) struct TextTower {
    pub config: BertConfig,
    pub tokenizer: ReportTokenizer,
    /// Folder of a pretrained encoder; `None` starts from scratch.
    pub weights: Option<PathBuf>,
}

impl TextTower {
    /// Returns the text encoder that `model.bert_base_model` names: a folder, a model of the hub,
    /// or `scratch`. A `vocabulary` replaces that of the folder, or the one that would be trained
    /// on `texts`.
    pub fn new<'a>(
        config: &Config,
        texts: impl Iterator<Item = &'a str>,
        vocabulary: Option<ReportTokenizer>,
    ) -> Result<Self, Error> {
        let model = &config.model;
        let mut tower = if model.text_is_from_scratch() {
            let size = &model.text_from_scratch;
            let lower_case = model.lower_cases_from_scratch();
            let train = || ReportTokenizer::train(texts, size.vocab_size, lower_case);
            Self::from_scratch(size, vocabulary.map_or_else(train, Ok)?)
        } else {
            let key = "model.bert_base_model";
            let folder = locate_weights(key, &model.bert_base_model, WeightsKind::TextEncoder)?;
            let read = || ReportTokenizer::from_folder(&folder, model.do_lower_case);
            let vocabulary = vocabulary.map_or_else(read, Ok)?;
            Self::from_folder(folder, vocabulary)?
        };
        if let Some(dropout) = model.dropout {
            tower.config.hidden_dropout_prob = dropout;
            tower.config.attention_probs_dropout_prob = dropout;
        }
        Ok(tower)
    }

    /// Returns a text encoder without pretrained weights.
    fn from_scratch(size: &ScratchTextConfig, tokenizer: ReportTokenizer) -> Self {
        Self {
            config: BertConfig {
                hidden_size: size.hidden_size,
                num_hidden_layers: size.layers,
                num_attention_heads: size.heads,
                intermediate_size: size.intermediate_size,
                max_position_embeddings: size.max_tokens,
                pad_token_id: tokenizer.pad_id() as usize,
                ..BertConfig::base(tokenizer.vocab_size())
            },
            tokenizer,
            weights: None,
        }
    }

    /// Returns the pretrained text encoder of a folder, with the given tokenizer.
    ///
    /// # Errors
    ///
    /// - [`InferenceError::InvalidDescription`] if `config.json` is not valid
    /// - [`InferenceError::VocabularyTooLarge`] if the tokenizer has more tokens than the encoder
    /// - [`FileError::Read`] if `config.json` cannot be read
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
        if words <= rows {
            Ok(tower)
        } else {
            Err(InferenceError::VocabularyTooLarge {
                folder,
                words,
                rows,
            }
            .into())
        }
    }
}
