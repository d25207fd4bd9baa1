//! Steps on batches whose activations do not fit into memory at once: the gradient cache
//! ([Gao et al. 2021](https://arxiv.org/abs/2101.06983)).
//!
//! ```text
//!   batch ─┬─► part 0 ─► embed ─┐               ┌─► gradient of part 0 ─► embed again, backward ─┐
//!          ├─► part 1 ─► embed ─┼─► whole loss ─┼─► gradient of part 1 ─► embed again, backward ─┼─► sum
//!          └─► …      ─► embed ─┘               └─► …                                            ┘
//!              without a graph     its gradient      one part's graph at a time
//! ```
//!
//! The second pass draws the same dropout masks as the first, and those that the whole batch would
//! have. Running statistics of batch norms are updated in the first pass alone.

use std::ops::Range;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::train::TrainOutput;
use convirt_data::ImageTextBatch;
use convirt_model::{associate, keep_running_statistics};
use convirt_ops::{is_flex, mixed_seed, with_dropout_seed};

use super::pretrained::Pretrained;
use super::task::PretrainingTask;
use crate::logging::PendingMeasures;
use crate::network::{Draw, text_input};

/// Computes the loss of a batch with the dropout of a seed, and its gradients in parts of `pairs`
/// pairs.
pub(super) fn step<N: Pretrained>(
    task: &PretrainingTask<N>,
    batch: &ImageTextBatch,
    pairs: usize,
    seed: u64,
) -> TrainOutput<PendingMeasures> {
    let parts = Part::divide(batch, pairs);

    // A parameter is drawn when it is first read. Drawn for the clone, it would have no gradient.
    task.network.visit(&mut Draw);
    let without_graph = task.network.clone().no_grad();
    let embed = |part: &Part| part.embed(&without_graph, seed);
    let (first, second) = parts.iter().map(embed).map(<(_, _)>::from).unzip();
    let embeddings = [first, second].map(|parts| {
        let embeddings = Tensor::cat(parts, 0).without_autodiff();
        associate(embeddings, &batch.images).require_grad()
    });

    let text_ids = batch.texts.as_ref().map(|texts| texts.text_ids.clone());
    let measured = task.network.score(embeddings.clone(), text_ids);
    let mut gradients = measured.loss.backward();
    let embedding_gradients = embeddings.map(|embeddings| {
        let gradient = embeddings.grad_remove(&mut gradients);
        gradient.expect("the loss depends on the embeddings")
    });
    let loss_gradients = GradientsParams::from_grads(gradients, task);

    let mut sum = PairwiseSum::default();
    for part in &parts {
        let embeddings = keep_running_statistics(|| part.embed(&task.network, seed));
        let [first, second] = [0, 1].map(|side| {
            let gradient = embedding_gradients[side].clone().slice(part.pairs.clone());
            (embeddings[side].clone() * gradient).sum()
        });
        let gradients = (first + second).backward();
        sum.add(GradientsParams::from_grads(gradients, task), task);
    }
    TrainOutput {
        grads: added(sum.total(task), loss_gradients, task),
        item: measured.measures,
    }
}

/// A part of a batch that is computed at once.
struct Part<'a> {
    batch: &'a ImageTextBatch,
    pairs: Range<usize>,
    /// Token states of the texts before it, or pairs if there are no texts.
    first_row: usize,
}

impl<'a> Part<'a> {
    /// Divides a batch into parts of `pairs` pairs; the last may have fewer.
    fn divide(batch: &'a ImageTextBatch, pairs: usize) -> Vec<Self> {
        let texts = batch.texts.clone().map(text_input);
        let rows = texts.map_or(vec![1; batch.len()], |texts| texts.state_counts());
        let mut first_row = 0;
        let parts = rows.chunks(pairs).enumerate().map(|(part, rows)| {
            let first_pair = part * pairs;
            let part = Self {
                batch,
                pairs: first_pair..first_pair + rows.len(),
                first_row,
            };
            first_row += rows.iter().sum::<usize>();
            part
        });
        parts.collect()
    }

    fn embed<N: Pretrained>(&self, network: &N, seed: u64) -> [Tensor<2>; 2] {
        let device = self.batch.images.device();
        if !is_flex(&device) {
            device.seed(mixed_seed(seed, self.first_row as u64));
        }
        let part = self.batch.part(self.pairs.clone());
        with_dropout_seed(seed, self.first_row, || network.embed(part))
    }
}

