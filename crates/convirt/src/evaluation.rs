//! The held-out pairs, embedded and ranked.

use burn::data::dataloader::DataLoader;
use convirt_data::{EvaluationLoader, ImageTextBatch};
use convirt_model::{ConVirt as Network, SimClr};

use crate::error::Error;
use crate::pretrained::normalized;
use crate::retrieval::Retrieval;
use crate::task::{text_input, view_accuracy};

/// Pairs in the shared space, each embedding of L2 norm 1.
pub(crate) struct Embedded {
    pub images: Vec<Vec<f32>>,
    pub texts: Vec<Vec<f32>>,
    /// Place of each pair's study in the data set.
    pub indices: Vec<usize>,
}

/// Embeds the first `pairs` of `loader`, in whole batches, by a network in evaluation mode.
pub(crate) fn embed(
    network: &Network,
    loader: &EvaluationLoader,
    pairs: usize,
) -> Result<Embedded, Error> {
    let mut embedded = Embedded {
        images: Vec::new(),
        texts: Vec::new(),
        indices: Vec::new(),
    };
    for batch in loader.iter() {
        if embedded.indices.len() >= pairs {
            break;
        }
        let batch: ImageTextBatch = batch.map_err(Error::Evaluation)?;
        let pairs = batch.len();
        let texts = batch.texts.expect("held-out pairs have texts");
        let texts = network.encode_text(text_input(texts)).embedding;
        let images = network.encode_image(batch.images).embedding;
        embedded.texts.extend(rows(normalized(texts), pairs));
        embedded.images.extend(rows(normalized(images), pairs));
        embedded.indices.extend(batch.indices);
    }
    Ok(embedded)
}

/// Retrieval among all pairs of `loader` by a network in evaluation mode.
pub(crate) fn evaluate(network: &Network, loader: &EvaluationLoader) -> Result<Retrieval, Error> {
    let Embedded {
        images,
        texts,
        indices,
    } = embed(network, loader, usize::MAX)?;
    let studies = loader.dataset().studies();
    let reports: Vec<_> = indices
        .iter()
        .map(|&index| &studies[index].report.text)
        .collect();
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
