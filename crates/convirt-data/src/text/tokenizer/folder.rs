//! Conversion of vocabulary files into the format of `tokenizer.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokenizers::AddedToken;
use tokenizers::normalizers::BertNormalizer;

use super::added_tokens::{AddedTokens, Listed};
use super::file::{invalid, json_file, text_file};
use super::settings::{Role, Settings};
use crate::text::error::TokenizerError;
use crate::text::word_pieces::CONTINUATION;

/// Largest vocabulary, in tokens; XLM-V's has 0.9 million.
const MAX_TOKENS: usize = 10_000_000;

/// Longest token, in bytes; no published vocabulary has one of a thousand.
const MAX_TOKEN_BYTES: usize = 4_096;

/// Special tokens of a tokenizer, one for each [`Role`].
pub(super) type SpecialTokens = [AddedToken; Role::ALL.len()];

/// Special tokens of BERT, in the order that a learned vocabulary begins with.
pub(super) const BERT_SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// Special tokens of RoBERTa, in the same order.
const ROBERTA_SPECIAL: [&str; 5] = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"];

/// Tokenizer classes of transformers that use `vocab.txt`, without the suffix "Fast".
const WORD_PIECE_CLASSES: [&str; 12] = [
    "BertTokenizer",
    "ConvBertTokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "FunnelTokenizer",
    "LayoutLMTokenizer",
    "LxmertTokenizer",
    "MPNetTokenizer",
    "MobileBertTokenizer",
    "PreTrainedTokenizer",
    "SqueezeBertTokenizer",
    "TokenizersBackend",
];

/// Tokenizer classes of transformers that use `vocab.json` with `merges.txt`.
const BYTE_LEVEL_CLASSES: [&str; 6] = [
    "BartTokenizer",
    "LEDTokenizer",
    "LongformerTokenizer",
    "PreTrainedTokenizer",
    "RobertaTokenizer",
    "TokenizersBackend",
];

/// Tokens with their ids.
pub(super) type Vocabulary = BTreeMap<String, u32>;

/// The tokenizer of a folder.
pub(super) struct Source {
    /// The tokenizer in the format of `tokenizer.json`.
    pub(super) tokenizer: Value,
    pub(super) settings: Settings,
    /// The file of the vocabulary.
    pub(super) path: PathBuf,
}

/// Reads the tokenizer of `folder` from the first supported format found.
pub(super) fn read(folder: &Path, do_lower_case: Option<bool>) -> Result<Source, TokenizerError> {
    let settings = Settings::read(folder)?;
    let do_lower_case = do_lower_case.or(settings.flag("do_lower_case")?);
    let [whole, words, pairs, merges] =
        ["tokenizer.json", "vocab.txt", "vocab.json", "merges.txt"].map(|name| folder.join(name));

    let special = |usual: SpecialTokens| {
        let mut usual = usual.into_iter();
        Role::ALL.map(|role| settings.token_or(role, usual.next().expect("one for each role")))
    };
    let (mut tokenizer, path) = if whole.exists() {
        let mut tokenizer = Value::Object(json_file(&whole)?);
        check_whole(&tokenizer, &whole)?;
        let chinese = settings.flag("tokenize_chinese_chars")?;
        for (key, flag) in [
            ("lowercase", do_lower_case),
            ("strip_accents", settings.flag("strip_accents")?),
            ("handle_chinese_chars", chinese),
        ] {
            set_flag(&mut tokenizer["normalizer"], "BertNormalizer", key, flag);
        }
        let flag = settings.flag("add_prefix_space")?;
        set_flag(
            &mut tokenizer["pre_tokenizer"],
            "ByteLevel",
            "add_prefix_space",
            flag,
        );
        (tokenizer, whole)
    } else if words.exists() {
        check_class(&settings, &WORD_PIECE_CLASSES, folder)?;
        let normalizer = BertNormalizer::new(
            true,
            settings.flag("tokenize_chinese_chars")?.unwrap_or(true),
            settings.flag("strip_accents")?,
            do_lower_case.unwrap_or(true),
        );
        let special = special(bert_special());
        (word_piece(&lines(&words)?, &normalizer, &special), words)
    } else if pairs.exists() && merges.exists() {
        check_class(&settings, &BYTE_LEVEL_CLASSES, folder)?;
        let add_prefix_space = settings.flag("add_prefix_space")?.unwrap_or(false);
        let vocabulary: Vocabulary = json_file(&pairs)?;
        let entries = vocabulary
            .iter()
            .map(|(token, id)| (&**token, u64::from(*id)));
        check_tokens(entries, &pairs)?;
        let merges = merge_rules(&merges)?;
        let special = special(roberta_special());
        (
            byte_level(&vocabulary, &merges, add_prefix_space, &special),
            pairs,
        )
    } else {
        return Err(TokenizerError::NoTokenizer {
            folder: folder.into(),
            looked_for: vec!["tokenizer.json", "vocab.txt", "vocab.json with merges.txt"],
        });
    };
    AddedTokens::read(folder, &settings)?.add_to(&mut tokenizer)?;
    Ok(Source {
        tokenizer,
        settings,
        path,
    })
}

