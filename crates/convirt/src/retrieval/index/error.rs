//! Why an index of embeddings cannot be built or searched.

use std::path::PathBuf;

use super::Modality;
use crate::inference::ModelIdentity;

/// Why an index of embeddings cannot be built or searched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// A file is not an index of embeddings, or it is damaged.
    #[error("{path}: not an index of embeddings: {detail}", path = path.display())]
    NotAnIndex {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },

    /// An index would be empty.
    #[error("{path}: nothing to index", path = path.display())]
    NothingIndexed {
        /// The index that was to be written.
        path: PathBuf,
    },

    /// An index was built by another model.
    #[error(
        "{path}: built by the model {built}, but the query is by {asked}; use the model that built \
         the index, or build a new index", path = path.display()
    )]
    OtherModel {
        /// The index.
        path: PathBuf,
        /// The model that built it.
        built: ModelIdentity,
        /// The model of the query.
        asked: ModelIdentity,
    },

    /// Encoder outputs of two towers cannot be compared.
    #[error(
        "{path}: holds the encoder's outputs of {indexed}, which cannot be compared with {query}; \
         build the index without features", path = path.display()
    )]
    NotComparable {
        /// The index.
        path: PathBuf,
        /// What it holds embeddings of.
        indexed: Modality,
        /// What the query is an embedding of.
        query: Modality,
    },

    /// The width of a query differs from that of the index.
    #[error("{path}: embeddings of {width} numbers, but the query has {query}", path = path.display())]
    OtherWidth {
        /// The index.
        path: PathBuf,
        /// Numbers of its embeddings.
        width: usize,
        /// Numbers of the query.
        query: usize,
    },
}
