//! The evaluation of held-out batches, as peers tell each other.

use std::hash::Hasher as _;

use burn::module::{ModuleVisitor, Param};
use burn::tensor::{Device, ExecutionError, Tensor, TensorData};
use burn::train::InferenceStep;
use convirt_data::ImageTextBatch;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::pretrained::Pretrained;
use super::task::PretrainingTask;
use crate::logging::Measures;
use crate::peers::SentSkip;

/// What a peer has evaluated.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct EvaluatedShare {
    /// The batches of its share, in their order.
    pub batches: Vec<EvaluatedBatch>,
    /// All rows that it knows to be left out.
    pub skips: Vec<SentSkip>,
    /// XXH3 of its parameters.
    pub parameters: u64,
}

/// Computes the XXH3 of all parameters of a network.
pub(super) fn hash_of_parameters<N: Pretrained>(network: &N) -> u64 {
    let mut hasher = Hasher(XxHash3_64::new());
    network.visit(&mut hasher);
    hasher.0.finish()
}

struct Hasher(XxHash3_64);

impl ModuleVisitor for Hasher {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.write(param.val().into_data().as_bytes());
    }
}

/// The measures of a batch and its embeddings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct EvaluatedBatch {
    /// Positions of the studies in the data set.
    pub studies: Vec<usize>,
    pub measures: Measures,
    /// The embeddings of images and texts, one after the other.
    embeddings: Option<[Vec<f32>; 2]>,
}

impl EvaluatedBatch {
    /// Evaluates a batch.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn compute<N: Pretrained>(
        model: &PretrainingTask<N>,
        batch: ImageTextBatch,
    ) -> Result<Self, ExecutionError> {
        let studies = batch.indices.clone();
        let mut pending = InferenceStep::step(model, batch);
        let embeddings = pending.take_embeddings();
        let pending = pending.read()?;
        let numbers = |side: Tensor<2>| {
            let numbers = side.try_into_vec_as::<f32>();
            numbers.map_err(|error| ExecutionError::with_context(error.to_string()))
        };
        let embeddings = match embeddings {
            Some([images, texts]) => Some([numbers(images)?, numbers(texts)?]),
            None => None,
        };
        let measures = pending.measures().cloned().expect("they have been read");
        Ok(Self {
            studies,
            measures,
            embeddings,
        })
    }

    /// Removes and returns the embeddings of images and of texts, each `[batch, d_embedding]`.
    pub fn take_embeddings(&mut self, device: &Device) -> Option<[Tensor<2>; 2]> {
        let rows = self.studies.len();
        let embeddings = self.embeddings.take()?;
        Some(embeddings.map(|numbers| {
            let shape = [rows, numbers.len() / rows];
            Tensor::from_data(TensorData::new(numbers, shape), device)
        }))
    }
}
