//! What a network makes of the held-out images and texts.

use burn::data::dataloader::DataLoader;
use convirt_data::{EvaluationLoader, ImageTextBatch};
use convirt_model::{ConVirt, SimClr};

use super::task::view_accuracy;
use crate::config::Objective;
use crate::error::Error;
use crate::inference::{excerpt, finite_rows, unit_rows};
use crate::network::text_input;
use crate::retrieval::EmbeddedPairs;

/// Embeds what a loader holds, its texts as it reads them, by a network in evaluation mode.
///
/// # Errors
///
/// When the loader fails, and for what is not of finite numbers.
pub(super) fn embed_pairs<'a>(
    network: &ConVirt,
    loader: &'a EvaluationLoader,
) -> Result<EmbeddedPairs<'a>, Error> {
    let studies = loader.dataset().studies();
    let mut pairs = Vec::new();
    for batch in loader.iter() {
        let batch: ImageTextBatch = batch.map_err(Error::Evaluation)?;
        let texts = batch.texts.expect("held-out pairs have texts");
        let study = |row: usize| &studies[batch.indices[row]];
        let texts = network.encode_text(text_input(texts)).embedding;
        let texts = unit_rows(texts, |row| excerpt(&study(row).report.text))?;
        let images = network.encode_image(batch.images).embedding;
        let images = unit_rows(images, |row| study(row).image.display().to_string())?;
        let width = texts.len() / batch.indices.len();
        let rows = images.chunks_exact(width).zip(texts.chunks_exact(width));
        let rows = rows.map(|(image, text)| (image.to_vec(), text.to_vec()));
        pairs.extend(batch.indices.iter().copied().zip(rows));
    }
    pairs.sort_by_key(|(index, _)| *index);
    let (indices, rows): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let studies = indices.into_iter().map(|index| &studies[index]).collect();
    Ok(EmbeddedPairs::new(studies, &rows))
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

/// Loss of a model that finds all alike: mean over pairs of ln(size of its batch), or of the
/// logarithm of a view's candidates.
///
/// Batches differ in size by one pair at most.
pub(super) fn chance_loss(pairs: usize, batches: usize, objective: Objective) -> f64 {
    let (small, larger) = (pairs / batches.max(1), pairs % batches.max(1));
    let candidates = |size: usize| match objective {
        Objective::ConVirt => size,
        Objective::SimClr => (2 * size).saturating_sub(1),
    };
    let term =
        |size: usize, count: usize| (size * count) as f64 * (candidates(size).max(1) as f64).ln();
    (term(small + 1, larger) + term(small, batches - larger)) / pairs.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_the_logarithm_of_each_batchs_size() {
        let convirt = |pairs, batches| chance_loss(pairs, batches, Objective::ConVirt);
        assert!((convirt(64, 2) - 32f64.ln()).abs() < 1e-12);
        let mixed = (3.0 * 3f64.ln() + 2.0 * 2f64.ln()) / 5.0;
        assert!((convirt(5, 2) - mixed).abs() < 1e-12);
        let mixed = (3.0 * 5f64.ln() + 2.0 * 3f64.ln()) / 5.0;
        assert!((chance_loss(5, 2, Objective::SimClr) - mixed).abs() < 1e-12);
    }
}
