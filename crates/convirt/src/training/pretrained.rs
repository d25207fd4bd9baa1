//! The interface of networks that a run trains, implemented by ConVIRT's and SimCLR's.

use burn::data::dataloader::DataLoader;
use burn::module::{Module, ModuleDisplay};
use burn::tensor::{Device, Int, Tensor};
use convirt_data::{EvaluationLoader, ImageTextBatch};
use convirt_model::{Bert, ConVirt, FrozenStates, ResNet, SimClr};

use crate::error::Error;
use crate::inference::{ImageModel, Model, excerpt, finite_rows, unit_rows};
use crate::logging::{MeanMetric, PendingMeasures};
use crate::network::text_input;
use crate::retrieval::{EmbeddedPairs, Retrieval};
use crate::run::RunDir;

/// A network that a run trains.
pub(crate) trait Pretrained: ModuleDisplay + Module + 'static {
    /// Returns the metrics of [`Measures::accuracies`](crate::logging::Measures), in their order.
    fn accuracies() -> Vec<MeanMetric>;

    /// Names of the accuracies in records, in the same order.
    const ACCURACY_NAMES: &'static [&'static str];

    /// Embeds the two sides of a batch: images and texts for ConVIRT, first and second views for
    /// SimCLR, each `[batch, d_embedding]`, not normalized.
    fn embed(&self, batch: ImageTextBatch) -> [Tensor<2>; 2];

    /// Computes the loss and the measures of the embeddings of a batch; texts with equal numbers
    /// are equal.
    fn score(&self, embeddings: [Tensor<2>; 2], text_ids: Option<Tensor<1, Int>>) -> Measured;

    /// Embeds a batch and computes its loss and measures.
    fn measure(&self, batch: ImageTextBatch) -> Measured {
        let text_ids = batch.texts.as_ref().map(|texts| texts.text_ids());
        self.score(self.embed(batch), text_ids)
    }

    /// Returns the temperature of the loss.
    fn temperature(&self) -> f64;

    /// Returns the image encoder.
    fn image_encoder(&self) -> &ResNet;

    /// Returns the text encoder, if there is one.
    fn text_encoder(&self) -> Option<&Bert> {
        None
    }

    /// Gives the text encoder, if there is one, a cache of its frozen layers' states.
    fn with_frozen_states(self, _: &FrozenStates) -> Self {
        self
    }

    /// Evaluates the model that `run` has saved on the held-out data.
    ///
    /// # Errors
    ///
    /// If the model cannot be read, the loader fails, or an embedding is not finite.
    fn evaluate<'a>(
        run: &RunDir,
        device: &Device,
        held_out: &'a EvaluationLoader,
    ) -> Result<Evaluation<'a>, Error>;

    /// Clamps parameters to their bounds after a step.
    fn clamp_parameters(self) -> Self {
        self
    }
}

/// The loss and the measures of a batch.
pub(crate) struct Measured {
    /// The loss, `[1]`, in nats.
    pub loss: Tensor<1>,
    pub measures: PendingMeasures,
    /// The embeddings of ConVIRT's images and texts, not normalized, each `[batch, d_embedding]`.
    pub embeddings: Option<[Tensor<2>; 2]>,
}

/// The evaluation of a run's saved model on the held-out data.
pub(crate) enum Evaluation<'a> {
    /// For ConVIRT: the model and the embedded pairs.
    Pairs(Box<(Model, EmbeddedPairs<'a>)>),
    /// For SimCLR: the contrastive accuracy, 0 to 1.
    Views(f64),
}

impl<'a> Evaluation<'a> {
    /// Returns the model and the embedded pairs of ConVIRT.
    pub fn pairs(&self) -> Option<&(Model, EmbeddedPairs<'a>)> {
        match self {
            Self::Pairs(pairs) => Some(pairs),
            Self::Views(_) => None,
        }
    }

    /// Evaluates retrieval among ConVIRT's pairs.
    pub fn retrieval(&self) -> Option<Retrieval> {
        self.pairs().map(|(_, pairs)| pairs.retrieval())
    }

    /// Returns SimCLR's contrastive accuracy.
    pub fn contrastive_accuracy(&self) -> Option<f64> {
        match self {
            Self::Pairs(_) => None,
            Self::Views(accuracy) => Some(*accuracy),
        }
    }
}

impl Pretrained for ConVirt {
    fn accuracies() -> Vec<MeanMetric> {
        vec![MeanMetric::image_to_text(), MeanMetric::text_to_image()]
    }

    const ACCURACY_NAMES: &'static [&'static str] = &["image_to_text", "text_to_image"];

    fn embed(&self, batch: ImageTextBatch) -> [Tensor<2>; 2] {
        let texts = batch.texts.expect("a batch of pairs has texts");
        let images = self.encode_image(batch.images).embedding;
        [images, self.encode_text(text_input(texts)).embedding]
    }

    fn score(&self, embeddings: [Tensor<2>; 2], text_ids: Option<Tensor<1, Int>>) -> Measured {
        let text_ids = text_ids.expect("a batch of pairs has texts");
        let [images, texts] = embeddings.clone();
        let [pairs, _] = images.dims();
        let output = self.loss.forward(images, texts, Some(text_ids.clone()));
        let nearest = [output.nearest_texts, output.nearest_images];
        let accuracies = nearest.map(|nearest| retrieval_accuracy(nearest, text_ids.clone()));
        Measured {
            measures: PendingMeasures::new(output.loss.clone(), accuracies.into(), pairs),
            loss: output.loss,
            embeddings: Some(embeddings),
        }
    }

    fn image_encoder(&self) -> &ResNet {
        &self.image_encoder
    }

    fn temperature(&self) -> f64 {
        self.loss.temperature()
    }

    fn evaluate<'a>(
        run: &RunDir,
        device: &Device,
        held_out: &'a EvaluationLoader,
    ) -> Result<Evaluation<'a>, Error> {
        let model = Model::load_on(run.path(), device)?;
        let pairs = embed_pairs(model.network(), held_out)?;
        Ok(Evaluation::Pairs(Box::new((model, pairs))))
    }

    fn text_encoder(&self) -> Option<&Bert> {
        Some(&self.text_encoder)
    }

    fn with_frozen_states(mut self, states: &FrozenStates) -> Self {
        self.text_encoder = self.text_encoder.with_frozen_states(states);
        self
    }

    fn clamp_parameters(mut self) -> Self {
        self.loss = self.loss.clamp_temperature();
        self
    }
}

