//! What `tokenizer_config.json` says beside the vocabulary.

use std::path::Path;

use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use crate::DataError;

/// Settings that a saved tokenizer takes over from the one it was read from.
const KEPT: [&str; 3] = [
    "clean_up_tokenization_spaces",
    "model_input_names",
    "model_max_length",
];

/// The content of `tokenizer_config.json`; empty where there is no such file.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    json: Map<String, Value>,
}

/// What a special token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Fills shorter texts.
    Pad,
    /// Begins a text.
    Begin,
    /// Ends a text.
    End,
    /// Stands for what the vocabulary cannot spell.
    Unknown,
    /// Hides a token in pretraining; unused here, written for other programs.
    Mask,
}

impl Role {
    const ALL: [Self; 5] = [Self::Pad, Self::Begin, Self::End, Self::Unknown, Self::Mask];

    fn key(self) -> &'static str {
        match self {
            Self::Pad => "pad_token",
            Self::Begin => "cls_token",
            Self::End => "sep_token",
            Self::Unknown => "unk_token",
            Self::Mask => "mask_token",
        }
    }

    /// Names in BERT's and in RoBERTa's vocabularies.
    fn usual_names(self) -> [&'static str; 2] {
        match self {
            Self::Pad => ["[PAD]", "<pad>"],
            Self::Begin => ["[CLS]", "<s>"],
            Self::End => ["[SEP]", "</s>"],
            Self::Unknown => ["[UNK]", "<unk>"],
            Self::Mask => ["[MASK]", "<mask>"],
        }
    }
}

impl Settings {
    pub(super) fn new(json: Map<String, Value>) -> Self {
        Self { json }
    }

    /// Returns a setting that is on or off.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.json.get(key).and_then(Value::as_bool)
    }

    /// Returns the special token of a role and its id, by the name that the settings give it or
    /// else by a usual one; `path` is where the vocabulary comes from.
    pub(super) fn find(
        &self,
        role: Role,
        tokenizer: &Tokenizer,
        path: &Path,
    ) -> Result<(String, u32), DataError> {
        let given = self.name(role);
        let names = given.map_or(role.usual_names().to_vec(), |name| vec![name]);
        let found = names
            .iter()
            .find_map(|&name| Some((name.to_owned(), tokenizer.token_to_id(name)?)));
        found.ok_or_else(|| DataError::MissingSpecialToken {
            path: path.into(),
            token: names.join(" or "),
        })
    }

    /// Writes the settings for a tokenizer that is saved as `tokenizer.json`.
    pub(super) fn to_json(&self, tokenizer: &Tokenizer) -> Value {
        let mut json = json!({ "tokenizer_class": "PreTrainedTokenizerFast" });
        for role in Role::ALL {
            if let Ok((name, _)) = self.find(role, tokenizer, Path::new("")) {
                json[role.key()] = name.into();
            }
        }
        for key in KEPT {
            if let Some(value) = self.json.get(key) {
                json[key] = value.clone();
            }
        }
        json
    }

    /// Returns the name of a role's token: a string, or an object with its `content`.
    fn name(&self, role: Role) -> Option<&str> {
        let token = self.json.get(role.key())?;
        token.as_str().or_else(|| token.get("content")?.as_str())
    }
}
