//! What a tower gives for the images or texts of one step.

use convirt_model::Encoded;
use serde::{Deserialize, Serialize};

use super::finite::{finite_rows, unit_rows};
use crate::error::Error;

/// Which vector of a tower is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TowerOutput {
    /// The encoder's output h, as it is: what classifiers learn from, and what the paper ranks
    /// images by when the query is an image. Only comparable within one tower.
    Features,
    /// Its projection v or u, at L2 norm 1: comparable with those of the other tower.
    #[default]
    Embedding,
}

/// Images or texts that were embedded in one step.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddedBatch {
    /// Places in the list that was to be embedded, ascending.
    pub indices: Vec<usize>,
    pub(super) features: Vec<f32>,
    pub(super) embeddings: Vec<f32>,
}

impl EmbeddedBatch {
    /// Takes the outputs of a tower for what is at `indices` in a list; `name` tells what that is.
    ///
    /// # Errors
    ///
    /// [`InferenceError::NotFinite`] where the tower gave no finite numbers.
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

    /// Rows of the output asked for, one for each index.
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

    /// Row by row, the output asked for: `width` numbers each.
    pub fn rows(&self, output: TowerOutput) -> impl ExactSizeIterator<Item = &[f32]> {
        let values = match output {
            TowerOutput::Features => &self.features,
            TowerOutput::Embedding => &self.embeddings,
        };
        values.chunks_exact(values.len() / self.indices.len())
    }
}

/// The beginning of a text, to name it by.
pub(crate) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}
