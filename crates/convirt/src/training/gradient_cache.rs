//! Steps on batches that are computed in parts: the gradient cache
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
//! have. The parts may be divided among several [`Peers`]: they exchange the embeddings before the
//! loss, which each computes, and the gradients after the second pass. Nothing depends on which peer
//! computes which part. A peer with a single part keeps its graph and embeds it once.

use std::ops::Range;

use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use burn::train::TrainOutput;
use convirt_data::{BatchShare, ImageTextBatch, TrainingLoader, text_ids};
use convirt_model::{BatchStatistics, set_statistics_aside};
use convirt_ops::{autocast, next_dropout_seed, with_dropout_seed};
use serde::{Deserialize, Serialize};

use super::gradient_sum::{GradientSum, added, floats};
use super::loss_scale::{multiplied, unscaled};
use super::pretrained::Pretrained;
use super::task::PretrainingTask;
use crate::logging::PendingMeasures;
use crate::network::{DrawParameters, text_input};
use crate::peers::{PeerError, Peers};

/// How a batch is divided and computed.
pub(super) struct PartedStep<'a> {
    /// Positions of the batch in a part.
    pub part_size: usize,
    pub peers: &'a Peers,
    /// The autodiff device of this peer.
    pub device: &'a Device,
}

impl PartedStep<'_> {
    /// Computes the loss of a batch, of which this peer has a share, and its gradients; `None` if
    /// the peers have fewer than two pairs.
    ///
    /// The share begins and ends with a part.
    ///
    /// # Errors
    ///
    /// [`PeerError`] if a peer cannot be reached.
    pub fn run<N: Pretrained>(
        &self,
        task: &PretrainingTask<N>,
        share: &BatchShare,
    ) -> Result<Option<TrainOutput<PendingMeasures>>, PeerError> {
        let seed = next_dropout_seed(self.device);
        autocast(task.precision, || self.step(task, share, seed))
    }

    fn step<N: Pretrained>(
        &self,
        task: &PretrainingTask<N>,
        share: &BatchShare,
        seed: u64,
    ) -> Result<Option<TrainOutput<PendingMeasures>>, PeerError> {
        // A parameter is drawn when it is first read. Drawn for the clone below, it would have no
        // gradient.
        task.network.visit(&mut DrawParameters);
        let pairs = self.gather_pairs(share)?;
        let count: usize = pairs.iter().map(Vec::len).sum();
        if count < TrainingLoader::MIN_PAIRS {
            return Ok(None);
        }
        let parts = Part::divide(&pairs, self.part_size);
        let own = parts.iter().filter(|part| part.peer == self.peers.rank());
        let own: Vec<(&Part, ImageTextBatch)> = own
            .map(|part| (part, part.select(share.batch.as_ref())))
            .collect();

        let without_graph = task.network.clone().no_grad();
        let first_pass = match own.len() {
            1 => &task.network,
            _ => &without_graph,
        };
        let (embedded, statistics): (Vec<[Tensor<2>; 2]>, Vec<_>) = own
            .iter()
            .map(|(part, batch)| set_statistics_aside(|| self.embed(first_pass, part, batch, seed)))
            .unzip();
        self.update_statistics(&task.network, statistics)?;
        let embeddings = self.gather_embeddings(&embedded, &pairs)?;

        let hashes: Option<Vec<u64>> = pairs.iter().flatten().map(|pair| pair.text).collect();
        let text_ids = hashes.map(|hashes| text_ids(&hashes, self.device));
        let measured = task.network.score(embeddings.clone(), text_ids);
        let mut gradients = measured.loss.backward();
        let embedding_gradients = embeddings.map(|embeddings| {
            let gradient = embeddings.grad_remove(&mut gradients);
            gradient.expect("the loss depends on the embeddings")
        });
        let loss_gradients = GradientsParams::from_grads(gradients, task);

        let mut sum = GradientSum::new(task);
        let mut kept = (own.len() == 1).then_some(embedded).into_iter().flatten();
        for (part, batch) in &own {
            let again = || set_statistics_aside(|| self.embed(&task.network, part, batch, seed)).0;
            let embeddings = kept.next().unwrap_or_else(again);
            let [first, second] = [0, 1].map(|side| {
                let gradient = embedding_gradients[side].clone().slice(part.pairs.clone());
                let gradient = multiplied(gradient, task.loss_scale);
                (embeddings[side].clone() * gradient).sum()
            });
            let gradients = (first + second).backward();
            sum.add(part.number, GradientsParams::from_grads(gradients, task));
        }
        let total = sum.total(self.peers, &self.device.clone().inner())?;
        let total = unscaled(total, task, task.loss_scale, self.device);
        Ok(Some(TrainOutput {
            grads: added(total, loss_gradients, task),
            item: measured.measures,
        }))
    }

    fn embed<N: Pretrained>(
        &self,
        network: &N,
        part: &Part,
        batch: &ImageTextBatch,
        seed: u64,
    ) -> [Tensor<2>; 2] {
        with_dropout_seed(seed, part.pairs.start, || network.embed(batch.clone()))
    }

    /// Gathers what all peers need to know of the pairs of each.
    fn gather_pairs(&self, share: &BatchShare) -> Result<Vec<Vec<Pair>>, PeerError> {
        let texts = share.batch.as_ref().and_then(|batch| batch.texts.clone());
        let hashes = texts.as_ref().map(|texts| texts.hashes.clone());
        let tokens = texts.map(|texts| text_input(texts).state_counts());
        let pairs = share.positions.iter().enumerate();
        let pairs = pairs.map(|(pair, &position)| Pair {
            position,
            text: hashes.as_ref().map(|hashes| hashes[pair]),
            tokens: tokens.as_ref().map_or(0, |tokens| tokens[pair]),
        });
        self.peers.gather_values(&pairs.collect())
    }

    /// Moves the running statistics towards those of all parts of all peers, in the order of the
    /// parts.
    fn update_statistics<N: Pretrained>(
        &self,
        network: &N,
        of_parts: Vec<Vec<BatchStatistics>>,
    ) -> Result<(), PeerError> {
        let layers = network.image_encoder().updated_batch_norms();
        if layers.is_empty() {
            return Ok(());
        }
        let own = of_parts.into_iter().flatten();
        let own: Vec<Tensor<1>> = own.flat_map(|it| [it.mean, it.variance]).collect();
        let width: usize = layers.iter().map(|layer| 2 * layer.channels()).sum();
        let plain = self.device.clone().inner();
        for numbers in self.gather_numbers(own)? {
            for of_part in numbers.chunks_exact(width) {
                let all = Tensor::<1>::from_floats(of_part, &plain);
                let mut start = 0;
                for layer in &layers {
                    let [mean, variance] = [(); 2].map(|()| {
                        let end = start + layer.channels();
                        let numbers = all.clone().slice(start..end);
                        start = end;
                        numbers
                    });
                    layer.update(&BatchStatistics { mean, variance });
                }
            }
        }
        Ok(())
    }

    /// Gathers the embeddings of all pairs, as two leaves of a graph, each `[pairs, d_embedding]`.
    fn gather_embeddings(
        &self,
        of_parts: &[[Tensor<2>; 2]],
        pairs: &[Vec<Pair>],
    ) -> Result<[Tensor<2>; 2], PeerError> {
        let count: usize = pairs.iter().map(Vec::len).sum();
        let gather = |side: usize| {
            let own = of_parts.iter().map(|sides| sides[side].clone());
            let own = own.map(|embeddings| embeddings.flatten(0, 1)).collect();
            let numbers = self.gather_numbers(own)?.concat();
            let shape = [count, numbers.len() / count];
            let embeddings = Tensor::from_data(TensorData::new(numbers, shape), self.device);
            Ok(embeddings.require_grad())
        };
        Ok([gather(0)?, gather(1)?])
    }

    /// Gathers the numbers of some tensors of each peer, read from the device at once.
    fn gather_numbers(&self, own: Vec<Tensor<1>>) -> Result<Vec<Vec<f32>>, PeerError> {
        let numbers = match own.is_empty() {
            true => Vec::new(),
            false => Tensor::cat(own, 0)
                .into_data()
                .try_into_vec::<f32>()
                .expect("32-bit numbers"),
        };
        let all = self.peers.gather(bytemuck::cast_slice(&numbers).to_vec())?;
        Ok(all.iter().map(|bytes| floats(bytes)).collect())
    }
}

