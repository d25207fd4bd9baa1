//! One step of contrastive pretraining, as burn-train's `Learner` takes it.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{ExecutionError, Int, Tensor};
use burn::train::metric::Adaptor;
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use convirt_data::ImageTextBatch;
use convirt_model::{ConVirt, TextInput};

/// The network and how its gradients are treated; what the `Learner` trains.
#[derive(Module, Debug)]
pub struct ContrastiveTask {
    /// The two towers, their heads and the loss.
    pub network: ConVirt,
    /// Upper bound of the gradient's global L2 norm; `None` leaves gradients as they are.
    #[module(skip)]
    pub gradient_clip_norm: Option<f64>,
}

/// The texts of a batch, as the encoder takes them.
pub(crate) fn text_input(batch: &ImageTextBatch) -> TextInput {
    TextInput {
        input_ids: batch.input_ids.clone(),
        attention_mask: batch.attention_mask.clone(),
        token_type_ids: Some(batch.token_type_ids.clone()),
    }
}

impl ContrastiveTask {
    fn measure(&self, batch: ImageTextBatch) -> (Tensor<1>, PendingMeasures) {
        let (pairs, texts) = (batch.len(), text_input(&batch));
        let text_ids = batch.text_ids.clone();
        let output = self
            .network
            .forward(batch.images, texts, Some(batch.text_ids));
        let logits = output.logits.without_autodiff();
        let values = Tensor::cat(
            vec![
                output.loss.clone().without_autodiff(),
                retrieval_accuracy(logits.clone(), text_ids.clone()),
                retrieval_accuracy(logits.transpose(), text_ids),
            ],
            0,
        );
        (output.loss, PendingMeasures::new(values, pairs))
    }
}

impl TrainStep for ContrastiveTask {
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
        let gradients = match self.gradient_clip_norm {
            Some(max_norm) => clip_global_norm(gradients, &self, max_norm),
            None => gradients,
        };
        let mut task = optimizer.step(rate, self, gradients);
        task.network.loss = task.network.loss.clamp_temperature();
        task
    }
}

impl InferenceStep for ContrastiveTask {
    type Input = ImageTextBatch;
    type Output = PendingMeasures;

    fn step(&self, batch: ImageTextBatch) -> PendingMeasures {
        self.measure(batch).1
    }
}

/// What one batch showed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measures {
    /// Contrastive loss in nats, mean over the batch.
    pub loss: f64,
    /// Share of images whose most similar text in the batch is theirs (or equal to it).
    pub image_to_text_accuracy: f64,
    /// Share of texts whose most similar image in the batch is theirs (or of an equal text).
    pub text_to_image_accuracy: f64,
    /// Pairs in the batch.
    pub pairs: usize,
}

/// [`Measures`] that are still on the device; the metric thread reads them with one transfer.
#[derive(Clone, Debug)]
pub struct PendingMeasures {
    values: Tensor<1>,
    pairs: usize,
    read: Option<Measures>,
}

impl PendingMeasures {
    fn new(values: Tensor<1>, pairs: usize) -> Self {
        Self {
            values,
            pairs,
            read: None,
        }
    }
}

impl ItemLazy for PendingMeasures {
    fn sync(mut self) -> Result<Self, ExecutionError> {
        let values = self
            .values
            .clone()
            .try_into_vec_as::<f32>()
            .map_err(|error| ExecutionError::with_context(error.to_string()))?;
        let loss = f64::from(values[0]);
        if !loss.is_finite() {
            return Err(ExecutionError::with_context(format!(
                "the loss became {loss}: lower `learning_rate`, set `gradient_clip_norm: 1.0`, \
                 or raise `loss.temperature`"
            )));
        }
        self.read = Some(Measures {
            loss,
            image_to_text_accuracy: f64::from(values[1]),
            text_to_image_accuracy: f64::from(values[2]),
            pairs: self.pairs,
        });
        Ok(self)
    }
}

