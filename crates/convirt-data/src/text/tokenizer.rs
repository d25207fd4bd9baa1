//! Tokenization of reports.

mod file;
mod settings;
mod added_tokens;
mod folder;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde_json::Value;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PostProcessor, PreTokenizedString,
    PreTokenizer, Tokenizer, TruncationDirection,
};

use super::word_pieces;
use crate::files::FileError;
use crate::text::error::TokenizerError;
use settings::{Role, Settings};

/// Longest word, in characters, that BERT's WordPiece tokenizes; longer ones are unknown tokens.
const MAX_WORD_LENGTH: usize = 100;

/// A text on which a tokenizer is tried.
const EXAMPLE: &str = "The lungs are clear.";

/// The same for a learned vocabulary; Thai and Khmer have no spaces within a clause.
const MAX_LEARNED_WORD_LENGTH: usize = 1000;

/// Characters of a text shown in an error.
const EXCERPT_LENGTH: usize = 60;

/// Token ids of a text, special tokens included, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Vocabulary index of each token: `[tokens]`.
    pub ids: Vec<u32>,
    /// Segment of each token, 0 for a single text: `[tokens]`.
    pub type_ids: Vec<u32>,
}

/// Turns reports into token ids, with the vocabulary and the special tokens of a text encoder.
///
/// # Examples
///
/// ```
/// use convirt_data::ReportTokenizer;
///
/// let reports = ["The lungs are clear.", "The lungs are hyperinflated."];
/// let tokenizer = ReportTokenizer::train(reports.iter(), 60, true)?;
///
/// // Every text begins with [CLS], 2, and ends with [SEP], 3, even if truncated.
/// let tokens = tokenizer.encode("The lungs are clear.", 4)?;
/// assert_eq!(tokens.ids.len(), 4);
/// assert_eq!((tokens.ids[0], tokens.ids[3]), (2, 3));
///
/// let folder = tempfile::tempdir()?;
/// tokenizer.save(folder.path())?;
/// let restored = ReportTokenizer::from_folder(folder.path(), None)?;
/// assert_eq!(restored.encode("The lungs are clear.", 4)?, tokens);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ReportTokenizer {
    tokenizer: Tokenizer,
    settings: Settings,
    pad_id: u32,
    vocab_size: usize,
    special_count: usize,
}

impl ReportTokenizer {
    /// Names of the files that [`save`](Self::save) writes.
    pub const FILES: [&str; 2] = ["tokenizer.json", "tokenizer_config.json"];

    /// Reads the tokenizer of a Hugging Face model from its folder.
    ///
    /// It reads `tokenizer.json`; or else `vocab.txt` (WordPiece, as in BERT); or else `vocab.json`
    /// with `merges.txt` (byte-level BPE, as in RoBERTa). As in transformers, it also applies
    /// `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` if present.
    /// `do_lower_case` overrides the setting of BERT's normalizer; other normalizers ignore it.
    /// Padding and truncation settings in the files are ignored: [`encode`](Self::encode)
    /// truncates, and [`collate`](crate::collate) pads.
    ///
    /// # Errors
    ///
    /// - [`TokenizerError::NoTokenizer`]: the folder has none of these files
    /// - [`FileError::Read`], [`TokenizerError::Invalid`]: a file cannot be read or is invalid
    /// - [`TokenizerError::MissingSpecialToken`]: the vocabulary lacks the token for padding, for
    ///   the beginning or end of a text, or for unknown words
    pub fn from_folder(folder: &Path, do_lower_case: Option<bool>) -> Result<Self, TokenizerError> {
        let source = folder::read(folder, do_lower_case)?;
        Self::new(source.tokenizer, source.settings, &source.path)
    }