/// What all peers need to know of a pair.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pair {
    /// Its position in the batch, among all pairs that the batch should have.
    position: usize,
    /// Hash of the text; `None` without texts.
    text: Option<u64>,
    /// Tokens of the text up to its padding; 0 without texts.
    tokens: usize,
}

/// A part of a batch that is computed at once.
#[derive(Debug)]
struct Part {
    /// Number of the part in the batch.
    number: usize,
    /// The peer that computes it.
    peer: usize,
    /// Its pairs, among those of all peers.
    pairs: Range<usize>,
    /// Its pairs, among those of its peer.
    of_peer: Range<usize>,
    /// Tokens of its longest text.
    tokens: usize,
}

impl Part {
    /// Divides the pairs of all peers into parts of `size` positions. Parts without a pair are left
    /// out.
    fn divide(pairs: &[Vec<Pair>], size: usize) -> Vec<Self> {
        let (mut parts, mut start) = (Vec::new(), 0);
        for (peer, pairs) in pairs.iter().enumerate() {
            let mut start_of_peer = 0;
            for part in pairs.chunk_by(|one, next| one.position / size == next.position / size) {
                parts.push(Self {
                    number: part[0].position / size,
                    peer,
                    pairs: start..start + part.len(),
                    of_peer: start_of_peer..start_of_peer + part.len(),
                    tokens: part.iter().map(|pair| pair.tokens).max().unwrap_or(0),
                });
                start += part.len();
                start_of_peer += part.len();
            }
        }
        parts
    }