/// A sum of gradients in the order of a binary tree over the numbers of the summands, so that parts
/// of it can be computed elsewhere:
///
/// ```text
///     ((0 + 1) + (2 + 3)) + (4 + 5)
/// ```
#[derive(Default)]
struct PairwiseSum {
    /// Sums of 2^level summands each, the level falling.
    sums: Vec<(u32, GradientsParams)>,
}

impl PairwiseSum {
    fn add<M: Module>(&mut self, gradients: GradientsParams, module: &M) {
        let (mut level, mut gradients) = (0, gradients);
        while let Some((_, earlier)) = self.sums.pop_if(|(other, _)| *other == level) {
            gradients = added(earlier, gradients, module);
            level += 1;
        }
        self.sums.push((level, gradients));
    }

    fn total<M: Module>(mut self, module: &M) -> GradientsParams {
        let (_, mut total) = self.sums.pop().unwrap_or_default();
        while let Some((_, earlier)) = self.sums.pop() {
            total = added(earlier, total, module);
        }
        total
    }
}

/// Adds the gradients of a module's parameters.
fn added<M: Module>(
    first: GradientsParams,
    second: GradientsParams,
    module: &M,
) -> GradientsParams {
    let mut sum = Sum { first, second };
    module.visit(&mut sum);
    sum.first
}

struct Sum {
    first: GradientsParams,
    second: GradientsParams,
}

impl ModuleVisitor for Sum {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(second) = self.second.remove::<D>(param.id) else {
            return;
        };
        let sum = match self.first.remove::<D>(param.id) {
            Some(first) => first + second,
            None => second,
        };
        self.first.register(param.id, sum);
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{Flag, ModuleMapper};
    use burn::tensor::{Device, Int};
    use burn::train::{ItemLazy, TrainStep, metric::Adaptor};
    use convirt_data::TextBatch;
    use convirt_model::{
        BertConfig, ConVirt, ConVirtConfig, ContrastiveLossConfig, LossKind, ResNetConfig,
        ResNetDepth, SimClr, SimClrConfig,
    };
    use convirt_ops::Precision;

    use super::*;
    use crate::logging::Measures;

    const PAIRS: usize = 7;

    fn device() -> Device {
        Device::flex().autodiff()
    }

    /// With a learnable temperature and dropout.
    fn convirt(kind: LossKind) -> ConVirt {
        let text = BertConfig {
            hidden_size: 24,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            intermediate_size: 48,
            hidden_dropout_prob: 0.2,
            attention_probs_dropout_prob: 0.2,
            ..BertConfig::base(40)
        };
        let config = ConVirtConfig {
            d_embedding: 16,
            loss: ContrastiveLossConfig {
                kind,
                learnable_temperature: true,
                ..Default::default()
            },
            ..ConVirtConfig::new(ResNetConfig::new(ResNetDepth::ResNet18), text)
        };
        device().seed(1);
        config.init(&device()).unwrap()
    }

    fn simclr() -> SimClr {
        device().seed(1);
        let config = SimClrConfig::new(ResNetConfig::new(ResNetDepth::ResNet18));
        config.init(&device()).unwrap()
    }

    /// Images in some views, and texts of 3 to 9 tokens, two of which are equal.
    fn batch(views: usize) -> ImageTextBatch {
        let (device, tokens) = (device(), 9);
        let numbers = |count: usize| Tensor::<1, Int>::arange(0..count as i64, &device);
        let images = numbers(views * PAIRS * 3 * 32 * 32).float().sin();
        let lengths = numbers(PAIRS) + 3;
        let positions = numbers(tokens).unsqueeze::<2>().expand([PAIRS, tokens]);
        let lengths = lengths.unsqueeze_dim::<2>(1).expand([PAIRS, tokens]);
        let shape = [PAIRS, tokens];
        ImageTextBatch {
            images: images.reshape([views * PAIRS, 3, 32, 32]),
            texts: Some(TextBatch {
                input_ids: numbers(PAIRS * tokens).remainder_scalar(40).reshape(shape),
                attention_mask: positions.lower(lengths),
                token_type_ids: Tensor::zeros(shape, &device),
                text_ids: Tensor::from_data([0, 1, 2, 1, 3, 4, 5], &device),
            }),
            indices: (0..PAIRS).collect(),
        }
    }

    struct FreezeStatistics;

