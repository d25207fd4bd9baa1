//! The steps of contrastive pretraining, for burn-train's `Learner`.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use convirt_data::{BatchShare, ImageTextBatch};
use convirt_model::{ConVirt, SimClr};
use convirt_ops::{Precision, autocast, next_dropout_seed, sum_of_squares, with_dropout_seed};

use super::gradient_cache::PartedStep;
use super::loss_scale::gradients_of;
use super::pretrained::Pretrained;
use crate::config::Config;
use crate::logging::PendingMeasures;
use crate::peers::Peers;

/// A network with the settings of its steps, which burn-train's `Learner` trains.
///
/// # Examples
///
/// A step of SimCLR on two images in two views each:
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn::train::metric::Adaptor;
/// use burn::train::{ItemLazy, TrainStep};
/// use convirt::compute::Precision;
/// use convirt::data::ImageTextBatch;
/// use convirt::logging::Measures;
/// use convirt::model::{ResNetConfig, ResNetDepth, SimClrConfig};
/// use convirt::training::{Adam, SimClrTask};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = Device::flex().autodiff();
/// let network = SimClrConfig::new(ResNetConfig::new(ResNetDepth::ResNet18)).init(&device)?;
/// let task = SimClrTask {
///     network,
///     gradient_clip_norm: Some(1.0),
///     precision: Precision::Float32,
///     loss_scale: 1.0,
///     micro_batch_size: None,
/// };
/// let images = Tensor::<1>::from_data([0.1, 0.9, 0.2, 0.8], &device);
/// let images = images.reshape([4, 1, 1, 1]).expand([4, 3, 32, 32]);
/// let batch = ImageTextBatch { images, texts: None, indices: vec![0, 1] };
///
/// let output = TrainStep::step(&task, batch);
/// let measures: Measures = output.item.sync()?.adapt();
/// assert!(measures.loss > 0.0 && measures.accuracies.len() == 1);
/// let mut optimizer = Adam { epsilon: 1e-8, weight_decay: 1e-6 }.init();
/// let task = task.optimize(&mut optimizer, 1e-4.into(), output.grads);
/// # let _ = task;
/// # Ok(())
/// # }
/// ```
#[derive(Module, Debug)]
pub struct PretrainingTask<N> {
    /// Encoders, projection heads and loss.
    pub network: N,
    /// Maximum L2 norm of all gradients together; `None` does not clip.
    #[module(skip)]
    pub gradient_clip_norm: Option<f64>,
    /// Precision of convolutions and linear layers.
    #[module(skip)]
    pub precision: Precision,
    /// By which the loss is multiplied while its gradients are computed, which are then divided by
    /// it: 1, or more in float16, where small gradients vanish.
    #[module(skip)]
    pub loss_scale: f32,
    /// Pairs that are computed at a time, at least 1; the loss is that of the whole batch in any
    /// case. `None` computes the whole batch at once.
    ///
    /// Smaller parts take less memory and a third more time: a batch larger than this is embedded
    /// twice ([Gao et al. 2021](https://arxiv.org/abs/2101.06983)). Loss and gradients are the
    /// same, but for batch norms, which normalize each part by its own statistics unless they are
    /// frozen.
    #[module(skip)]
    pub micro_batch_size: Option<usize>,
}

/// ConVIRT's task. Its batches have one view of each image, and texts: a step on a batch without
/// texts panics.
pub type ContrastiveTask = PretrainingTask<ConVirt>;

/// SimCLR's task. Its batches have two views of each image; texts are ignored.
pub type SimClrTask = PretrainingTask<SimClr>;

impl<N: Pretrained> TrainStep for PretrainingTask<N> {
    type Input = ImageTextBatch;
    type Output = PendingMeasures;

    fn step(&self, batch: ImageTextBatch) -> TrainOutput<PendingMeasures> {
        let device = batch.images.device();
        match self.micro_batch_size {
            Some(part_size) if part_size < batch.len() => {
                let step = PartedStep {
                    part_size,
                    peers: &Peers::alone(),
                    device: &device,
                };
                let output = step.run(self, &BatchShare::whole(batch));
                let output = output.expect("nothing is sent to other peers");
                output.expect("a batch has at least two pairs")
            }
            _ => {
                let seed = next_dropout_seed(&device);
                autocast(self.precision, || {
                    let measured = with_dropout_seed(seed, 0, || self.network.measure(batch));
                    TrainOutput {
                        grads: gradients_of(measured.loss, self, self.loss_scale),
                        item: measured.measures,
                    }
                })
            }
        }
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
        task.network = task.network.clamp_parameters();
        task
    }
}

impl<N: Pretrained> InferenceStep for PretrainingTask<N> {
    type Input = ImageTextBatch;
    type Output = PendingMeasures;

    fn step(&self, batch: ImageTextBatch) -> PendingMeasures {
        let measured = autocast(self.precision, || self.network.measure(batch));
        measured.measures.with_embeddings(measured.embeddings)
    }
}

impl<N> PretrainingTask<N> {
    /// Makes the task of a configuration, for a device.
    pub(super) fn configured(network: N, config: &Config, device: &Device) -> Self {
        Self {
            network,
            gradient_clip_norm: config.gradient_clip_norm,
            precision: config.precision_on(device),
            loss_scale: 1.0,
            micro_batch_size: config.micro_batch(),
        }
    }
}

