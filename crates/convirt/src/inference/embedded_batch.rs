//! The outputs of a tower for one batch of images or texts.

use convirt_data::beginning;
use convirt_model::Encoded;
use serde::{Deserialize, Serialize};

use super::finite::{finite_rows, unit_rows};
use crate::error::Error;

/// Which output vector of a tower to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TowerOutput {
    /// The encoder's output h, not normalized. Classifiers learn from it, and the paper ranks
    /// images by it when the query is an image. It is only comparable within one tower.
    Features,
    /// The projection v or u of the encoder's output, at L2 norm 1. It is comparable with the
    /// embeddings of the other tower.
    #[default]
    Embedding,
}

/// A batch of embedded images or texts.
///
/// # Examples
///
/// ```no_run
/// # fn main() -> Result<(), convirt::Error> {
/// use convirt::Model;
/// use convirt::data::LoaderConfig;
/// use convirt::inference::TowerOutput;
///
/// let model = Model::load("runs/2026-01-16_02-27-36_phantom")?;
/// let sentences = ["Clear lungs.", "Small left pleural effusion."];
/// for batch in model.embed_texts(&sentences, &LoaderConfig::default())? {
///     let batch = batch?;
///     for (&index, embedding) in batch.indices.iter().zip(batch.rows(TowerOutput::Embedding)) {
///         println!("{}: {} numbers", sentences[index], embedding.len());
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EmbeddedBatch {
    /// Positions of the rows in the list that is being embedded, ascending.
    pub indices: Vec<usize>,
    pub(super) features: Vec<f32>,
    pub(super) embeddings: Vec<f32>,
}

impl EmbeddedBatch {
    /// Wraps a tower's outputs for the items at `indices` of a list; `name` returns the name of an
    /// item for errors.
    ///
    /// # Errors
    ///
    /// [`InferenceError::NotFinite`] when an output is NaN or infinite.
    pub(crate) fn new(
        indices: Vec<usize>,
        encoded: Encoded,
        name: impl Fn(usize) -> String,
    ) -> Result<Self, Error> {
        let name = |row: usize| name(indices[row]);
        Ok(Self {
            features: finite_rows(encoded.features, name)?,
            embeddings: unit_rows(encoded.embedding, name)?,
            indices,
        })
    }

    /// Returns all rows of an output, one for each index.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, width]`, flat
    pub fn into_values(self, output: TowerOutput) -> Vec<f32> {
        match output {
            TowerOutput::Features => self.features,
            TowerOutput::Embedding => self.embeddings,
        }
    }

    /// Iterates over the rows of an output, one of `width` numbers for each index.
    pub fn rows(&self, output: TowerOutput) -> impl ExactSizeIterator<Item = &[f32]> {
        let values = match output {
            TowerOutput::Features => &self.features,
            TowerOutput::Embedding => &self.embeddings,
        };
        values.chunks_exact(values.len() / self.indices.len())
    }
}

/// Returns the beginning of a text, as its name in messages.
pub(crate) fn excerpt(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    beginning(text, MAX_CHARS).into_owned()
}
