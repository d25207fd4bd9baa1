//! One step of the baseline.

use burn::module::Module;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Int, Tensor};
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use convirt_data::ImageTextBatch;
use convirt_model::SimClr;

use super::{PendingMeasures, PretrainingTask, clipped, retrieval_accuracy};
use crate::metrics::MeanMetric;

/// The network of SimCLR and how its gradients are treated; what the `Learner` trains.
///
/// Batches have two views of each image; texts that they may have are not read.
#[derive(Module, Debug)]
pub struct SimClrTask {
    /// The image encoder, its head and the loss.
    pub network: SimClr,
    /// Upper bound of the gradient's global L2 norm; `None` leaves gradients as they are.
    #[module(skip)]
    pub gradient_clip_norm: Option<f64>,
}

impl SimClrTask {
    fn measure(&self, batch: ImageTextBatch) -> (Tensor<1>, PendingMeasures) {
        let images = batch.len();
        let output = self.network.forward(batch.images);
        let accuracy = view_accuracy(output.logits.without_autodiff());
        let measures = PendingMeasures::new(output.loss.clone(), vec![accuracy], images);
        (output.loss, measures)
    }
}

/// Share of views whose most similar other view is the one of their image, `[1]`.
///
/// # Shapes
///
/// - scores: `[2 * batch, 2 * batch]`, those of a view with itself least
pub(crate) fn view_accuracy(scores: Tensor<2>) -> Tensor<1> {
    let images = scores.dims()[0] as i64 / 2;
    let numbers = Tensor::<1, Int>::arange(0..images, &scores.device());
    retrieval_accuracy(scores, numbers.repeat_dim(0, 2))
}

impl PretrainingTask for SimClrTask {
    type Network = SimClr;

    fn network(&self) -> &SimClr {
        &self.network
    }

    fn accuracies() -> Vec<MeanMetric> {
        vec![MeanMetric::view_to_view()]
    }
}

impl TrainStep for SimClrTask {
    type Input = ImageTextBatch;
    type Output = PendingMeasures;

    fn step(&self, batch: ImageTextBatch) -> TrainOutput<PendingMeasures> {
        let (loss, measures) = self.measure(batch);
        TrainOutput::new(self, loss.backward(), measures)
    }

    fn optimize(
        self,
        optimizer: &mut ModuleOptimizer,
        rate: ModuleLearningRate,
        gradients: GradientsParams,
    ) -> Self {
        let gradients = clipped(gradients, &self, self.gradient_clip_norm);
        optimizer.step(rate, self, gradients)
    }
}

impl InferenceStep for SimClrTask {
    type Input = ImageTextBatch;
    type Output = PendingMeasures;

    fn step(&self, batch: ImageTextBatch) -> PendingMeasures {
        self.measure(batch).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    /// Views 0 and 2 are of one image, 1 and 3 of the other; 1 and 3 find each other, 0 finds 2,
    /// and 2 finds 1.
    #[test]
    fn a_view_is_right_when_it_finds_the_other_of_its_image() {
        let least = f32::MIN;
        let scores = Tensor::from_data(
            [
                [least, 0.1, 0.2, 0.0],
                [0.1, least, 0.7, 0.8],
                [0.2, 0.7, least, 0.0],
                [0.0, 0.8, 0.0, least],
            ],
            &Device::flex(),
        );
        assert_eq!(view_accuracy(scores).into_scalar::<f32>(), 0.75);
    }
}
