//! What SimCLR reaches on the held-out images.

use burn::data::dataloader::DataLoader;
use convirt_data::{EvaluationLoader, ImageTextBatch};
use convirt_model::SimClr;

use super::task::view_accuracy;
use crate::error::Error;
use crate::inference::finite_rows;

/// Share of all views of `loader` whose most similar other view in their batch is of their image,
/// by a network in evaluation mode.
pub(crate) fn contrastive_accuracy(
    network: &SimClr,
    loader: &EvaluationLoader,
) -> Result<f64, Error> {
    let (mut right, mut images) = (0.0, 0);
    for batch in loader.iter() {
        let batch: ImageTextBatch = batch.map_err(Error::Evaluation)?;
        let in_batch = batch.len();
        let logits = network.forward(batch.images).logits;
        let image = |view: usize| {
            let studies = loader.dataset().studies();
            studies[batch.indices[view % in_batch]]
                .image
                .display()
                .to_string()
        };
        finite_rows(logits.clone(), image)?;
        let accuracy = view_accuracy(logits);
        right += accuracy.into_scalar::<f64>() * in_batch as f64;
        images += in_batch;
    }
    Ok(right / images.max(1) as f64)
}