/// Returns the special tokens of BERT with default settings.
pub(super) fn bert_special() -> SpecialTokens {
    BERT_SPECIAL.map(|name| AddedToken::from(name, true))
}

/// Returns the special tokens of RoBERTa with default settings; its mask includes the space before
/// it.
fn roberta_special() -> SpecialTokens {
    ROBERTA_SPECIAL.map(|name| AddedToken::from(name, true).lstrip(name == "<mask>"))
}

/// Rejects a tokenizer class that does not match the files, since its ids would differ.
fn check_class(settings: &Settings, classes: &[&str], folder: &Path) -> Result<(), TokenizerError> {
    let class = settings.get("tokenizer_class").and_then(Value::as_str);
    let class = class.map(|class| class.strip_suffix("Fast").unwrap_or(class));
    match class.filter(|class| !classes.contains(class)) {
        None => Ok(()),
        Some(class) => Err(invalid(
            &folder.join("tokenizer_config.json"),
            format!(
                "a {class} is read from tokenizer.json only, which transformers writes \
                 (`AutoTokenizer.from_pretrained(…).save_pretrained(…)`)"
            ),
        )),
    }
}

/// Describes BERT's tokenizer, without the special tokens around a text.
pub(super) fn word_piece(
    vocabulary: &Vocabulary,
    normalizer: &BertNormalizer,
    special: &SpecialTokens,
) -> Value {
    json!({
        "version": "1.0",
        "added_tokens": special_tokens(special, vocabulary),
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": normalizer.clean_text,
            "handle_chinese_chars": normalizer.handle_chinese_chars,
            "strip_accents": normalizer.strip_accents,
            "lowercase": normalizer.lowercase,
        },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": null,
        "decoder": { "type": "WordPiece", "prefix": CONTINUATION, "cleanup": true },
        "model": {
            "type": "WordPiece",
            "unk_token": special[Role::Unknown as usize].content,
            "continuing_subword_prefix": CONTINUATION,
            "max_input_chars_per_word": super::MAX_WORD_LENGTH,
            "vocab": vocabulary,
        },
    })
}

/// Describes RoBERTa's tokenizer, without the special tokens around a text.
fn byte_level(
    vocabulary: &Vocabulary,
    merges: &[String],
    add_prefix_space: bool,
    special: &SpecialTokens,
) -> Value {
    let bytes = json!({
        "type": "ByteLevel",
        "add_prefix_space": add_prefix_space,
        "trim_offsets": true,
        "use_regex": true,
    });
    json!({
        "version": "1.0",
        "added_tokens": special_tokens(special, vocabulary),
        "normalizer": null,
        "pre_tokenizer": bytes,
        "post_processor": null,
        "decoder": bytes,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": false,
            "byte_fallback": false,
            "vocab": vocabulary,
            "merges": merges,
        },
    })
}

/// Lists the special tokens that the vocabulary contains, so that they are not split into parts.
fn special_tokens(special: &SpecialTokens, vocabulary: &Vocabulary) -> Vec<Listed> {
    let listed = special.iter().filter_map(|token| {
        let id = *vocabulary.get(&token.content)?;
        let token = token.clone();
        Some(Listed { id, token })
    });
    let mut listed: Vec<_> = listed.collect();
    listed.sort_by_key(|it| it.id);
    listed
}

