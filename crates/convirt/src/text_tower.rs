//! Where the text encoder and its vocabulary come from.

use std::path::{Path, PathBuf};

use convirt_data::ReportTokenizer;
use convirt_model::BertConfig;

use crate::config::Config;
use crate::error::{Error, read_error};

/// Files of a Hugging Face folder that make a text tower.
const FILES: &[&str] = &[
    "config.json",
    "model.safetensors",
    "tokenizer.json (or vocab.txt)",
];

/// A text encoder to be initialized: its shape, vocabulary and weights.
pub(crate) struct TextTower {
    pub config: BertConfig,
    pub tokenizer: ReportTokenizer,
    /// `model.safetensors` of a pretrained encoder; `None` starts from scratch.
    pub weights: Option<PathBuf>,
}

impl TextTower {
    /// The tower that `model.bert_base_model` names: a folder, or `scratch` with a vocabulary
    /// trained on `texts`.
    pub fn new<'a>(config: &Config, texts: impl Iterator<Item = &'a str>) -> Result<Self, Error> {
        let model = &config.model;
        let mut tower = match model.text_is_from_scratch() {
            true => Self::from_scratch(config, texts)?,
            false => Self::from_folder(&model.bert_base_model, model.do_lower_case)?,
        };
        if let Some(dropout) = model.dropout {
            tower.config.hidden_dropout_prob = dropout;
            tower.config.attention_probs_dropout_prob = dropout;
        }
        Ok(tower)
    }

    fn from_scratch<'a>(
        config: &Config,
        texts: impl Iterator<Item = &'a str>,
    ) -> Result<Self, Error> {
        let shape = &config.model.text_from_scratch;
        let lower_case = config.model.do_lower_case.unwrap_or(true);
        let tokenizer = ReportTokenizer::train(texts, shape.vocab_size, lower_case)?;
        Ok(Self {
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
        })
    }

    fn from_folder(name: &str, do_lower_case: Option<bool>) -> Result<Self, Error> {
        let folder = Path::new(name);
        let description = folder.join("config.json");
        let weights = folder.join("model.safetensors");
        if !description.is_file() || !weights.is_file() {
            return Err(Error::NoPretrainedText {
                name: name.to_string(),
                files: FILES,
            });
        }
        let json = std::fs::read_to_string(&description).map_err(read_error(&description))?;
        let tower = Self {
            config: BertConfig::parse(&json).map_err(|source| Error::TextConfig {
                path: description.clone(),
                source,
            })?,
            tokenizer: ReportTokenizer::from_folder(folder, do_lower_case)?,
            weights: Some(weights),
        };
        let (words, rows) = (tower.tokenizer.vocab_size(), tower.config.vocab_size);
        match words <= rows {
            true => Ok(tower),
            false => Err(Error::VocabularyTooLarge {
                folder: folder.to_path_buf(),
                words,
                rows,
            }),
        }
    }
}