/// Scales the gradients of a module so that their global L2 norm is at most `max_norm`, like
/// `torch.nn.utils.clip_grad_norm_`.
fn clip_global_norm<M: Module>(
    gradients: GradientsParams,
    module: &M,
    max_norm: f64,
) -> GradientsParams {
    let Some(norm) = global_norm(&gradients, module) else {
        return gradients;
    };
    let factor = (norm + 1e-6).recip().mul_scalar(max_norm).clamp_max(1.0);
    scaled(gradients, module, factor)
}

/// Multiplies the gradients of a module by a factor, `[1]`.
pub(super) fn scaled<M: Module>(
    gradients: GradientsParams,
    module: &M,
    factor: Tensor<1>,
) -> GradientsParams {
    let mut scale = Scale { gradients, factor };
    module.visit(&mut scale);
    scale.gradients
}

/// Computes the L2 norm of all gradients of a module together, `[1]`; `None` without a gradient.
pub(super) fn global_norm<M: Module>(gradients: &GradientsParams, module: &M) -> Option<Tensor<1>> {
    let mut squares = SumsOfSquares {
        gradients,
        sums: Vec::new(),
    };
    module.visit(&mut squares);
    // Only now, so that a GPU adds many at a time.
    let sum = squares.sums.into_iter().reduce(|sum, square| sum + square);
    sum.map(Tensor::sqrt)
}

struct SumsOfSquares<'a> {
    gradients: &'a GradientsParams,
    sums: Vec<Tensor<1>>,
}

impl ModuleVisitor for SumsOfSquares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            self.sums.push(sum_of_squares(gradient));
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
    use convirt_data::TextBatch;

    use burn::train::ItemLazy;
    use burn::train::metric::Adaptor;

    use crate::logging::Measures;

    use super::*;
    use burn::nn::LinearConfig;
    use burn::tensor::{Device, Int, TensorData};
    use convirt_model::FrozenStates;

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

    /// Three steps of Adam and an evaluation, with and without the cache.
    #[test]
    fn the_cache_of_frozen_states_does_not_change_a_training() {
        use crate::training::adam::Adam;
        use convirt_model::{BertConfig, ConVirtConfig, ResNetConfig, ResNetDepth};

        let device = Device::flex().autodiff();
        let text = BertConfig {
            hidden_size: 24,
            num_hidden_layers: 3,
            num_attention_heads: 2,
            intermediate_size: 48,
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            ..BertConfig::base(40)
        };
        let config = ConVirtConfig {
            d_embedding: 16,
            freeze_embeddings: true,
            freeze_layers: vec![0],
            ..ConVirtConfig::new(ResNetConfig::new(ResNetDepth::ResNet18), text)
        };
        let initial = config.init(&device).unwrap().into_record();
        let batch = |first: i64| {
            let shape = [3, 5];
            let count = 3 * 3 * 32 * 32;
            let pixels = Tensor::<1, Int>::arange(first..first + count, &device).float();
            ImageTextBatch {
                images: pixels.sin().reshape([3, 3, 32, 32]),
                texts: Some(TextBatch {
                    input_ids: Tensor::arange(first..first + 15, &device).reshape(shape),
                    attention_mask: Tensor::<2, Int>::ones(shape, &device).bool(),
                    token_type_ids: Tensor::zeros(shape, &device),
                    hashes: vec![0, 1, 2],
                }),
                indices: vec![0, 1, 2],
            }
        };
        let loss = |item: PendingMeasures| -> f64 {
            let measures: Measures = item.sync().unwrap().adapt();
            measures.loss
        };
        let losses = |precision, states: Option<&FrozenStates>| {
            // Clones would share their running statistics.
            let network = config.init(&device).unwrap().load_record(initial.clone());
            let network = match states {
                Some(states) => network.with_frozen_states(states),
                None => network,
            };
            let mut task = PretrainingTask {
                network,
                gradient_clip_norm: None,
                precision,
                loss_scale: 1.0,
                micro_batch_size: None,
            };
            let adam = Adam {
                epsilon: 1e-8,
                weight_decay: 0.0,
            };
            let mut optimizer = adam.init();
            let mut losses = Vec::new();
            // The third batch is the first one again, so that its states are cached.
            for first in [1, 9, 1] {
                let output = TrainStep::step(&task, batch(first));
                losses.push(loss(output.item));
                task = task.optimize(&mut optimizer, 1e-2.into(), output.grads);
            }
            let output = InferenceStep::step(&task.valid(), batch(9));
            losses.push(loss(output));
            losses
        };
        let losses_by_precision = [Precision::Float32, Precision::BFloat16].map(|precision| {
            let states = FrozenStates::new(1 << 20);
            let cached = losses(precision, Some(&states));
            assert_eq!(states.texts(), 6);
            assert_eq!(cached, losses(precision, None));
            assert!(cached[0] != cached[2], "the trained layers change");
            cached
        });
        let [exact, rounded] = losses_by_precision;
        assert!(exact != rounded, "the precision has its effect");
    }

    #[test]
    fn a_loss_that_is_not_finite_is_an_error_that_says_what_to_do() {
        let loss = Tensor::from_data([f32::NAN], &Device::flex());
        let error = PendingMeasures::new(loss, Vec::new(), 2).sync();
        let error = error.unwrap_err();
        assert!(error.to_string().contains("learning_rate"), "{error}");
    }
}
