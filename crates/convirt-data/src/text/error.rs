//! Why there is no tokenizer, or none of its tokens.

use std::path::PathBuf;

use crate::files::{FileError, printable, shown};

/// Why there is no tokenizer, or none of its tokens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),

    /// A folder holds no tokenizer.
    #[error("{}: no tokenizer; looked for {}", shown(folder), looked_for.join(", "))]
    NoTokenizer {
        /// The folder.
        folder: PathBuf,
        /// The files that would have done.
        looked_for: Vec<&'static str>,
    },

    /// A file of a tokenizer cannot be understood.
    #[error("{}: no valid tokenizer file: {cause}", shown(path))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A vocabulary lacks a token that encoders of this kind need.
    #[error("{}: the vocabulary lacks the special token {token}", shown(path))]
    MissingSpecialToken {
        /// The file or folder of the vocabulary.
        path: PathBuf,
        /// The token, or the ones of which one would do.
        token: String,
    },

    /// There is no text to learn a vocabulary from.
    #[error("no vocabulary can be learned: there are no words in the texts")]
    NoWords,

    /// The vocabulary asked for does not hold the single characters of the texts.
    #[error(
        "a vocabulary of {asked} tokens is too small: the special tokens and the characters of \
         the texts alone are {needed}"
    )]
    VocabularyTooSmall {
        /// Tokens asked for.
        asked: usize,
        /// Tokens needed at the least.
        needed: usize,
    },

    /// A text cannot be encoded.
    #[error("text `{excerpt}` cannot be encoded: {cause}", excerpt = printable(excerpt))]
    Encode {
        /// The beginning of the text.
        excerpt: String,
        /// Why.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The maximum of tokens leaves no room for text between the special ones.
    #[error(
        "a maximum of {max_tokens} tokens leaves no room for text beside {special} special ones"
    )]
    NoRoomForText {
        /// The maximum asked for.
        max_tokens: usize,
        /// Special tokens that every text gets.
        special: usize,
    },
}