/// Sets a flag of a normalizer or pre-tokenizer if it is of this kind, or of such parts of a
/// sequence, as transformers does with the flags of `tokenizer_config.json`.
fn set_flag(stage: &mut Value, kind: &str, key: &str, flag: Option<bool>) {
    let Some(value) = flag else { return };
    if stage["type"] == kind {
        stage[key] = value.into();
    } else if stage["type"] == "Sequence" {
        for list in ["normalizers", "pretokenizers"] {
            let parts = stage.get_mut(list).and_then(Value::as_array_mut);
            for part in parts.into_iter().flatten() {
                set_flag(part, kind, key, flag);
            }
        }
    }
}

/// Checks the vocabulary of a `tokenizer.json` of any model.
fn check_whole(tokenizer: &Value, path: &Path) -> Result<(), TokenizerError> {
    let id = |id: &Value| id.as_u64().unwrap_or(0);
    let added = tokenizer["added_tokens"].as_array().into_iter().flatten();
    let added = added.map(|it| (it["content"].as_str().unwrap_or(""), id(&it["id"])));
    check_tokens(added, path)?;
    match &tokenizer["model"]["vocab"] {
        Value::Object(ids) => check_tokens(ids.iter().map(|(token, it)| (&**token, id(it))), path),
        Value::Array(pieces) => {
            let length = |it: &Value| it[0].as_str().unwrap_or("").len();
            let long = pieces
                .iter()
                .position(|piece| length(piece) > MAX_TOKEN_BYTES);
            let ids = long.or((pieces.len() > MAX_TOKENS).then_some(MAX_TOKENS));
            let token = ids.map(|id| (pieces[id][0].as_str().unwrap_or(""), id as u64));
            check_tokens(token.into_iter(), path)
        }
        _ => Ok(()),
    }
}

/// Rejects tokens that are too long, and ids that would require too large an embedding table.
fn check_tokens<'a>(
    mut tokens: impl Iterator<Item = (&'a str, u64)>,
    path: &Path,
) -> Result<(), TokenizerError> {
    let invalid_token =
        tokens.find(|(token, id)| token.len() > MAX_TOKEN_BYTES || *id >= MAX_TOKENS as u64);
    match invalid_token {
        None => Ok(()),
        Some((token, id)) => {
            let bytes = token.len();
            let problem = format!(
                "token {id} has {bytes} bytes; tokens have {MAX_TOKEN_BYTES} at the most, and numbers \
                 below {MAX_TOKENS}"
            );
            Err(invalid(path, problem))
        }
    }
}

/// Reads one token from each line, without trailing whitespace; of equal tokens the last counts, as
/// in Hugging Face's reader.
fn lines(path: &Path) -> Result<Vocabulary, TokenizerError> {
    let text = text_file(path)?;
    let lines = text.strip_suffix('\n').unwrap_or(&text).split('\n');
    let tokens = lines.map(str::trim_end);
    check_tokens(tokens.clone().zip(0..), path)?;
    Ok(tokens.map(String::from).zip(0..).collect())
}