    /// Returns the pairs of a part of this peer's share. The texts are as long as the longest of
    /// them, whatever the padding of the share: it changes the order of sums.
    fn select(&self, share: Option<&ImageTextBatch>) -> ImageTextBatch {
        let share = share.expect("a share with a part has pairs");
        let part = share.part(self.of_peer.clone());
        ImageTextBatch {
            texts: part.texts.map(|texts| texts.first_tokens(self.tokens)),
            ..part
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{Flag, Module, ModuleMapper, ModuleVisitor, Param};
    use burn::store::ModuleRecord;
    use burn::tensor::{Device, Int};
    use burn::train::{ItemLazy, TrainStep, metric::Adaptor};
    use convirt_data::TextBatch;
    use convirt_model::{
        BertConfig, ConVirt, ConVirtConfig, ContrastiveLossConfig, LossKind, ResNetConfig,
        ResNetDepth, SimClr, SimClrConfig,
    };
    use convirt_ops::Precision;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::logging::Measures;
    use crate::peers::tests::with_threads;

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
        drawn(config.init(&device()).unwrap())
    }

    fn simclr() -> SimClr {
        let config = SimClrConfig::new(ResNetConfig::new(ResNetDepth::ResNet18));
        drawn(config.init(&device()).unwrap())
    }

    /// A network with weights that are the same in each run of the tests: those of the process's generator
    /// depend on what other tests draw from it.
    fn drawn<M: Module>(network: M) -> M {
        network.map(&mut DrawWeights(ChaCha8Rng::seed_from_u64(1)))
    }

    struct DrawWeights(ChaCha8Rng);

    impl ModuleMapper for DrawWeights {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, tensor, mapper) = param.consume();
            let shape = tensor.dims();
            if D == 1 {
                return Param::from_mapped_value(id, tensor, mapper);
            }
            // Uniform, with the variance 2 / inputs of a convolution.
            let largest = (6.0 / shape[1..].iter().product::<usize>() as f32).sqrt();
            let numbers = (0..shape.iter().product::<usize>())
                .map(|_| self.0.random_range(-largest..largest));
            let numbers: Vec<f32> = numbers.collect();
            let drawn = Tensor::from_data(TensorData::new(numbers, shape), &tensor.device());
            let drawn = drawn.set_require_grad(tensor.is_require_grad());
            Param::from_mapped_value(id, drawn, mapper)
        }
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
                hashes: vec![0, 1, 2, 1, 3, 4, 5],
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
        loss_scale: f32,
    ) -> (Measures, Vec<Option<Vec<f32>>>) {
        let task = PretrainingTask {
            network: network.clone(),
            gradient_clip_norm: None,
            precision: Precision::Float32,
            loss_scale,
            micro_batch_size,
        };
        let output = with_dropout_seed(3, 0, || TrainStep::step(&task, batch));
        let mut gradients = Gradients(&output.grads, Vec::new());
        task.visit(&mut gradients);
        let gradients = gradients.1;
        (output.item.sync().unwrap().adapt(), gradients)
    }

    fn assert_equals_the_whole_batch<N: Pretrained>(network: &N, views: usize, parameters: usize) {
        let (whole, expected) = stepped(network, batch(views), None, 1.0);
        assert_eq!(expected.iter().flatten().count(), parameters);
        for pairs in [1, 2, 3, PAIRS - 1] {
            let (measures, actual) = stepped(network, batch(views), Some(pairs), 1.0);
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

    /// A power of two changes no bit of the mantissas.
    #[test]
    fn gradients_of_a_scaled_loss_are_the_same() {
        let network = convirt(LossKind::Softmax);
        for parts in [None, Some(2)] {
            let (plain, expected) = stepped(&network, batch(1), parts, 1.0);
            let (scaled, actual) = stepped(&network, batch(1), parts, 1024.0);
            assert_eq!(scaled.loss, plain.loss);
            assert!(actual == expected, "{parts:?}");
        }
    }

    type Stepped = (Measures, Vec<Option<Vec<f32>>>, Vec<TensorData>);

    /// A step of a batch in parts of two, of which each peer has the positions of a share, as each
    /// peer sees it: measures, gradients, running statistics.
    fn stepped_by_peers<N: Pretrained>(
        network: impl Fn() -> N + Sync,
        initial: &ModuleRecord,
        views: usize,
        shares: &[Range<usize>],
    ) -> Vec<Stepped> {
        with_threads(shares.len(), |peers| {
            let positions = shares[peers.rank()].clone();
            // A clone would share its running statistics.
            let task = PretrainingTask {
                network: network().load_record(initial.clone()),
                gradient_clip_norm: None,
                precision: Precision::Float32,
                loss_scale: 1.0,
                micro_batch_size: None,
            };
            // Pair `i` has `i + 3` tokens, and each share is padded by itself.
            let mut of_share = batch(views).part(positions.clone());
            let texts = of_share.texts.take();
            of_share.texts = texts.map(|texts| texts.first_tokens(positions.end + 2));
            let share = BatchShare {
                batch: (!positions.is_empty()).then_some(of_share),
                positions: positions.collect(),
            };
            let step = PartedStep {
                part_size: 2,
                peers: &peers,
                device: &device(),
            };
            let output = with_dropout_seed(3, 0, || step.run(&task, &share));
            let output = output.unwrap().unwrap();
            let mut gradients = Gradients(&output.grads, Vec::new());
            task.visit(&mut gradients);
            let gradients = gradients.1;
            let layers = task.network.image_encoder().updated_batch_norms();
            let statistics = layers
                .iter()
                .flat_map(|layer| [&layer.running_mean, &layer.running_var]);
            let statistics = statistics.map(|it| it.value_sync().into_data()).collect();
            (output.item.sync().unwrap().adapt(), gradients, statistics)
        })
    }

    #[test]
    fn any_number_of_peers_makes_the_same_step_to_the_bit() {
        fn check<N: Pretrained>(network: impl Fn() -> N + Sync, views: usize) {
            let initial = network().into_record();
            let whole = std::slice::from_ref(&(0..PAIRS));
            let alone = stepped_by_peers(&network, &initial, views, whole).remove(0);
            assert!(alone.1.iter().flatten().count() > 60);
            for shares in [
                vec![0..4, 4..PAIRS],
                vec![0..2, 2..4, 4..PAIRS],
                vec![0..0, 0..PAIRS],
                vec![0..PAIRS, PAIRS..PAIRS],
            ] {
                for stepped in stepped_by_peers(&network, &initial, views, &shares) {
                    assert_eq!(stepped.0, alone.0, "{shares:?}");
                    assert!(stepped.1 == alone.1, "gradients of {shares:?}");
                    assert!(stepped.2 == alone.2, "statistics of {shares:?}");
                }
            }
        }
        check(|| convirt(LossKind::Softmax), 1);
        check(simclr, 2);
    }

    /// Of a part as of a batch, in the parts' order, once.
    #[test]
    fn running_statistics_are_updated_once_for_each_part() {
        let statistics = |network: &ConVirt| {
            let norm = &network.image_encoder.bn1;
            [&norm.running_mean, &norm.running_var].map(|it| it.value_sync().into_data())
        };
        let network = convirt(LossKind::Softmax);
        stepped(&network, batch(1), Some(3), 1.0);
        let expected = convirt(LossKind::Softmax);
        for pairs in [0..3, 3..6, 6..7] {
            expected.encode_image(batch(1).part(pairs).images);
        }
        assert_eq!(statistics(&network), statistics(&expected));
    }
}