    /// Learns a WordPiece vocabulary of at most `vocab_size` tokens from `texts`.
    ///
    /// The ids begin with `[PAD]` (0), `[UNK]`, `[CLS]`, `[SEP]` and `[MASK]`. The same texts give
    /// the same vocabulary in any order. `do_lower_case` also strips accents, as in BERT.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::NoWords`], [`TokenizerError::VocabularyTooSmall`].
    pub fn train<T: AsRef<str>>(
        texts: impl Iterator<Item = T>,
        vocab_size: usize,
        do_lower_case: bool,
    ) -> Result<Self, TokenizerError> {
        let normalizer = BertNormalizer::new(true, true, None, do_lower_case);
        let mut words = BTreeMap::new();
        for text in texts {
            let text = text.as_ref();
            count_words(text, &normalizer, &mut words)
                .map_err(|source| cannot_encode(text, source))?;
        }
        let pieces = word_pieces::learn(&words, &folder::BERT_SPECIAL, vocab_size)?;
        let vocabulary = pieces.into_iter().zip(0..).collect();
        let mut tokenizer = folder::word_piece(&vocabulary, &normalizer, &folder::bert_special());
        tokenizer["model"]["max_input_chars_per_word"] = MAX_LEARNED_WORD_LENGTH.into();
        Self::new(
            tokenizer,
            Settings::default(),
            Path::new("learned vocabulary"),
        )
    }

    /// Tokenizes a text into at most `max_tokens` ids.
    ///
    /// These include the special tokens at the beginning and end. A text that is too long is
    /// truncated before its closing special token.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::NoRoomForText`] when the special tokens alone are `max_tokens` or more;
    /// [`TokenizerError::Encode`].
    pub fn encode(&self, text: &str, max_tokens: usize) -> Result<Tokens, TokenizerError> {
        let special = self.special_count;
        if max_tokens <= special {
            return Err(TokenizerError::NoRoomForText {
                max_tokens,
                special,
            });
        }
        let encoding = guarded(|| {
            let mut encoding = self.tokenizer.encode_fast(text, false)?;
            encoding.truncate(max_tokens - special, 0, TruncationDirection::Right);
            encoding.take_overflowing();
            self.tokenizer.post_process(encoding, None, true)
        });
        let encoding = encoding.map_err(|source| cannot_encode(text, source))?;
        Ok(Tokens {
            ids: encoding.get_ids().to_vec(),
            type_ids: encoding.get_type_ids().to_vec(),
        })
    }

    /// Counts the tokens of a whole text, including special ones.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Encode`].
    pub fn count(&self, text: &str) -> Result<usize, TokenizerError> {
        let encoding = guarded(|| self.tokenizer.encode_fast(text, false));
        let encoding = encoding.map_err(|source| cannot_encode(text, source))?;
        Ok(encoding.get_ids().len() + self.special_count)
    }

    /// Returns the id of the padding token.
    pub fn pad_id(&self) -> u32 {
        self.pad_id
    }

    /// Returns the vocabulary size for an embedding table: the largest id plus one.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json` to an existing folder.
    ///
    /// [`from_folder`](Self::from_folder) and Hugging Face's `AutoTokenizer` can read them.
    ///
    /// # Errors
    ///
    /// [`FileError::Write`].
    pub fn save(&self, folder: &Path) -> Result<(), FileError> {
        let write = |name: &str, text: Result<String, Box<dyn Error + Send + Sync>>| {
            let path = folder.join(name);
            let written = text
                .map_err(std::io::Error::other)
                .and_then(|text| fs::write(&path, text));
            written.map_err(FileError::write(&path))
        };
        let [tokenizer, settings] = Self::FILES;
        write(tokenizer, self.tokenizer.to_string(true))?;
        let text = self.settings.to_json(&self.tokenizer);
        write(settings, Ok(format!("{text:#}\n")))
    }

    /// Builds and checks a tokenizer from JSON in the format of `tokenizer.json`; `path` is its
    /// source, for errors.
    fn new(mut tokenizer: Value, settings: Settings, path: &Path) -> Result<Self, TokenizerError> {
        tokenizer["padding"] = Value::Null;
        tokenizer["truncation"] = Value::Null;
        let invalid = |cause| TokenizerError::Invalid {
            path: path.into(),
            cause,
        };
        let unknown = tokenizer["model"]["unk_token"].as_str().map(String::from);
        let added = tokenizer["added_tokens"].take();
        tokenizer["added_tokens"] = added.clone();
        let tokenizer = guarded(|| Tokenizer::from_bytes(tokenizer.to_string()));
        let mut tokenizer = tokenizer.map_err(invalid)?;
        check_ids(&added, &tokenizer).map_err(invalid)?;
        if let Some(unknown) = unknown.filter(|token| tokenizer.token_to_id(token).is_none()) {
            return Err(TokenizerError::MissingSpecialToken {
                path: path.into(),
                token: unknown,
            });
        }
        let (_, pad_id) = settings.find(Role::Pad, &tokenizer, path)?;
        check_template(&tokenizer).map_err(invalid)?;
        if special_count(&tokenizer) == 0 {
            let begin = settings.find(Role::Begin, &tokenizer, path)?;
            let end = settings.find(Role::End, &tokenizer, path)?;
            let template = template(begin, end).map_err(invalid)?;
            tokenizer.with_post_processor(Some(template));
        }
        let last_id = tokenizer.get_vocab(true).into_values().max();
        let tokenizer = Self {
            special_count: special_count(&tokenizer),
            vocab_size: last_id.map_or(0, |id| id as usize + 1),
            pad_id,
            tokenizer,
            settings,
        };
        tokenizer.check_special_tokens().map_err(invalid)?;
        Ok(tokenizer)
    }

