//! Tokens that a model's folder adds to its vocabulary.
//!
//! They are listed in `added_tokens_decoder` of `tokenizer_config.json` or, in older folders, in
//! `added_tokens.json`; special tokens are also listed by name. The rules are those of transformers
//! 5, except that ids which contradict the vocabulary are errors here.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::file::{invalid, json_file};
use super::settings::{DECODER, Settings, added_token};
use crate::text::error::TokenizerError;

/// A token in the format of `tokenizer.json`.
#[derive(Serialize, Deserialize)]
pub(super) struct Listed {
    pub(super) id: u32,
    #[serde(flatten)]
    pub(super) token: AddedToken,
}

/// The tokens that a folder adds to its vocabulary.
pub(super) struct AddedTokens {
    /// File that contains the ids.
    path: PathBuf,
    /// Tokens with given ids, ascending.
    numbered: Vec<(u32, AddedToken)>,
    /// Special tokens listed by name. They have their id in the vocabulary, or else the next free
    /// id.
    special: Vec<AddedToken>,
}

impl AddedTokens {
    /// Reads the added tokens of a folder with the given settings.
    pub(super) fn read(folder: &Path, settings: &Settings) -> Result<Self, TokenizerError> {
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
        } else if folder.join("added_tokens.json").exists() {
            path = folder.join("added_tokens.json");
            for (content, id) in json_file::<Map<_, _>>(&path)? {
                // As in transformers, `additional_special_tokens` has no effect on tokens of this
                // file.
                let is_additional = settings.is_additional_only(&content);
                let is_special = is_special(&content) && !is_additional;
                let token = AddedToken::from(&*content, is_special);
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

    /// Adds the tokens to a tokenizer in the format of `tokenizer.json`.
    pub(super) fn add_to(self, tokenizer: &mut Value) -> Result<(), TokenizerError> {
        // Invalid lists are reported when the whole tokenizer is read.
        let Ok(mut listed) = Vec::<Listed>::deserialize(&tokenizer["added_tokens"]) else {
            return Ok(());
        };
        let ids = ids_of_model(&tokenizer["model"]["vocab"]);
        let taken: HashSet<u32> = ids.values().copied().collect();
        let mut positions: HashMap<String, usize> = HashMap::new();
        for (position, it) in listed.iter().enumerate() {
            positions.insert(it.token.content.clone(), position);
        }
        let last = listed.iter().map(|it| it.id.saturating_add(1)).max();
        let mut next = last.unwrap_or(0).max(ids.len() as u32);

        let numbered = self.numbered.into_iter();
        let numbered = numbered.map(|(id, token)| (Some(id), token));
        let special = self.special.into_iter().map(|token| (None, token));
        let tokens = numbered.chain(special);
        for (id, token) in tokens.filter(|(_, token)| !token.content.is_empty()) {
            let content = &token.content;
            let position = positions.get(content).copied();
            let known = position.map(|position| listed[position].id);
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
            if let Some(position) = position {
                // A token with a given id also has its settings here.
                if id.is_some() {
                    listed[position].token = token;
                }
                continue;
            }
            positions.insert(content.clone(), listed.len());
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

/// Reads the vocabulary of a model in `tokenizer.json`: a map from token to id, or a list of tokens
/// with scores.
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

    use super::super::settings::DECODER;
    use crate::text::error::TokenizerError;
    use crate::text::tokenizer::ReportTokenizer;

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

    fn tokenizer(files: &[File]) -> Result<ReportTokenizer, TokenizerError> {
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
        error.to_string()
    }

    /// The ids of these tests are those of BertTokenizer of transformers 5.23.
    #[test]
    fn tokens_beside_a_vocabulary_are_tokens() {
        let added = json!({"___": 60, "CXR": 61});
        let files = [("added_tokens.json", added)];
        assert_eq!(ids(&files, "é___ cxr xCXR"), [2, 16, 60, 61, 54, 61, 3]);
        let cased = [
            files[0].clone(),
            ("tokenizer_config.json", json!({"do_lower_case": false})),
        ];
        let lower = [12, 55, 43];
        assert_eq!(
            ids(&cased, "CXR cxr"),
            [&[2, 61], &lower[..], &[3]].concat()
        );
        let special = json!({"additional_special_tokens": ["___"]});
        let special = [files[0].clone(), ("special_tokens_map.json", special)];
        assert_eq!(ids(&special, "é___ ab"), [2, 16, 60, 8, 11, 3]);
        assert_eq!(tokenizer(&files).unwrap().vocab_size(), 62);
    }

    #[test]
    fn settings_of_added_tokens_apply_and_replace_the_other_files() {
        let decoder = json!({
            "60": {"content": "ab", "single_word": true, "normalized": true},
            "61": {"content": "Cd", "normalized": false},
            "62": {"content": "<Q>", "special": true, "lstrip": true, "rstrip": true},
        });
        let files = [
            ("tokenizer_config.json", json!({ DECODER: decoder })),
            ("special_tokens_map.json", json!({"pad_token": "<fill>"})),
            ("added_tokens.json", json!({"abc": 60})),
        ];
        let tokens = ids(&files, "ab abc Cd cd a <Q> b");
        assert_eq!(tokens, [2, 60, 8, 11, 13, 61, 12, 15, 8, 62, 10, 3]);
        assert_eq!(tokenizer(&files).unwrap().pad_id(), 0);
    }

    #[test]
    fn special_tokens_are_named_by_the_map() {
        let map = json!({
            "pad_token": "<fill>",
            "unk_token": "N",
            "mask_token": {"content": "_", "lstrip": true},
            "bos_token": "<B>",
            "additional_special_tokens": ["<Q>"],
        });
        let files = [
            ("tokenizer_config.json", json!({"pad_token": "[PAD]"})),
            ("special_tokens_map.json", map),
        ];
        assert_eq!(tokenizer(&files).unwrap().pad_id(), 5);
        assert_eq!(ids(&files, "é ! <B><Q> a _"), [2, 16, 7, 60, 61, 8, 6, 3]);
    }

    #[test]
    fn special_tokens_may_have_names_of_their_own_and_no_mask() {
        let extra = json!({"extra_special_tokens": {"image_token": "<i>"}});
        let extra = [("tokenizer_config.json", extra)];
        assert_eq!(ids(&extra, "a <i> b"), [2, 8, 60, 10, 3]);
        for file in ["tokenizer_config.json", "special_tokens_map.json"] {
            let files = [(file, json!({"mask_token": null}))];
            assert_eq!(
                ids(&files, "a [MASK]"),
                [&[2, 8, 1][..], &[32, 9, 45, 29], &[1, 3]].concat()
            );
        }
    }

    /// "<deid>" in both files matches in any case: for transformers 5.23 it is not special.
    #[test]
    fn an_additional_token_with_an_id_is_not_special() {
        let files = [
            ("added_tokens.json", json!({"<deid>": 60})),
            (
                "special_tokens_map.json",
                json!({"additional_special_tokens": ["<deid>"]}),
            ),
        ];
        assert_eq!(ids(&files, "a <deid> <DEID> b"), [2, 8, 60, 60, 10, 3]);
    }

    #[test]
    fn ids_that_contradict_the_vocabulary_are_errors_that_name_the_file() {
        for (id, parts) in [
            (70, ["`___` has the id 70", "is 60"]),
            (10, ["`___` has the id 10", "is 60"]),
        ] {
            let message = error(&[("added_tokens.json", json!({"___": id}))]);
            let parts = parts.iter().chain(&["added_tokens.json"]);
            for part in parts {
                assert!(message.contains(part), "`{part}` in {message}");
            }
        }
        let message = error(&[("added_tokens.json", json!({"ab": 60, "_": 61}))]);
        assert!(message.contains("`_` has the id 61, and 6"), "{message}");
        let message = error(&[("added_tokens.json", json!({"ab": -1}))]);
        assert!(message.contains("no id of `ab`: -1"), "{message}");
        let decoder = json!({DECODER: {"60": "ab"}});
        let message = error(&[("tokenizer_config.json", decoder)]);
        assert!(message.contains("no token with an id"), "{message}");
    }

    #[test]
    fn tokens_beside_a_whole_tokenizer_are_added_to_it() {
        let folder = tempfile::tempdir().unwrap();
        tokenizer(&[]).unwrap().save(folder.path()).unwrap();
        let write = |name: &str, json: serde_json::Value| {
            fs::write(folder.path().join(name), json.to_string()).unwrap();
        };
        write("added_tokens.json", json!({"___": 60}));
        write("special_tokens_map.json", json!({"pad_token": "<fill>"}));
        let read = ReportTokenizer::from_folder(folder.path(), None).unwrap();
        assert_eq!(read.encode("é___", 9).unwrap().ids, [2, 16, 60, 3]);
        assert_eq!(read.pad_id(), 5);
    }

    #[test]
    fn an_id_that_the_reader_of_a_whole_tokenizer_would_change_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let files = [("added_tokens.json", json!({"___": 60}))];
        tokenizer(&files).unwrap().save(folder.path()).unwrap();
        let path = folder.path().join("tokenizer.json");
        let text = fs::read_to_string(&path).unwrap();
        let mut whole: serde_json::Value = serde_json::from_str(&text).unwrap();
        let added = whole["added_tokens"].as_array_mut().unwrap();
        added.last_mut().unwrap()["id"] = 75.into();
        fs::write(&path, whole.to_string()).unwrap();
        let error = ReportTokenizer::from_folder(folder.path(), None).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("`___` has the id 75"), "{error}");
    }
}