    impl ModuleMapper for FreezeStatistics {
        fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
            flag.with_value(false)
        }
    }

    struct Gradients<'a>(&'a GradientsParams, Vec<Option<Vec<f32>>>);

    impl ModuleVisitor for Gradients<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = self.0.get::<D>(param.id);
            let values = gradient.map(|gradient| gradient.into_data().try_to_vec().unwrap());
            self.1.push(values);
        }
    }

    /// The loss, the accuracies and the gradients of all parameters.
    fn stepped<N: Pretrained>(
        network: &N,
        batch: ImageTextBatch,
        micro_batch_size: Option<usize>,
    ) -> (Measures, Vec<Option<Vec<f32>>>) {
        let task = PretrainingTask {
            network: network.clone(),
            gradient_clip_norm: None,
            precision: Precision::Float32,
            micro_batch_size,
        };
        let output = with_dropout_seed(3, 0, || TrainStep::step(&task, batch));
        let mut gradients = Gradients(&output.grads, Vec::new());
        task.visit(&mut gradients);
        let gradients = gradients.1;
        (output.item.sync().unwrap().adapt(), gradients)
    }

    fn assert_equals_the_whole_batch<N: Pretrained>(network: &N, views: usize, parameters: usize) {
        let (whole, expected) = stepped(network, batch(views), None);
        assert_eq!(expected.iter().flatten().count(), parameters);
        for pairs in [1, 2, 3, PAIRS - 1] {
            let (measures, actual) = stepped(network, batch(views), Some(pairs));
            assert!((measures.loss - whole.loss).abs() < 1e-5, "{pairs}");
            assert_eq!(measures.accuracies, whole.accuracies, "{pairs}");
            assert_eq!(measures.pairs, PAIRS);
            for (index, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
                let Some(expected) = expected else {
                    assert!(actual.is_none(), "{pairs}: {index}");
                    continue;
                };
                let norm = |numbers: &mut dyn Iterator<Item = f32>| {
                    numbers
                        .map(|number| f64::from(number).powi(2))
                        .sum::<f64>()
                        .sqrt()
                };
                let actual = actual.as_ref().expect("a gradient");
                let differences = actual.iter().zip(expected).map(|(a, b)| a - b);
                let error = norm(&mut { differences });
                let size = norm(&mut expected.iter().copied());
                assert!(
                    error <= 1e-4 * size + 1e-6,
                    "{pairs}: {index}: {error} of {size}"
                );
            }
        }
    }

    #[test]
    fn loss_and_all_gradients_are_those_of_the_whole_batch() {
        for (kind, parameters) in [(LossKind::Softmax, 106), (LossKind::Sigmoid, 107)] {
            let mut network = convirt(kind);
            network.image_encoder = network.image_encoder.map(&mut FreezeStatistics);
            assert_equals_the_whole_batch(&network, 1, parameters);
        }
        let mut network = simclr();
        network.image_encoder = network.image_encoder.map(&mut FreezeStatistics);
        assert_equals_the_whole_batch(&network, 2, 64);
    }

    /// Of a part as of a batch, in the parts' order, once.
    #[test]
    fn running_statistics_are_updated_once_for_each_part() {
        let statistics = |network: &ConVirt| {
            let norm = &network.image_encoder.bn1;
            [&norm.running_mean, &norm.running_var].map(|it| it.value_sync().into_data())
        };
        let network = convirt(LossKind::Softmax);
        stepped(&network, batch(1), Some(3));
        let expected = convirt(LossKind::Softmax);
        for pairs in [0..3, 3..6, 6..7] {
            expected.encode_image(batch(1).part(pairs).images);
        }
        assert_eq!(statistics(&network), statistics(&expected));
    }

    /// Six summands are two trees; the numbers would be rounded in another order.
    #[test]
    fn gradients_are_added_in_the_order_of_a_tree() {
        let layer = burn::nn::LinearConfig::new(1, 1)
            .with_bias(false)
            .init(&device());
        let numbers = [1.0f32, 1e-8, 3e8, -3e8, 0.5, 1e8];
        let mut sum = PairwiseSum::default();
        for number in numbers {
            let mut gradients = GradientsParams::new();
            let gradient = Tensor::<2>::full([1, 1], number, &Device::flex());
            gradients.register(layer.weight.id, gradient);
            sum.add(gradients, &layer);
        }
        let total = sum.total(&layer).get::<2>(layer.weight.id).unwrap();
        let [a, b, c, d, e, f] = numbers;
        assert_eq!(total.into_scalar::<f32>(), ((a + b) + (c + d)) + (e + f));
    }
}