    /// Checks that the special tokens around a text are in the vocabulary.
    fn check_special_tokens(&self) -> tokenizers::Result<()> {
        let ids = self.encode(EXAMPLE, usize::MAX)?.ids;
        match ids.iter().find(|id| **id as usize >= self.vocab_size) {
            None => Ok(()),
            Some(id) => {
                let size = self.vocab_size;
                Err(format!("a special token has the id {id}, in a vocabulary of {size}").into())
            }
        }
    }
}

/// Checks that added tokens keep their listed ids, since the reader renumbers them.
fn check_ids(added: &Value, tokenizer: &Tokenizer) -> Result<(), Box<dyn Error + Send + Sync>> {
    for token in added.as_array().into_iter().flatten() {
        let content = token["content"].as_str().unwrap_or("");
        let id = tokenizer.token_to_id(content).map(u64::from);
        if !content.is_empty() && token["id"].as_u64() != id {
            let (listed, id) = (&token["id"], id.unwrap_or_default());
            let problem = format!("`{content}` has the id {listed} in place of {id}, the next");
            return Err(problem.into());
        }
    }
    Ok(())
}

/// Checks that a tokenizer adds special tokens to exactly one text.
fn check_template(tokenizer: &Tokenizer) -> tokenizers::Result<()> {
    let mut bare = tokenizer.clone();
    bare.with_post_processor(None::<TemplateProcessing>);
    let length = |tokenizer: &Tokenizer| {
        let encoding = guarded(|| tokenizer.encode(EXAMPLE, true));
        encoding.map(|it| it.len())
    };
    if length(tokenizer)? == length(&bare)? + special_count(tokenizer) {
        return Ok(());
    }
    Err("its special tokens are not around exactly one text".into())
}

/// Counts the special tokens that are added to every text.
fn special_count(tokenizer: &Tokenizer) -> usize {
    tokenizer
        .get_post_processor()
        .map_or(0, |processor| processor.added_tokens(false))
}

/// Adds one token before a text and one after it.
fn template(
    begin: (String, u32),
    end: (String, u32),
) -> Result<TemplateProcessing, Box<dyn Error + Send + Sync>> {
    let single = format!("{} $A {}", begin.0, end.0);
    let template = TemplateProcessing::builder()
        .try_single(single)?
        .special_tokens(vec![begin, end])
        .build()?;
    Ok(template)
}

/// Counts the words of a text, split as in BERT.
fn count_words(
    text: &str,
    normalizer: &BertNormalizer,
    words: &mut BTreeMap<String, u64>,
) -> tokenizers::Result<()> {
    let mut text = NormalizedString::from(text);
    normalizer.normalize(&mut text)?;
    let mut text = PreTokenizedString::from(text);
    BertPreTokenizer.pre_tokenize(&mut text)?;
    for (word, ..) in text.get_splits(OffsetReferential::Normalized, OffsetType::None) {
        if word.chars().count() <= MAX_LEARNED_WORD_LENGTH {
            *words.entry(word.to_owned()).or_default() += 1;
        }
    }
    Ok(())
}

/// Runs code of the crate `tokenizers`, which panics where a file contradicts itself.
fn guarded<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    let outcome = catch_unwind(AssertUnwindSafe(run));
    outcome.unwrap_or_else(|_| Err("the tokenizer contradicts itself".into()))
}

