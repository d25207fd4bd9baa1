//! The held-out pairs, embedded and ranked.

use burn::data::dataloader::DataLoader;
use convirt_data::{EvaluationLoader, ImageTextBatch};
use convirt_model::{ConVirt as Network, SimClr};

use crate::error::Error;
use crate::pretrained::normalized;
use crate::retrieval::Retrieval;
use crate::task::{text_input, view_accuracy};

/// Retrieval among all pairs of `loader` by a network in evaluation mode.
pub(crate) fn evaluate(network: &Network, loader: &EvaluationLoader) -> Result<Retrieval, Error> {
    let (mut images, mut texts, mut reports) = (Vec::new(), Vec::new(), Vec::new());
    let studies = loader.dataset().studies();
    for batch in loader.iter() {
        let batch: ImageTextBatch = batch.map_err(Error::Evaluation)?;
        let pairs = batch.len();
        let texts_of_batch = batch.texts.expect("held-out pairs have texts");
        let embedded_texts = network.encode_text(text_input(texts_of_batch)).embedding;
        let embedded_images = network.encode_image(batch.images).embedding;
        texts.extend(rows(normalized(embedded_texts), pairs));
        images.extend(rows(normalized(embedded_images), pairs));
        let report = |index: &usize| &studies[*index].report.text;
        reports.extend(batch.indices.iter().map(report));
    }
    Ok(Retrieval::of(&images, &texts, &reports))
}

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
        let accuracy = view_accuracy(network.forward(batch.images).logits);
        right += accuracy.into_scalar::<f64>() * in_batch as f64;
        images += in_batch;
    }
    Ok(right / images.max(1) as f64)
}

fn rows(values: Vec<f32>, count: usize) -> Vec<Vec<f32>> {
    let width = values.len() / count.max(1);
    values.chunks(width.max(1)).map(<[f32]>::to_vec).collect()
}
