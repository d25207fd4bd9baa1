//! Retrieval of images by text and of texts by image: scores, protocols and an index on disk.

mod ranks;
mod at_k;
mod embedded_pairs;
mod pairs;
mod chexpert;
mod index;

pub use at_k::{ClassScores, RetrievalAtK, ScoresAtK, precision_at_k, recall_at_k};
pub use chexpert::ChexpertRetrieval;
pub(crate) use embedded_pairs::EmbeddedPairs;
pub use index::{EmbeddingIndex, Hit, IndexDescription, IndexError, IndexWriter, Modality};
pub use pairs::PairRetrieval;
pub use ranks::{Direction, Retrieval, RetrievalScores};