fn cannot_encode(text: &str, cause: Box<dyn Error + Send + Sync>) -> TokenizerError {
    TokenizerError::Encode {
        excerpt: text.chars().take(EXCERPT_LENGTH).collect(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    const TEXTS: [&str; 4] = [
        "The heart is normal in size. The lungs are clear.",
        "Small left pleural effusion. The heart is enlarged.",
        "No effusion, no pneumothorax. Heart size is normal.",
        "Café-au-lait: the lungs are clear.",
    ];

    /// Token ids of difficult texts by BertTokenizer of transformers 5.23, padded to 64 tokens.
    #[derive(Deserialize)]
    struct Reference {
        texts: Vec<String>,
        cased: Encodings,
        uncased: Encodings,
    }

    #[derive(Deserialize)]
    struct Encodings {
        size: usize,
        input_ids: Vec<Vec<u32>>,
        attention_mask: Vec<Vec<usize>>,
    }

    fn data(name: &str) -> PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        folder.join("tests/data").join(name)
    }

    fn reference() -> Reference {
        serde_json::from_slice(&fs::read(data("wordpiece.json")).unwrap()).unwrap()
    }

    /// A tokenizer from one of the reference files under the name it has in a model's folder.
    fn from_file(file: &str, name: &str, do_lower_case: Option<bool>) -> ReportTokenizer {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(data(file), folder.path().join(name)).unwrap();
        ReportTokenizer::from_folder(folder.path(), do_lower_case).unwrap()
    }

    #[track_caller]
    fn agrees(tokenizer: &ReportTokenizer, texts: &[String], expected: &Encodings) {
        assert_eq!(tokenizer.vocab_size(), expected.size);
        assert_eq!(tokenizer.pad_id(), 0);
        for (i, text) in texts.iter().enumerate() {
            let length = expected.attention_mask[i].iter().sum();
            let tokens = tokenizer.encode(text, 64).unwrap();
            assert_eq!(tokens.ids, expected.input_ids[i][..length], "{text:?}");
            assert_eq!(tokens.type_ids, vec![0; length]);
        }
    }

    #[test]
    fn ids_are_those_of_hugging_face() {
        let Reference {
            texts,
            cased,
            uncased,
        } = reference();
        agrees(
            &from_file("tokenizer_cased.json", "tokenizer.json", None),
            &texts,
            &cased,
        );
        agrees(
            &from_file("vocab_cased.txt", "vocab.txt", Some(false)),
            &texts,
            &cased,
        );
        agrees(
            &from_file("tokenizer_uncased.json", "tokenizer.json", None),
            &texts,
            &uncased,
        );
        agrees(
            &from_file("vocab_uncased.txt", "vocab.txt", None),
            &texts,
            &uncased,
        );
    }

    #[test]
    fn the_requested_casing_overrides_the_file() {
        let tokenizer = from_file("tokenizer_uncased.json", "tokenizer.json", Some(false));
        let lower = tokenizer.encode("heart", 9).unwrap();
        assert_ne!(tokenizer.encode("HEART", 9).unwrap(), lower);
        let tokenizer = from_file("tokenizer_cased.json", "tokenizer.json", Some(true));
        let lower = tokenizer.encode("heart", 9).unwrap();
        assert_eq!(tokenizer.encode("HEART", 9).unwrap(), lower);
    }

    #[test]
    fn a_text_too_long_keeps_its_closing_token() {
        let tokenizer = ReportTokenizer::train(TEXTS.into_iter(), 80, true).unwrap();
        let whole = tokenizer.encode(TEXTS[0], usize::MAX).unwrap().ids;
        let cut = tokenizer.encode(TEXTS[0], 6).unwrap().ids;
        assert_eq!(cut.len(), 6);
        assert_eq!(cut[..5], whole[..5]);
        assert_eq!(cut[5], 3, "[SEP]");
        assert_eq!(tokenizer.encode("", 3).unwrap().ids, [2, 3]);
        let error = tokenizer.encode(TEXTS[0], 2).unwrap_err();
        assert!(
            matches!(error, TokenizerError::NoRoomForText { special: 2, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_vocabulary_depends_on_the_texts_alone() {
        let ids = |texts: &[&str]| {
            let tokenizer = ReportTokenizer::train(texts.iter().copied(), 60, true).unwrap();
            let ids = TEXTS.map(|text| tokenizer.encode(text, 99).unwrap().ids);
            (tokenizer.vocab_size(), ids)
        };
        let forward = ids(&TEXTS);
        assert_eq!(forward.0, 60);
        let mut backward = TEXTS;
        backward.reverse();
        for _ in 0..5 {
            assert_eq!(ids(&backward), forward);
        }
    }

    #[test]
    fn learned_pieces_cover_the_texts_they_come_from() {
        for do_lower_case in [true, false] {
            let tokenizer = ReportTokenizer::train(TEXTS.into_iter(), 90, do_lower_case).unwrap();
            for text in TEXTS {
                assert!(
                    !tokenizer.encode(text, 99).unwrap().ids.contains(&1),
                    "[UNK] in {text}"
                );
            }
            let upper = tokenizer.encode("HEART", 99).unwrap();
            let lower = tokenizer.encode("heart", 99).unwrap();
            assert_eq!(upper == lower, do_lower_case);
            assert_eq!(tokenizer.encode("Ж", 99).unwrap().ids, [2, 1, 3]);
        }
    }

    #[test]
    fn a_long_clause_without_spaces_has_tokens() {
        let clause = "ไม่พบน้ำในช่องเยื่อหุ้มปอด".repeat(8);
        assert!(clause.chars().count() > 2 * MAX_WORD_LENGTH);
        let tokenizer = ReportTokenizer::train([&clause].into_iter(), 90, true).unwrap();
        let ids = tokenizer.encode(&clause, 999).unwrap().ids;
        assert!(ids.len() > 2 && !ids.contains(&1), "[UNK] in {ids:?}");
    }

    #[test]
    fn a_saved_tokenizer_reads_back_the_same() {
        let folder = tempfile::tempdir().unwrap();
        for do_lower_case in [true, false] {
            let tokenizer = ReportTokenizer::train(TEXTS.into_iter(), 90, do_lower_case).unwrap();
            tokenizer.save(folder.path()).unwrap();
            let read = ReportTokenizer::from_folder(folder.path(), None).unwrap();
            for text in TEXTS {
                let expected = tokenizer.encode(text, 12).unwrap();
                assert_eq!(read.encode(text, 12).unwrap(), expected);
            }
            assert_eq!(read.vocab_size(), tokenizer.vocab_size());
        }
        let error = ReportTokenizer::train(TEXTS.into_iter(), 90, true)
            .unwrap()
            .save(&folder.path().join("nowhere"))
            .unwrap_err();
        assert!(error.to_string().contains("tokenizer.json"), "{error}");
    }

    #[test]
    fn special_tokens_that_cannot_be_around_a_text_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = ReportTokenizer::train(TEXTS.into_iter(), 80, true).unwrap();
        tokenizer.save(folder.path()).unwrap();
        let path = folder.path().join("tokenizer.json");
        let saved: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let token = |name: &str| json!({"SpecialToken": {"id": name, "type_id": 0}});
        let text = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
        for (single, id, expected) in [
            (json!([token("[CLS]"), text("A")]), 2, ""),
            (json!([token("[NONE]"), text("A")]), 2, "contradicts itself"),
            (json!([token("[CLS]"), text("B")]), 2, "contradicts itself"),
            (json!([token("[CLS]"), text("A")]), 80, "has the id 80"),
            (json!([text("A"), text("A")]), 2, "exactly one text"),
            (json!([token("[CLS]")]), 2, "exactly one text"),
        ] {
            let mut tokenizer = saved.clone();
            let template = &mut tokenizer["post_processor"];
            template["single"] = single;
            template["special_tokens"]["[CLS]"]["ids"] = json!([id]);
            fs::write(&path, tokenizer.to_string()).unwrap();
            match ReportTokenizer::from_folder(folder.path(), None) {
                Ok(_) => assert_eq!(expected, ""),
                Err(error) => {
                    let error = error.to_string();
                    assert!(!expected.is_empty() && error.contains(expected), "{error}");
                }
            }
        }
    }

    #[test]
    fn no_words_and_too_few_tokens_are_errors() {
        let error = ReportTokenizer::train(["", " \n"].into_iter(), 90, true).unwrap_err();
        assert!(matches!(error, TokenizerError::NoWords), "{error}");
        let error = ReportTokenizer::train(TEXTS.into_iter(), 10, true).unwrap_err();
        assert!(
            matches!(error, TokenizerError::VocabularyTooSmall { asked: 10, .. }),
            "{error}"
        );
    }
}