/// Reads the merge rules of BPE, in order.
fn merge_rules(path: &Path) -> Result<Vec<String>, TokenizerError> {
    let text = text_file(path)?;
    let rules = text.lines().enumerate().filter(|(i, line)| {
        let is_version = *i == 0 && line.starts_with("#version");
        !is_version && !line.trim().is_empty()
    });
    rules
        .map(|(i, line)| match line.split(' ').count() {
            2 => Ok(line.to_owned()),
            _ => Err(invalid(path, format!("line {}: no pair: `{line}`", i + 1))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::files::FileError;
    use crate::text::tokenizer::ReportTokenizer;

    /// The byte-level letters of "lung" and " lung" as in RoBERTa, and all merges to "Ġlung".
    const ROBERTA_VOCABULARY: &str = r#"{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "l": 4,
        "u": 5, "n": 6, "g": 7, "Ġ": 8, "ng": 9, "ung": 10, "lung": 11, "Ġlung": 12, "<mask>": 13}"#;
    const ROBERTA_MERGES: &str = "#version: 0.2\nn g\nu ng\nl ung\nĠ lung\n";

    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    fn ids(files: &[(&str, &str)], text: &str) -> Vec<u32> {
        let tokenizer = ReportTokenizer::from_folder(folder(files).path(), None).unwrap();
        tokenizer.encode(text, 99).unwrap().ids
    }

    fn error(files: &[(&str, &str)]) -> TokenizerError {
        ReportTokenizer::from_folder(folder(files).path(), None).unwrap_err()
    }

    #[test]
    fn a_roberta_vocabulary_is_read_with_its_merges() {
        let files = [
            ("vocab.json", ROBERTA_VOCABULARY),
            ("merges.txt", ROBERTA_MERGES),
        ];
        assert_eq!(ids(&files, "lung lung"), [0, 11, 12, 2]);
        assert_eq!(ids(&files, "lun <mask>g"), [0, 4, 5, 6, 13, 7, 2]);
        let tokenizer = ReportTokenizer::from_folder(folder(&files).path(), Some(true)).unwrap();
        assert_eq!((tokenizer.pad_id(), tokenizer.vocab_size()), (1, 14));

        let mask = r#"{"mask_token": {"content": "<mask>", "lstrip": false}}"#;
        let flagged = [files[0], files[1], ("special_tokens_map.json", mask)];
        assert_eq!(ids(&flagged, "lun <mask>g"), [0, 4, 5, 6, 8, 13, 7, 2]);
        let added = [files[0], files[1], ("added_tokens.json", r#"{"___": 14}"#)];
        assert_eq!(ids(&added, "lung ___lung"), [0, 11, 8, 14, 11, 2]);

        let spaced = [
            files[0],
            files[1],
            ("tokenizer_config.json", r#"{"add_prefix_space": true}"#),
        ];
        assert_eq!(ids(&spaced, "lung"), [0, 12, 2]);
    }

    /// The ids are those of Python's `tokenizers`.
    #[test]
    fn the_pieces_of_xlm_roberta_are_read() {
        let special = ["<s>", "<pad>", "</s>", "<unk>"];
        let added = special.iter().enumerate().map(|(id, content)| {
            json!({
                "id": id, "content": content, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true,
            })
        });
        let pieces = [
            ("▁heart", -2.0),
            ("▁", -3.0),
            ("h", -5.0),
            ("eart", -5.0),
            ("s", -4.0),
        ];
        let vocabulary = special.iter().map(|token| (*token, 0.0)).chain(pieces);
        let tokenizer = json!({
            "version": "1.0",
            "added_tokens": added.collect::<Vec<_>>(),
            "normalizer": null,
            "pre_tokenizer": {
                "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true,
            },
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [
                    { "SpecialToken": { "id": "<s>", "type_id": 0 } },
                    { "Sequence": { "id": "A", "type_id": 0 } },
                    { "SpecialToken": { "id": "</s>", "type_id": 0 } },
                ],
                "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }],
                "special_tokens": {
                    "<s>": { "id": "<s>", "ids": [0], "tokens": ["<s>"] },
                    "</s>": { "id": "</s>", "ids": [2], "tokens": ["</s>"] },
                },
            },
            "decoder": null,
            "model": {
                "type": "Unigram", "unk_id": 3, "vocab": vocabulary.collect::<Vec<_>>(),
            },
        });
        let files = [("tokenizer.json", &*tokenizer.to_string())];
        assert_eq!(ids(&files, "No hearts heart"), [0, 5, 3, 4, 8, 4, 2]);
        let tokenizer = ReportTokenizer::from_folder(folder(&files).path(), None).unwrap();
        assert_eq!((tokenizer.pad_id(), tokenizer.vocab_size()), (1, 9));
    }

    #[test]
    fn settings_of_a_vocabulary_apply() {
        let vocabulary = "<fill>\n[UNK]\n[CLS]\n[SEP]\nHeart\nheart\n";
        let settings = r#"{"do_lower_case": false, "pad_token": {"content": "<fill>"}}"#;
        let files = [
            ("vocab.txt", vocabulary),
            ("tokenizer_config.json", settings),
        ];
        assert_eq!(ids(&files, "Heart"), [2, 4, 3]);
        let folder = folder(&files);
        let lower = ReportTokenizer::from_folder(folder.path(), Some(true)).unwrap();
        assert_eq!(lower.encode("Heart", 9).unwrap().ids, [2, 5, 3]);
    }

    /// As in transformers 5.24.
    #[test]
    fn settings_of_a_whole_tokenizer_apply() {
        let numbered = |tokens: &[&str]| -> Vocabulary {
            let tokens = tokens.iter().map(ToString::to_string);
            tokens.zip(0..).collect()
        };
        let words = numbered(&[&BERT_SPECIAL[..], &["cafe", "café", "心"]].concat());
        let normalizer = BertNormalizer::new(true, true, None, true);
        let words = word_piece(&words, &normalizer, &bert_special()).to_string();
        let bytes = numbered(&[&ROBERTA_SPECIAL[..], &["h", "Ġ"]].concat());
        let bytes = byte_level(&bytes, &[], false, &roberta_special()).to_string();
        for (whole, settings, text, expected) in [
            (&words, "{}", "Café 心心", &[2, 5, 7, 7, 3][..]),
            (&words, r#"{"strip_accents": false}"#, "Café", &[2, 6, 3]),
            (
                &words,
                r#"{"tokenize_chinese_chars": false}"#,
                "心心",
                &[2, 1, 3],
            ),
            (&bytes, "{}", "h", &[2, 5, 3]),
            (&bytes, r#"{"add_prefix_space": true}"#, "h", &[2, 6, 5, 3]),
        ] {
            let files = [
                ("tokenizer.json", &**whole),
                ("tokenizer_config.json", settings),
            ];
            assert_eq!(ids(&files, text), expected, "{settings}");
        }
    }

    #[test]
    fn windows_line_ends_are_not_part_of_a_token() {
        let vocabulary = "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\nheart\r\n";
        assert_eq!(ids(&[("vocab.txt", vocabulary)], "heart"), [2, 4, 3]);
    }

    /// The ids are those of BertTokenizer of transformers 5.23.
    #[test]
    fn trailing_whitespace_is_not_part_of_a_token() {
        let vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nheart\nheart \nlung\t\n";
        let files = [("vocab.txt", vocabulary)];
        assert_eq!(ids(&files, "heart lung"), [2, 5, 6, 3]);
    }

    #[test]
    fn a_folder_in_place_of_a_file_is_an_error_that_names_it() {
        for name in ["vocab.txt", "added_tokens.json", "special_tokens_map.json"] {
            let folder = folder(&[("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n")]);
            let path = folder.path().join(name);
            if path.is_file() {
                fs::remove_file(&path).unwrap();
            }
            fs::create_dir(&path).unwrap();
            let error = ReportTokenizer::from_folder(folder.path(), None).unwrap_err();
            assert!(
                matches!(error, TokenizerError::File(FileError::Read { .. })),
                "{error}"
            );
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_a_token_or_of_settings() {
        let vocabulary = "\u{feff}[PAD]\n[UNK]\n[CLS]\n[SEP]\nHeart\n";
        let settings = "\u{feff}{\"do_lower_case\": false}";
        let files = [
            ("vocab.txt", vocabulary),
            ("tokenizer_config.json", settings),
        ];
        assert_eq!(ids(&files, "Heart [PAD]"), [2, 4, 0, 3]);
    }

    #[test]
    fn tokenizers_of_other_classes_are_rejected_by_name() {
        let vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nheart\n";
        let settings = |class: &str| format!("{{\"tokenizer_class\": \"{class}\"}}");
        let other = settings("BertJapaneseTokenizer");
        let error = error(&[("tokenizer_config.json", &other), ("vocab.txt", vocabulary)]);
        let error = error.to_string();
        assert!(error.contains("a BertJapaneseTokenizer"), "{error}");
        for class in ["BertTokenizer", "DistilBertTokenizerFast"] {
            let same = settings(class);
            let files = [("tokenizer_config.json", &*same), ("vocab.txt", vocabulary)];
            assert_eq!(ids(&files, "heart"), [2, 4, 3], "{class}");
        }
    }

    #[test]
    fn padding_and_truncation_of_a_file_are_ignored() {
        let vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"].map(String::from);
        let vocabulary = vocabulary.into_iter().zip(0..).collect();
        let mut tokenizer = word_piece(&vocabulary, &BertNormalizer::default(), &bert_special());
        tokenizer["padding"] = json!({
            "strategy": { "Fixed": 128 }, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]",
        });
        tokenizer["truncation"] = json!({
            "direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0,
        });
        let files = [("tokenizer.json", &*tokenizer.to_string())];
        assert_eq!(ids(&files, "a a a a"), [2, 4, 4, 4, 4, 3]);
    }

    #[test]
    fn each_special_token_that_is_missing_is_named() {
        let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];
        for missing in special {
            let vocabulary: Vec<_> = special.into_iter().filter(|&t| t != missing).collect();
            let error = error(&[("vocab.txt", &vocabulary.join("\n"))]);
            assert!(
                matches!(error, TokenizerError::MissingSpecialToken { .. }),
                "{error}"
            );
            assert!(error.to_string().contains(missing), "{error}");
            assert!(error.to_string().contains("vocab.txt"), "{error}");
        }
        assert!(matches!(
            error(&[("vocab.txt", "")]),
            TokenizerError::MissingSpecialToken { .. }
        ));
    }

    #[test]
    fn a_folder_without_a_tokenizer_is_an_error_with_the_accepted_files() {
        for files in [&[][..], &[("vocab.json", ROBERTA_VOCABULARY)]] {
            let message = error(files).to_string();
            for name in ["tokenizer.json", "vocab.txt", "vocab.json with merges.txt"] {
                assert!(message.contains(name), "{message}");
            }
        }
        let nowhere = ReportTokenizer::from_folder(Path::new("nowhere"), None).unwrap_err();
        assert!(nowhere.to_string().starts_with("nowhere: "), "{nowhere}");
    }

    #[test]
    fn too_long_tokens_are_rejected_with_their_number() {
        let long = "x".repeat(MAX_TOKEN_BYTES + 1);
        let lines = format!("[PAD]\n[UNK]\n[CLS]\n[SEP]\n{long}\n");
        let pairs = r#"{"<s>": 0, "a": 4000000000}"#;
        let whole = |vocabulary: &str, added: &str| {
            format!(r#"{{"added_tokens": [{added}], "model": {{"vocab": {vocabulary}}}}}"#)
        };
        let of_words = whole(&format!(r#"{{"{long}": 4}}"#), "");
        let of_pieces = whole(&format!(r#"[["a", 0.0], ["{long}", 0.0]]"#), "");
        let of_added = whole("{}", r#"{"id": 4000000000, "content": "a"}"#);
        for (files, number) in [
            (&[("vocab.txt", &*lines)][..], "token 4 has 4097 bytes"),
            (
                &[("vocab.json", pairs), ("merges.txt", "")],
                "token 4000000000",
            ),
            (&[("tokenizer.json", &*of_words)], "token 4 has 4097 bytes"),
            (&[("tokenizer.json", &*of_pieces)], "token 1 has 4097 bytes"),
            (&[("tokenizer.json", &*of_added)], "token 4000000000"),
        ] {
            let error = error(files);
            assert!(error.to_string().contains(files[0].0), "{error}");
            assert!(error.to_string().contains(number), "{error}");
        }
    }

    #[test]
    fn broken_files_are_errors_that_name_the_file() {
        for files in [
            &[("tokenizer.json", "{")][..],
            &[("tokenizer.json", "{}")],
            &[("tokenizer.json", "[]")],
            &[("tokenizer.json", "null")],
            &[("tokenizer_config.json", "[]"), ("vocab.txt", "[PAD]")],
            &[
                ("tokenizer_config.json", r#"{"do_lower_case": "False"}"#),
                ("vocab.txt", "[PAD]"),
            ],
            &[
                ("merges.txt", "a b c\n"),
                ("vocab.json", ROBERTA_VOCABULARY),
            ],
            &[("vocab.json", "[1]"), ("merges.txt", "")],
        ] {
            let error = error(files);
            assert!(matches!(error, TokenizerError::Invalid { .. }), "{error}");
            assert!(error.to_string().contains(files[0].0), "{error}");
        }
    }
}
