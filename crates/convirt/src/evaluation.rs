//! The held-out pairs, embedded and ranked.

use burn::data::dataloader::DataLoader;
use convirt_data::{EvaluationLoader, ImageTextBatch};
use convirt_model::{ConVirt as Network, TextInput};

use crate::error::Error;
use crate::pretrained::normalized;
use crate::retrieval::Retrieval;

/// Retrieval among all pairs of `loader` by a network in evaluation mode.
pub(crate) fn evaluate(network: &Network, loader: &EvaluationLoader) -> Result<Retrieval, Error> {
    let (mut images, mut texts, mut reports) = (Vec::new(), Vec::new(), Vec::new());
    let studies = loader.dataset().studies();
    for batch in loader.iter() {
        let batch: ImageTextBatch = batch.map_err(Error::Evaluation)?;
        let input = TextInput {
            input_ids: batch.input_ids,
            attention_mask: batch.attention_mask,
            token_type_ids: Some(batch.token_type_ids),
        };
        images.extend(rows(
            normalized(network.encode_image(batch.images).embedding),
            batch.indices.len(),
        ));
        texts.extend(rows(
            normalized(network.encode_text(input).embedding),
            batch.indices.len(),
        ));
        reports.extend(
            batch
                .indices
                .iter()
                .map(|index| &studies[*index].report.text),
        );
    }
    Ok(Retrieval::of(&images, &texts, &reports))
}

fn rows(values: Vec<f32>, count: usize) -> Vec<Vec<f32>> {
    let width = values.len() / count.max(1);
    values.chunks(width.max(1)).map(<[f32]>::to_vec).collect()
}
