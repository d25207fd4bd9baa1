//! Loading and using a trained model: files and sentences in, embeddings or probabilities out.

mod run_name;
mod error;
mod finite;
mod similarity;
mod embedded_batch;
mod description;
mod identity;
mod image_model;
mod model;
mod assistants;
mod assisted;
mod image_embeddings;
mod text_embeddings;
mod embedding_file;
mod classifier;

pub use assistants::Assistants;
pub(crate) use assisted::EmbeddingAssistant;
pub use classifier::Classifier;
pub(crate) use classifier::{ClassifierDescription, Normalization, probabilities};
pub(crate) use description::{Description, folder_of_weights};
pub(crate) use embedded_batch::excerpt;
pub use embedded_batch::{EmbeddedBatch, TowerOutput};
pub use embedding_file::EmbeddingFile;
pub use error::InferenceError;
pub(crate) use finite::{finite_rows, unit, unit_rows};
pub use identity::ModelIdentity;
pub use image_embeddings::ImageEmbeddings;
pub use image_model::ImageModel;
pub use model::Model;
pub use run_name::RunNameError;
#[cfg(feature = "train")]
pub(crate) use run_name::runs_in;
pub(crate) use run_name::{find_run, require_run};
pub use similarity::similarity;
pub use text_embeddings::TextEmbeddings;
