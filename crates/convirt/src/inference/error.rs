//! Why a model cannot be loaded, or an embedding not be made or written.

use std::path::PathBuf;

use convirt_model::ModelError;

/// Why a model cannot be loaded, or an embedding not be made or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferenceError {
    /// A run has no saved model.
    #[error("{folder}: no model here; missing {missing:?}", folder = folder.display())]
    NoModel {
        /// The folder.
        folder: PathBuf,
        /// Files that a model consists of and that are not there.
        missing: Vec<&'static str>,
    },

    /// A model has no text encoder where one is needed.
    #[error(
        "{path}: a model of SimCLR, which has no text encoder; its image side is loaded as \
         `ImageModel`, and a training of ConVIRT starts from it with `model.image_weights`",
        path = path.display()
    )]
    NoTextEncoder {
        /// The model's folder.
        path: PathBuf,
    },

    /// A description of a saved model is damaged.
    #[error("{path}: not the description of a model: {cause}", path = path.display())]
    BrokenDescription {
        /// The file.
        path: PathBuf,
        /// Where it is wrong.
        cause: serde_json::Error,
    },

    /// The description of a network or a text encoder is not understood, or not possible.
    #[error("{path}: {cause}", path = path.display())]
    InvalidDescription {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: ModelError,
    },

    /// A vocabulary has more words than the encoder has embeddings.
    #[error(
        "{folder}: the vocabulary has {words} words, but the encoder embeds only {rows}; \
         tokenizer and weights are of different models", folder = folder.display()
    )]
    VocabularyTooLarge {
        /// The folder of both.
        folder: PathBuf,
        /// Words of the tokenizer.
        words: usize,
        /// Rows of the embedding.
        rows: usize,
    },

    /// A file of embeddings would be of no format that is written.
    #[error(
        "{path}: embeddings are written as `.safetensors` or `.npy`; give the file one of these \
         endings", path = path.display()
    )]
    EmbeddingFormat {
        /// The file asked for.
        path: PathBuf,
    },

    /// Names do not fit into a safetensors header.
    #[error(
        "{path}: the names of {names} rows take {bytes} bytes, but a safetensors header holds \
         100 MB; write `.npy` instead", path = path.display()
    )]
    TooManyNames {
        /// The file asked for.
        path: PathBuf,
        /// Names there are.
        names: usize,
        /// Bytes that they would take.
        bytes: usize,
    },

    /// What a network made of an image or a text is not of finite numbers.
    #[error(
        "`{name}`: what the network makes of it is not of finite numbers; its weights are damaged, \
         or too large to compute with"
    )]
    NotFinite {
        /// The image or the text.
        name: String,
    },
}