impl Adaptor<Measures> for PendingMeasures {
    fn adapt(&self) -> Measures {
        self.read
            .expect("burn-train synchronizes an item before its metrics see it")
    }
}

/// Share of rows whose largest score is at a column with the row's own text.
///
/// # Shapes
///
/// - scores: `[batch, batch]`
/// - text_ids: `[batch]`
/// - output: `[1]`
fn retrieval_accuracy(scores: Tensor<2>, text_ids: Tensor<1, Int>) -> Tensor<1> {
    let best = scores.argmax(1).squeeze_dim::<1>(1);
    text_ids
        .clone()
        .gather(0, best)
        .equal(text_ids)
        .float()
        .mean()
}

/// Scales all gradients so that their common L2 norm is at most `max_norm`, as
/// `torch.nn.utils.clip_grad_norm_` does.
fn clip_global_norm<M: Module>(
    gradients: GradientsParams,
    module: &M,
    max_norm: f64,
) -> GradientsParams {
    let mut squares = SumOfSquares {
        gradients: &gradients,
        sum: None,
    };
    module.visit(&mut squares);
    let Some(sum) = squares.sum else {
        return gradients;
    };
    let factor = (sum.sqrt() + 1e-6)
        .recip()
        .mul_scalar(max_norm)
        .clamp_max(1.0);
    let mut scale = Scale { gradients, factor };
    module.visit(&mut scale);
    scale.gradients
}

struct SumOfSquares<'a> {
    gradients: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for SumOfSquares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let square = gradient.square().sum();
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + square,
                None => square,
            });
        }
    }
}

struct Scale {
    gradients: GradientsParams,
    factor: Tensor<1>,
}

impl ModuleVisitor for Scale {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients
                .register(param.id, gradient * self.factor.clone().reshape([1; D]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::LinearConfig;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn equal_texts_count_as_retrieved() {
        let device = Device::flex();
        let scores =
            Tensor::from_data([[0.1, 0.9, 0.0], [0.9, 0.1, 0.0], [0.9, 0.0, 0.1]], &device);
        let distinct = Tensor::from_data([0, 1, 2], &device);
        let first_two_equal = Tensor::from_data([0, 0, 2], &device);
        let accuracy = |ids| retrieval_accuracy(scores.clone(), ids).into_scalar::<f32>();
        assert_eq!(accuracy(distinct), 0.0);
        assert!((accuracy(first_two_equal) - 2.0 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn clipping_bounds_the_norm_over_all_parameters_and_keeps_small_gradients() {
        let device = Device::flex().autodiff();
        let layer = LinearConfig::new(2, 2).init(&device);
        let input = Tensor::<2>::from_data([[3.0, 4.0]], &device);
        let gradients = || {
            let loss = layer.forward(input.clone()).sum();
            GradientsParams::from_grads(loss.backward(), &layer)
        };
        // dL/dW = [3 3; 4 4], dL/db = [1 1]: norm √(9+9+16+16+1+1) = √52.
        let norm = 52f32.sqrt();
        let clipped = clip_global_norm(gradients(), &layer, 1.0);
        let weight = clipped.get::<2>(layer.weight.id).unwrap();
        let expected = TensorData::from([[3.0 / norm, 3.0 / norm], [4.0 / norm, 4.0 / norm]]);
        weight
            .into_data()
            .assert_approx_eq::<f32>(&expected, Default::default());
        let untouched = clip_global_norm(gradients(), &layer, 100.0);
        let weight = untouched.get::<2>(layer.weight.id).unwrap();
        assert_eq!(
            weight.into_data(),
            TensorData::from([[3.0f32, 3.0], [4.0, 4.0]])
        );
    }

    #[test]
    fn a_loss_that_is_not_finite_is_an_error_that_says_what_to_do() {
        let values = Tensor::from_data([f32::NAN, 0.0, 0.0], &Device::flex());
        let error = PendingMeasures::new(values, 2).sync().unwrap_err();
        assert!(error.to_string().contains("learning_rate"), "{error}");
    }
}