impl Pretrained for SimClr {
    fn accuracies() -> Vec<MeanMetric> {
        vec![MeanMetric::view_to_view()]
    }

    const ACCURACY_NAMES: &'static [&'static str] = &["view_to_view"];

    fn embed(&self, batch: ImageTextBatch) -> [Tensor<2>; 2] {
        let images = batch.len();
        let embeddings = self.encode_image(batch.images).embedding;
        let views = embeddings.split(images, 0).try_into();
        views.expect("a batch has two views of each image")
    }

    fn score(&self, views: [Tensor<2>; 2], _: Option<Tensor<1, Int>>) -> Measured {
        let [images, _] = views[0].dims();
        let output = self.loss.forward(Tensor::cat(views.into(), 0));
        let accuracy = view_accuracy(output.nearest_views);
        Measured {
            measures: PendingMeasures::new(output.loss.clone(), vec![accuracy], images),
            loss: output.loss,
            embeddings: None,
        }
    }

    fn image_encoder(&self) -> &ResNet {
        &self.image_encoder
    }

    fn temperature(&self) -> f64 {
        self.loss.temperature()
    }

    fn evaluate<'a>(
        run: &RunDir,
        device: &Device,
        held_out: &'a EvaluationLoader,
    ) -> Result<Evaluation<'a>, Error> {
        let tower = ImageModel::load_on(run.path(), device)?;
        contrastive_accuracy(&tower.network, held_out).map(Evaluation::Views)
    }
}

/// Computes the fraction of rows whose most similar candidate has the row's own text.
///
/// # Shapes
///
/// - nearest: `[batch]`, the number of that candidate
/// - text_ids: `[batch]`
/// - output: `[1]`
fn retrieval_accuracy(nearest: Tensor<1, Int>, text_ids: Tensor<1, Int>) -> Tensor<1> {
    let found = text_ids.clone().gather(0, nearest);
    found.equal(text_ids).float().mean()
}

/// Computes the fraction of views whose most similar other view shows the same image.
///
/// # Shapes
///
/// - nearest: `[2 * batch]`, the number of that view
/// - output: `[1]`
fn view_accuracy(nearest: Tensor<1, Int>) -> Tensor<1> {
    let images = nearest.dims()[0] as i64 / 2;
    let numbers = Tensor::<1, Int>::arange(0..images, &nearest.device());
    retrieval_accuracy(nearest, numbers.repeat_dim(0, 2))
}

/// Embeds the pairs of a loader with a network in evaluation mode.
///
/// # Errors
///
/// If the loader fails or an embedding is not finite.
fn embed_pairs<'a>(
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

/// Computes the fraction of all views of `loader` whose most similar other view in the batch shows
/// the same image, with a network in evaluation mode.
///
/// # Errors
///
/// If the loader fails or an embedding is not finite.
fn contrastive_accuracy(network: &SimClr, loader: &EvaluationLoader) -> Result<f64, Error> {
    let (mut correct, mut images) = (0.0, 0);
    for batch in loader.iter() {
        let batch: ImageTextBatch = batch.map_err(Error::Evaluation)?;
        let in_batch = batch.len();
        let embeddings = network.encode_image(batch.images).embedding;
        let image = |view: usize| {
            let studies = loader.dataset().studies();
            studies[batch.indices[view % in_batch]]
                .image
                .display()
                .to_string()
        };
        finite_rows(embeddings.clone(), image)?;
        let accuracy = view_accuracy(network.loss.forward(embeddings).nearest_views);
        correct += accuracy.into_scalar::<f64>() * in_batch as f64;
        images += in_batch;
    }
    Ok(correct / images.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_count_as_retrieved() {
        let device = Device::flex();
        let nearest = Tensor::<1, Int>::from_data([1, 0, 0], &device);
        let accuracy = |ids: [i64; 3]| {
            let ids = Tensor::from_data(ids, &device);
            retrieval_accuracy(nearest.clone(), ids).into_scalar::<f32>()
        };
        assert_eq!(accuracy([0, 1, 2]), 0.0);
        assert!((accuracy([0, 0, 2]) - 2.0 / 3.0).abs() < 1e-6);
    }

    /// Views 0 and 2 show one image, 1 and 3 the other. View 2 is most similar to view 1, all
    /// others to the view of their image.
    #[test]
    fn a_view_is_correct_if_the_most_similar_one_shows_the_same_image() {
        let nearest = Tensor::from_data([2, 3, 1, 1], &Device::flex());
        assert_eq!(view_accuracy(nearest).into_scalar::<f32>(), 0.75);
    }
}
