//! Errors in reading, learning and using a tokenizer.

use std::path::PathBuf;

use crate::files::{FileError, printable, shown};

/// An error in reading, learning or using a tokenizer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),

    /// A folder contains no tokenizer.
    #[error("{}: no tokenizer; looked for {}", shown(folder), looked_for.join(", "))]
    NoTokenizer {
        /// The folder.
        folder: PathBuf,
        /// The accepted files.
        looked_for: Vec<&'static str>,
    },

    /// A tokenizer file is invalid.
    #[error("{}: no valid tokenizer file: {cause}", shown(path))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A vocabulary lacks a special token that the encoder needs.
    #[error("{}: the vocabulary lacks the special token {token}", shown(path))]
    MissingSpecialToken {
        /// The file or folder of the vocabulary.
        path: PathBuf,
        /// The token, or the alternatives.
        token: String,
    },

    /// There is no text to learn a vocabulary from.
    #[error("no vocabulary can be learned: there are no words in the texts")]
    NoWords,

    /// The requested vocabulary is too small for the single characters of the texts.
    #[error(
        "a vocabulary of {asked} tokens is too small: the special tokens and the characters of \
         the texts alone are {needed}"
    )]
    VocabularyTooSmall {
        /// Requested tokens.
        asked: usize,
        /// Fewest tokens needed.
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

    /// The maximum number of tokens leaves no room beside the special tokens.
    #[error(
        "a maximum of {max_tokens} tokens leaves no room for text beside {special} special ones"
    )]
    NoRoomForText {
        /// The requested maximum.
        max_tokens: usize,
        /// Special tokens added to every text.
        special: usize,
    },
}
