//! Tokens that a folder adds to its vocabulary.
//!
//! They stand in `added_tokens_decoder` of `tokenizer_config.json` or, before there was one, in
//! `added_tokens.json`; the special ones also under their names. The rules are those of
//! transformers 5, but that ids which contradict the vocabulary are errors there are none for.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::folder::{invalid, json_file};
use super::settings::Settings;
use crate::DataError;

/// The key of `tokenizer_config.json`.
pub(super) const DECODER: &str = "added_tokens_decoder";

/// A token as `tokenizer.json` lists it.
#[derive(Serialize, Deserialize)]
struct Listed {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

/// The tokens that a folder adds.
pub(super) struct AddedTokens {
    /// Where the ids come from.
    path: PathBuf,
    /// By their ids, in order.
    numbered: Vec<(u32, AddedToken)>,
    /// Special tokens by their names; they have the id that the vocabulary gives them, or the next.
    special: Vec<AddedToken>,
}

impl AddedTokens {
    /// Reads those of a folder; `settings` are its own.
    pub(super) fn read(folder: &Path, settings: &Settings) -> Result<Self, DataError> {
        let special = settings.special_tokens();
        let is_special = |content: &str| special.iter().any(|token| token.content == content);
        let mut path = folder.join("tokenizer_config.json");
        let mut numbered = Vec::new();
        if let Some(decoder) = settings.get(DECODER) {
            for (id, token) in decoder.as_object().into_iter().flatten() {
                let parsed = id.parse().ok().zip(added_token(token, false));
                let (id, mut token) = parsed.filter(|_| token.is_object()).ok_or_else(|| {
                    let what = format!("`{DECODER}`: no token with an id: `{id}`: {token}");
                    invalid(&path, what)
                })?;
                token.special |= is_special(&token.content);
                numbered.push((id, token));
            }
        } else if folder.join("added_tokens.json").is_file() {
            path = folder.join("added_tokens.json");
            for (content, id) in json_file::<Map<_, _>>(&path)? {
                let token = AddedToken::from(&*content, is_special(&content));
                let number = id.as_u64().and_then(|id| u32::try_from(id).ok());
                let no_id = || invalid(&path, format!("no id of `{content}`: {id}"));
                numbered.push((number.ok_or_else(no_id)?, token));
            }
        }
        numbered.sort_by_key(|(id, _)| *id);
        Ok(Self {
            path,
            numbered,
            special,
        })
    }

    /// Lists them in a tokenizer of the form of `tokenizer.json`.
    pub(super) fn add_to(self, tokenizer: &mut Value) -> Result<(), DataError> {
        // What cannot be understood is for the reader of the whole to say.
        let Ok(mut listed) = Vec::<Listed>::deserialize(&tokenizer["added_tokens"]) else {
            return Ok(());
        };
        let ids = ids_of_model(&tokenizer["model"]["vocab"]);
        let taken: HashSet<u32> = ids.values().copied().collect();
        let mut places: HashMap<String, usize> = HashMap::new();
        for (place, it) in listed.iter().enumerate() {
            places.insert(it.token.content.clone(), place);
        }
        let last = listed.iter().map(|it| it.id.saturating_add(1)).max();
        let mut next = last.unwrap_or(0).max(ids.len() as u32);

        let numbered = self.numbered.into_iter();
        let numbered = numbered.map(|(id, token)| (Some(id), token));
        let special = self.special.into_iter().map(|token| (None, token));
        let tokens = numbered.chain(special);
        for (id, token) in tokens.filter(|(_, token)| !token.content.is_empty()) {
            let content = &token.content;
            let place = places.get(content).copied();
            let known = place.map(|place| listed[place].id);
            let known = known.or_else(|| ids.get(&**content).copied());
            let problem = match (id, known) {
                (Some(id), Some(known)) if id != known => {
                    format!("`{content}` has the id {id}, and {known} in the vocabulary")
                }
                (Some(id), None) if id != next => {
                    format!("`{content}` has the id {id}; the next after the vocabulary is {next}")
                }
                (_, None) if taken.contains(&next) => {
                    format!("`{content}` gets the id {next}, which the vocabulary has for another")
                }
                _ => String::new(),
            };
            if !problem.is_empty() {
                return Err(invalid(&self.path, problem));
            }
            if let Some(place) = place {
                // What has an id here has its settings here too.
                if id.is_some() {
                    listed[place].token = token;
                }
                continue;
            }
            places.insert(content.clone(), listed.len());
            listed.push(Listed {
                id: known.unwrap_or(next),
                token,
            });
            next += u32::from(known.is_none());
        }
        tokenizer["added_tokens"] = serde_json::to_value(listed).expect("tokens are JSON");
        Ok(())
    }
}

/// Reads a token: its content, or an object with it. Special ones are not normalized unless they
/// say so.
pub(super) fn added_token(value: &Value, is_special: bool) -> Option<AddedToken> {
    let content = value.as_str().or_else(|| value.get("content")?.as_str())?;
    let flag = |key| value.get(key).and_then(Value::as_bool);
    let is_special = is_special || flag("special") == Some(true);
    let token = AddedToken::from(content, is_special);
    Some(AddedToken {
        single_word: flag("single_word").unwrap_or(false),
        lstrip: flag("lstrip").unwrap_or(false),
        rstrip: flag("rstrip").unwrap_or(false),
        normalized: flag("normalized").unwrap_or(token.normalized),
        ..token
    })
}

/// Reads the vocabulary of a model in `tokenizer.json`: ids by token, or a list of tokens with
/// their scores.
fn ids_of_model(vocabulary: &Value) -> HashMap<&str, u32> {
    let by_token = vocabulary.as_object().into_iter().flatten();
    let by_token = by_token.filter_map(|(token, id)| Some((&**token, id.as_u64()? as u32)));
    let pieces = vocabulary.as_array().into_iter().flatten().zip(0..);
    let pieces = pieces.filter_map(|(piece, id)| Some((piece.get(0)?.as_str()?, id)));
    by_token.chain(pieces).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use crate::{DataError, ReportTokenizer};

    type File<'a> = (&'a str, serde_json::Value);

    /// 8 tokens, then 52: each letter, and the same inside a word.
    fn vocabulary() -> String {
        let special = [
            "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<fill>", "_", "N",
        ];
        let letters = ('a'..='z').flat_map(|c| [c.to_string(), format!("##{c}")]);
        let tokens: Vec<_> = special
            .map(String::from)
            .into_iter()
            .chain(letters)
            .collect();
        tokens.join("\n")
    }

    fn tokenizer(files: &[File]) -> Result<ReportTokenizer, DataError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("vocab.txt"), vocabulary()).unwrap();
        for (name, json) in files {
            fs::write(folder.path().join(name), json.to_string()).unwrap();
        }
        ReportTokenizer::from_folder(folder.path(), None)
    }

    #[track_caller]
    fn ids(files: &[File], text: &str) -> Vec<u32> {
        let tokenizer = tokenizer(files).unwrap();
        let ids = tokenizer.encode(text, 99).unwrap().ids;
        let folder = tempfile::tempdir().unwrap();
        tokenizer.save(folder.path()).unwrap();
        let saved = ReportTokenizer::from_folder(folder.path(), None).unwrap();
        assert_eq!(saved.encode(text, 99).unwrap().ids, ids, "saved");
        assert_eq!(saved.pad_id(), tokenizer.pad_id());
        ids
    }

    fn error(files: &[File]) -> String {
        let error = tokenizer(files).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", source.unwrap_or_default())
    }
}
