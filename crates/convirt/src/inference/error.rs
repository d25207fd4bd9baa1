//! Why a model cannot be loaded, or an embedding cannot be computed or written.

use std::path::PathBuf;

use convirt_model::ModelError;

/// Why a model cannot be loaded, or an embedding cannot be computed or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferenceError {
    /// A folder holds no complete model.
    #[error("{folder}: no model here; missing {missing:?}", folder = folder.display())]
    NoModel {
        /// The folder.
        folder: PathBuf,
        /// Names of the files that are missing.
        missing: Vec<&'static str>,
    },

    /// An image that one of several processes can read and another cannot.
    #[error(
        "{path}: one of the processes cannot read it, although the first one can; all need to see \
         the same files",
        path = path.display()
    )]
    NotReadableByAll {
        /// The image.
        path: PathBuf,
    },

    /// A model that is another one for one of several processes.
    #[error(
        "{path}: another model than the first process has; all need to see the same files",
        path = path.display()
    )]
    OtherModel {
        /// The weights.
        path: PathBuf,
    },

    /// A model has no text encoder, but one is needed.
    #[error(
        "{path}: a model of SimCLR, which has no text encoder; load its image side as \
         `ImageModel`, or start a training of ConVIRT from it with `model.image_weights`",
        path = path.display()
    )]
    NoTextEncoder {
        /// The model's folder.
        path: PathBuf,
    },

    /// The description of a saved model is damaged.
    #[error("{path}: not the description of a model: {cause}", path = path.display())]
    BrokenDescription {
        /// The file.
        path: PathBuf,
        /// Where and how the JSON is wrong.
        cause: serde_json::Error,
    },

    /// The description of a network has a value that is unknown or out of range.
    #[error("{path}: {cause}", path = path.display())]
    InvalidDescription {
        /// The file.
        path: PathBuf,
        /// Which value is wrong.
        cause: ModelError,
    },

    /// A vocabulary has more words than the encoder has embeddings.
    #[error(
        "{folder}: the vocabulary has {words} words, but the encoder embeds only {rows}; \
         tokenizer and weights are of different models", folder = folder.display()
    )]
    VocabularyTooLarge {
        /// The model's folder.
        folder: PathBuf,
        /// Number of words of the tokenizer.
        words: usize,
        /// Number of rows of the encoder's word embeddings.
        rows: usize,
    },

    /// A file name has no ending of a supported embedding format.
    #[error(
        "{path}: embeddings are written as `.safetensors` or `.npy`; give the file one of these \
         endings", path = path.display()
    )]
    EmbeddingFormat {
        /// The file that was to be written.
        path: PathBuf,
    },

    /// Names do not fit into a safetensors header.
    #[error(
        "{path}: the names of {names} rows take {bytes} bytes, but a safetensors header holds \
         100 MB; write `.npy` instead", path = path.display()
    )]
    TooManyNames {
        /// The file that was to be written.
        path: PathBuf,
        /// Number of names.
        names: usize,
        /// Size of the header with these names.
        bytes: usize,
    },

    /// A network's output for an image or a text is NaN or infinite.
    #[error(
        "`{name}`: the network's output for it is not finite; the weights are damaged, or too \
         large to compute with"
    )]
    NotFinite {
        /// The image or the text.
        name: String,
    },
}
