//! The settings in `tokenizer_config.json` and `special_tokens_map.json`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokenizers::{AddedToken, Tokenizer};

use super::file::{invalid, json_file};
use crate::text::error::TokenizerError;

/// The key of `tokenizer_config.json` that lists all added tokens.
pub(super) const DECODER: &str = "added_tokens_decoder";

/// Settings that are copied when a tokenizer is saved.
const COPIED_SETTINGS: [&str; 3] = [
    "clean_up_tokenization_spaces",
    "model_input_names",
    "model_max_length",
];

/// Keys of the named special tokens.
const TOKEN_KEYS: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// Keys of lists of special tokens.
const TOKEN_LIST_KEYS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];

/// The merged content of both files; empty if they do not exist.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    json: Map<String, Value>,
    /// Path of `tokenizer_config.json`.
    path: PathBuf,
    /// Whether `special_tokens_map.json` has `additional_special_tokens`.
    has_map_list: bool,
}

/// The role of a special token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Pads shorter texts.
    Pad,
    /// Replaces words that the vocabulary cannot represent.
    Unknown,
    /// Begins a text.
    Begin,
    /// Ends a text.
    End,
    /// Masks a token in masked language modelling; unused here, but saved for other programs.
    Mask,
}

impl Role {
    /// All roles, in the order of [`bert_special`](super::folder::bert_special).
    pub(super) const ALL: [Self; 5] =
        [Self::Pad, Self::Unknown, Self::Begin, Self::End, Self::Mask];

    fn key(self) -> &'static str {
        match self {
            Self::Pad => "pad_token",
            Self::Begin => "cls_token",
            Self::End => "sep_token",
            Self::Unknown => "unk_token",
            Self::Mask => "mask_token",
        }
    }

    /// Returns the token in BERT's and in RoBERTa's vocabularies.
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
    /// Reads the settings of a folder.
    ///
    /// As in transformers, `special_tokens_map.json` takes precedence, but is ignored if
    /// `tokenizer_config.json` lists all added tokens.
    pub(super) fn read(folder: &Path) -> Result<Self, TokenizerError> {
        let object = |name: &str| match folder.join(name) {
            path if path.exists() => json_file(&path),
            _ => Ok(Map::new()),
        };
        let mut json: Map<String, Value> = object("tokenizer_config.json")?;
        let mut has_map_list = false;
        if !json.contains_key(DECODER) {
            let special: Map<String, Value> = object("special_tokens_map.json")?;
            has_map_list = special.contains_key(TOKEN_LIST_KEYS[0]);
            let is_set = |key: &str, token: &Value| !token.is_null() || key == Role::Mask.key();
            json.extend(
                special
                    .into_iter()
                    .filter(|(key, token)| is_set(key, token)),
            );
        }
        Ok(Self {
            json,
            path: folder.join("tokenizer_config.json"),
            has_map_list,
        })
    }

    /// Returns a setting.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.json.get(key)
    }

    /// Returns the special tokens, named and listed, in the order in which transformers assigns ids
    /// to those that the vocabulary lacks.
    pub(super) fn special_tokens(&self) -> Vec<AddedToken> {
        let others = self
            .json
            .iter()
            .filter(|(key, _)| key.ends_with("_token") && !TOKEN_KEYS.contains(&key.as_str()));
        let others = others.map(|(_, token)| token);
        let named = TOKEN_KEYS.iter().filter_map(|key| self.json.get(*key));
        let lists = TOKEN_LIST_KEYS.iter().filter_map(|key| self.json.get(*key));
        let items = lists.flat_map(|list| {
            let items = list.as_array().into_iter().flatten();
            items.chain(
                list.as_object()
                    .into_iter()
                    .flat_map(|named| named.values()),
            )
        });
        let all = named.chain(others).chain(items);
        all.filter_map(|token| added_token(token, true)).collect()
    }

    /// Whether a token is special only by `additional_special_tokens` in `special_tokens_map.json`.
    pub(super) fn is_additional_only(&self, content: &str) -> bool {
        let mut others = self.clone();
        others.json.retain(|key, _| key != TOKEN_LIST_KEYS[0]);
        self.has_map_list
            && others
                .special_tokens()
                .iter()
                .all(|it| it.content != content)
    }

    /// Returns the token of a role, or the usual one; the usual flags are the default.
    pub(super) fn token_or(&self, role: Role, usual: AddedToken) -> AddedToken {
        let given = self.json.get(role.key());
        if role == Role::Mask && given.is_some_and(Value::is_null) {
            // A vocabulary without a mask token: "[MASK]" is ordinary text.
            return AddedToken::default();
        }
        let described = given.filter(|token| token.is_object());
        let described = described.and_then(|token| added_token(token, true));
        described.unwrap_or_else(|| AddedToken {
            content: self.name(role).map_or(usual.content, String::from),
            ..usual
        })
    }

    /// Returns a Boolean setting, if it is set.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, TokenizerError> {
        match self.json.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => {
                let problem = format!("`{key}` is {other}; it must be true or false");
                Err(invalid(&self.path, problem))
            }
        }
    }

    /// Returns the special token of a role and its id. The token is that of the settings, or else a
    /// usual one; `path` is the file of the vocabulary, for errors.
    pub(super) fn find(
        &self,
        role: Role,
        tokenizer: &Tokenizer,
        path: &Path,
    ) -> Result<(String, u32), TokenizerError> {
        let given = self.name(role);
        let names = given.map_or(role.usual_names().to_vec(), |name| vec![name]);
        let token = names
            .iter()
            .find_map(|&name| Some((name.to_owned(), tokenizer.token_to_id(name)?)));
        token.ok_or_else(|| TokenizerError::MissingSpecialToken {
            path: path.into(),
            token: names.join(" or "),
        })
    }

    /// Returns the settings to save with a `tokenizer.json`.
    pub(super) fn to_json(&self, tokenizer: &Tokenizer) -> Value {
        let mut json = json!({ "tokenizer_class": "PreTrainedTokenizerFast" });
        for role in Role::ALL {
            if self.json.get(role.key()).is_some_and(Value::is_null) && role == Role::Mask {
                continue;
            }
            if let Ok((name, _)) = self.find(role, tokenizer, Path::new("")) {
                json[role.key()] = name.into();
            }
        }
        for key in COPIED_SETTINGS {
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

/// Reads a token: a string, or an object with its `content`. Special tokens are not normalized
/// unless the object says so.
pub(super) fn added_token(value: &Value, is_special: bool) -> Option<AddedToken> {
    let content = value.as_str().or_else(|| value.get("content")?.as_str())?;
    let flag = |key, usual| match value.get(key) {
        None | Some(Value::Null) => Some(usual),
        Some(flag) => flag.as_bool(),
    };
    let is_special = flag("special", false)? || is_special;
    let token = AddedToken::from(content, is_special);
    Some(AddedToken {
        single_word: flag("single_word", false)?,
        lstrip: flag("lstrip", false)?,
        rstrip: flag("rstrip", false)?,
        normalized: flag("normalized", token.normalized)?,
        ..token
    })
}
