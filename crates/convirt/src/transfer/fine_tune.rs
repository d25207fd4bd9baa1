//! Fine-tuning: training the encoder and the head on labels (Zhang et al. 2022, section 4).

use std::path::PathBuf;

use burn::module::Module;
use burn::optim::lr_scheduler::LrScheduler;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};
use burn::train::Interrupter;
use convirt_data::{ImageBatch, LabelledImage, Labels, SettingError, hold_out};
use convirt_model::ImageClassifier as Network;
use convirt_ops::{Precision, with_dropout_seed};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::error::TransferError;
use super::image_reader::ImageReader;
use crate::config::Schedule;
use crate::error::Error;
use crate::inference::finite_rows;
use crate::logging::Bar;
use crate::messages::warning;
use crate::training::{Adam, LossScale, ScheduledLearningRate, gradients_of};

/// Share of the training images held out for validation if no validation images are given.
pub(super) const VALIDATION_SHARE: f64 = 0.2;

/// The settings of fine-tuning; the defaults are the paper's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FineTuneConfig {
    /// Adam's learning rate, above 0.
    pub learning_rate: f64,
    /// Adam's L2 penalty, at least 0.
    pub weight_decay: f64,
    /// Number of steps that train only the head, before the encoder is trained as well.
    pub warmup_steps: usize,
    /// Learning rate of these steps, above 0.
    pub warmup_learning_rate: f64,
    /// Number of epochs without a lower validation loss before the learning rate is halved, at
    /// least 1.
    pub patience: usize,
    /// Number of epochs without a lower validation loss before the training stops, at least 1.
    pub stop_patience: usize,
    /// Maximum number of epochs, at least 1.
    pub max_epochs: usize,
}

impl Default for FineTuneConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-4,
            weight_decay: 1e-6,
            warmup_steps: 200,
            warmup_learning_rate: 1e-3,
            patience: 3,
            stop_patience: 10,
            max_epochs: 100,
        }
    }
}

impl FineTuneConfig {
    /// Checks that all settings are in range.
    pub(super) fn check(&self) -> Result<(), SettingError> {
        for (setting, value, is_allowed, allowed) in [
            (
                "learning_rate",
                self.learning_rate,
                self.learning_rate > 0.0,
                "above 0",
            ),
            (
                "warmup_learning_rate",
                self.warmup_learning_rate,
                self.warmup_learning_rate > 0.0,
                "above 0",
            ),
            (
                "weight_decay",
                self.weight_decay,
                self.weight_decay >= 0.0,
                "at least 0",
            ),
            (
                "patience",
                self.patience as f64,
                self.patience > 0,
                "1 or more",
            ),
            (
                "stop_patience",
                self.stop_patience as f64,
                self.stop_patience > 0,
                "1 or more",
            ),
            (
                "max_epochs",
                self.max_epochs as f64,
                self.max_epochs > 0,
                "1 or more",
            ),
        ] {
            if !is_allowed {
                return Err(SettingError::OutOfRange {
                    setting,
                    value,
                    allowed,
                });
            }
        }
        Ok(())
    }
}

/// The data that a network is fine-tuned on.
pub(crate) struct FineTuneData<'a> {
    pub labels: &'a Labels,
    pub images: &'a [LabelledImage],
    pub reader: &'a ImageReader,
    pub device: &'a Device,
    /// That of the current autocast.
    pub precision: Precision,
    pub interrupter: &'a Interrupter,
}

/// The fine-tuned network of the epoch with the lowest validation loss.
pub(crate) struct FineTuned {
    /// The network, in evaluation mode.
    pub network: Network,
    /// The epoch, from 1; 0 is after the warm-up of the head.
    pub epoch: usize,
    /// Mean loss on the validation images, in nats.
    pub validation_loss: f64,
}

impl FineTuneData<'_> {
    /// Trains on the images at `train` as long as the loss on the images at `valid` falls.
    ///
    /// If `valid` is empty, a fifth of `train`'s groups is held out for validation. All images must
    /// be readable. A requested stop ends the training with the best network so far.
    ///
    /// # Errors
    ///
    /// [`ManifestError::TooFewWithLabel`] when a label has too few groups to hold some out,
    /// [`TransferError::Diverged`], and when too many images are unreadable.
    pub fn fit(
        &self,
        network: Network,
        config: &FineTuneConfig,
        train: &[usize],
        valid: &[usize],
        seed: u64,
    ) -> Result<FineTuned, Error> {
        let (train, valid) = if valid.is_empty() {
            self.split_validation(train, seed)?
        } else {
            (train.to_vec(), valid.to_vec())
        };
        with_dropout_seed(seed, 0, || {
            self.train(network.train(), config, &train, &valid, seed)
        })
    }

    fn train(
        &self,
        mut network: Network,
        config: &FineTuneConfig,
        train: &[usize],
        valid: &[usize],
        seed: u64,
    ) -> Result<FineTuned, Error> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        network = self.warm_up(network, config, train, &mut rng)?;

        let mut best = FineTuned {
            validation_loss: self.mean_loss(&network.valid(), valid)?,
            network: network.valid(),
            epoch: 0,
        };
        let rate = ScheduledLearningRate::new(
            config.learning_rate,
            Schedule::Plateau {
                warmup_steps: 0,
                patience: config.patience,
                factor: 0.5,
                min_learning_rate: 0.0,
            },
        );
        let mut state = FineTuneState {
            optimizer: adam(config),
            rate,
            loss_scale: LossScale::default(),
        };
        state.rate.observe(best.validation_loss);
        let bar = Bar::new(
            "fine-tuning",
            config.max_epochs * train.len(),
            "images at most",
        );
        for epoch in 1..=config.max_epochs {
            let mut order = train.to_vec();
            order.shuffle(&mut rng);
            let trained = self.epoch(network, &mut state, &order, &bar)?;
            network = trained.network;
            if self.interrupter.should_stop() {
                break;
            }
            let validation_loss = self.mean_loss(&network.valid(), valid)?;
            for loss in [trained.loss, validation_loss] {
                if !loss.is_finite() {
                    return Err(TransferError::Diverged { loss, epoch }.into());
                }
            }
            state.rate.observe(validation_loss);
            if validation_loss < best.validation_loss {
                best = FineTuned {
                    network: network.valid(),
                    epoch,
                    validation_loss,
                };
            }
            if epoch - best.epoch >= config.stop_patience {
                break;
            }
        }
        Ok(best)
    }

    /// Predicts the probability of each label for the images at `indices`, which must be readable.
    ///
    /// # Shapes
    ///
    /// - output: `[indices, labels]`, flat
    ///
    /// # Errors
    ///
    /// When an image can no longer be read, and [`InferenceError::NotFinite`].
    pub fn predict(&self, network: &Network, indices: &[usize]) -> Result<Vec<f32>, Error> {
        let mut reader = self.reader.clone();
        // Every image is needed: one that can no longer be read is an error.
        reader.max_bad_share = 0.0;
        let mut all = Vec::new();
        let paths = self.paths(indices);
        for batch in reader.batches(&paths, self.device)? {
            let batch = batch?;
            let logits = network.forward(batch.images);
            let probabilities = crate::inference::probabilities(self.labels, logits);
            let name = |row: usize| paths[batch.indices[row]].display().to_string();
            all.extend(finite_rows(probabilities, name)?);
        }
        Ok(all)
    }

    /// Splits `train` into training and validation images.
    fn split_validation(
        &self,
        train: &[usize],
        seed: u64,
    ) -> Result<(Vec<usize>, Vec<usize>), Error> {
        let images: Vec<LabelledImage> = train
            .iter()
            .map(|index| self.images[*index].clone())
            .collect();
        let held_out = hold_out(&images, self.labels, VALIDATION_SHARE, seed)?;
        let (mut training, mut validation) = (Vec::new(), Vec::new());
        for (position, &image) in train.iter().enumerate() {
            if held_out.binary_search(&position).is_ok() {
                validation.push(image);
            } else {
                training.push(image);
            }
        }
        Ok((training, validation))
    }

    /// Trains only the head. The encoder's weights stay fixed, but the running statistics of its
    /// batch norms adapt to the images.
    fn warm_up(
        &self,
        mut network: Network,
        config: &FineTuneConfig,
        train: &[usize],
        rng: &mut ChaCha8Rng,
    ) -> Result<Network, Error> {
        // Without `no_grad`, the encoder's graph would stay in memory, since no backward pass uses
        // it. The clone shares the statistics of its batch norms with the original.
        let encoder = network.encoder.clone().no_grad();
        let bar = Bar::new("warming the head", config.warmup_steps, "steps");
        let mut optimizer = adam(config);
        let mut order = train.to_vec();
        let mut step = 0;
        while step < config.warmup_steps {
            order.shuffle(rng);
            let before = step;
            for batch in self.training_batches(&order)? {
                if step == config.warmup_steps || self.interrupter.should_stop() {
                    return Ok(network);
                }
                let (images, indices) = batch?;
                let features = encoder.forward(images);
                let gradients = self.loss(network.classify(features), &indices).backward();
                let gradients = GradientsParams::from_grads(gradients, &network.head);
                let rate = config.warmup_learning_rate;
                network.head = optimizer.step(rate, network.head, gradients);
                step += 1;
                bar.advance(1);
            }
            if step == before {
                return Err(Error::NoBatches { step });
            }
        }
        Ok(network)
    }

    fn epoch(
        &self,
        mut network: Network,
        state: &mut FineTuneState,
        order: &[usize],
        bar: &Bar,
    ) -> Result<Epoch, Error> {
        let mut sum = Tensor::<1>::zeros([1], self.device);
        let mut labels = 0;
        for batch in self.training_batches(order)? {
            let (pixels, indices) = batch?;
            let loss = self.loss(network.forward(pixels), &indices);
            let known = self.known_labels(&indices);
            sum = sum + loss.clone().without_autodiff() * known as f64;
            labels += known;
            let factor = state.loss_scale.factor(self.precision);
            let gradients = gradients_of(loss, &network, factor);
            let rate = state.rate.step();
            let is_scaled = self.precision == Precision::Float16;
            if is_scaled && state.loss_scale.overflows(&gradients, &network) {
                warning("a step changes nothing: a gradient overflowed in float16");
            } else {
                network = state.optimizer.step(rate, network, gradients);
            }
            bar.advance(indices.len());
            if self.interrupter.should_stop() {
                break;
            }
        }
        Ok(Epoch {
            network,
            loss: f64::from(sum.into_scalar::<f32>()) / labels.max(1) as f64,
        })
    }

    /// Iterates over training batches of the images at `order`, each with the positions of its
    /// images.
    fn training_batches<'b>(
        &self,
        order: &'b [usize],
    ) -> Result<impl Iterator<Item = Result<(Tensor<4>, Vec<usize>), Error>> + use<'b>, Error> {
        let mut reader = self.reader.clone();
        reader.loader.batch_size = self.batch_size(order.len());
        let batches = reader.batches(&self.paths(order), &self.device.clone().autodiff())?;
        Ok(batches.map(|batch| {
            let ImageBatch { images, indices } = batch?;
            Ok((
                images,
                indices.into_iter().map(|index| order[index]).collect(),
            ))
        }))
    }

    /// Returns the loss of a network in evaluation mode on the images at `indices`, which does not
    /// depend on their batches.
    fn mean_loss(&self, network: &Network, indices: &[usize]) -> Result<f64, Error> {
        let (mut sum, mut labels) = (0.0, 0);
        for batch in self.reader.batches(&self.paths(indices), self.device)? {
            let batch = batch?;
            let rows = batch.indices.iter();
            let batch_indices: Vec<usize> = rows.map(|row| indices[*row]).collect();
            let loss = self.loss(network.forward(batch.images), &batch_indices);
            let known = self.known_labels(&batch_indices);
            sum += f64::from(loss.into_scalar::<f32>()) * known as f64;
            labels += known;
        }
        Ok(sum / labels.max(1) as f64)
    }

    /// Returns the mean negative log-likelihood of the known labels of the images at `indices`, in
    /// nats.
    ///
    /// # Shapes
    ///
    /// - logits: `[batch, labels]`
    /// - output: `[1]`
    fn loss(&self, logits: Tensor<2>, indices: &[usize]) -> Tensor<1> {
        let device = logits.device();
        let shape = logits.dims();
        let matrix = |value: fn(&Option<bool>) -> f32| {
            let images = indices.iter().map(|index| &self.images[*index]);
            let targets = images.flat_map(|image| &image.targets);
            let values: Vec<f32> = targets.map(value).collect();
            Tensor::<2>::from_data(TensorData::new(values, shape), &device)
        };
        let positive = matrix(|target| f32::from(u8::from(*target == Some(true))));
        let losses = match self.labels {
            Labels::Classes(_) => (log_softmax(logits, 1) * positive).neg(),
            Labels::Findings(_) => {
                let known = matrix(|target| f32::from(u8::from(target.is_some())));
                // ln(1 + eˢ) − s·y, without overflow.
                let soft = logits.clone().abs().neg().exp().log1p();
                (logits.clone().clamp_min(0.0) - logits * positive + soft) * known
            }
        };
        losses.sum() / self.known_labels(indices).max(1) as f64
    }

    /// Returns the number of labels of the images at `indices` that are known: each image has one
    /// class.
    fn known_labels(&self, indices: &[usize]) -> usize {
        match self.labels {
            Labels::Classes(_) => indices.len(),
            Labels::Findings(_) => {
                let targets = indices
                    .iter()
                    .flat_map(|index| &self.images[*index].targets);
                targets.flatten().count()
            }
        }
    }

    /// Returns a batch size, at most the configured one, that leaves no small last batch.
    fn batch_size(&self, images: usize) -> usize {
        let batches = images.div_ceil(self.reader.loader.batch_size.max(1));
        images.div_ceil(batches.max(1)).max(1)
    }

    fn paths(&self, indices: &[usize]) -> Vec<PathBuf> {
        indices
            .iter()
            .map(|index| self.images[*index].image.clone())
            .collect()
    }
}

/// The state of a training beside its network.
struct FineTuneState {
    optimizer: ModuleOptimizer,
    rate: ScheduledLearningRate,
    loss_scale: LossScale,
}

/// The result of one pass over the training images.
struct Epoch {
    network: Network,
    /// Mean training loss.
    loss: f64,
}

fn adam(config: &FineTuneConfig) -> ModuleOptimizer {
    let optimizer = Adam {
        epsilon: 1e-8,
        weight_decay: config.weight_decay,
    };
    optimizer.init()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use convirt_data::{EvalResize, ImageStoreConfig, LoaderConfig};
    use convirt_model::{
        ImageClassifierConfig, ImageEncoder, ImageEncoderConfig, ResNetConfig, ResNetDepth,
    };

    use super::*;

    fn labels() -> Labels {
        Labels::Findings(vec!["bright".into()])
    }

    /// Writes grey images, every other one bright, each in its own group.
    fn images(folder: &Path, count: usize) -> Vec<LabelledImage> {
        let images = (0..count).map(|i| {
            let image = folder.join(format!("{i}.png"));
            let level =
                |pixel: usize| (pixel * (i + 3) % 60 + if i % 2 == 0 { 150 } else { 40 }) as u8;
            let samples: Vec<u8> = (0..32 * 32).map(level).collect();
            image::save_buffer(&image, &samples, 32, 32, image::ColorType::L8).unwrap();
            LabelledImage {
                row: i + 1,
                image,
                image_content: i as u64,
                group: i.to_string(),
                split: None,
                targets: vec![Some(i % 2 == 0)],
            }
        });
        images.collect()
    }

    fn reader() -> ImageReader {
        let loader = LoaderConfig {
            batch_size: 8,
            num_workers: 1,
            ..LoaderConfig::default()
        };
        let store = ImageStoreConfig::for_input_size(32);
        ImageReader::new(32, EvalResize::PadSquare, store, loader, 0.0).unwrap()
    }

    /// Fine-tunes a ResNet-18 on some images.
    fn tuned(images: &[LabelledImage], max_epochs: usize, interrupter: &Interrupter) -> FineTuned {
        let device = Device::flex();
        let (labels, reader) = (labels(), reader());
        let data = FineTuneData {
            labels: &labels,
            images,
            reader: &reader,
            device: &device,
            precision: Precision::Float32,
            interrupter,
        };
        let encoder = ImageEncoderConfig::ResNet(ResNetConfig::new(ResNetDepth::ResNet18));
        device.seed(1);
        let network = ImageClassifierConfig::new(encoder, 1);
        let network = network.init(&device).unwrap();
        let all: Vec<usize> = (0..images.len()).collect();
        let config = FineTuneConfig {
            learning_rate: 1e-3,
            warmup_steps: 5,
            max_epochs,
            ..FineTuneConfig::default()
        };
        data.fit(network, &config, &all, &[], 3).unwrap()
    }

    #[test]
    fn the_warm_up_changes_the_head_and_the_statistics_and_no_other_weight() {
        let folder = tempfile::tempdir().unwrap();
        let images = images(folder.path(), 10);
        let device = Device::flex();
        let (labels, reader) = (labels(), reader());
        let data = FineTuneData {
            labels: &labels,
            images: &images,
            reader: &reader,
            device: &device,
            precision: Precision::Float32,
            interrupter: &Interrupter::new(),
        };
        let encoder = ImageEncoderConfig::ResNet(ResNetConfig::new(ResNetDepth::ResNet18));
        let network = ImageClassifierConfig::new(encoder, 1);
        let network = network.init(&device.clone().autodiff()).unwrap();
        let all: Vec<usize> = (0..10).collect();
        let config = FineTuneConfig {
            warmup_steps: 3,
            ..FineTuneConfig::default()
        };
        let parts = |network: &Network| {
            let ImageEncoder::ResNet(encoder) = &network.encoder else {
                panic!("a ResNet was asked for");
            };
            [
                encoder.conv1.weight.val().into_data(),
                encoder.bn1.running_mean.value_sync().into_data(),
                network.head.weight.val().into_data(),
            ]
        };
        let before = parts(&network);
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let after = parts(&data.warm_up(network, &config, &all, &mut rng).unwrap());
        assert_eq!(before[0], after[0]);
        assert_ne!(before[1], after[1]);
        assert_ne!(before[2], after[2]);
    }

    #[test]
    fn fine_tuning_lowers_the_loss_and_returns_the_best_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let images = images(folder.path(), 20);
        let interrupter = Interrupter::new();
        let warm = tuned(&images, 0, &interrupter);
        let tuned = tuned(&images, 6, &interrupter);
        assert_eq!(warm.epoch, 0);
        assert!(tuned.epoch > 0, "epoch {}", tuned.epoch);
        assert!(
            tuned.validation_loss < 0.5 * warm.validation_loss,
            "{} {}",
            tuned.validation_loss,
            warm.validation_loss
        );
    }

    #[test]
    fn a_stop_returns_the_best_network_so_far() {
        let folder = tempfile::tempdir().unwrap();
        let images = images(folder.path(), 10);
        let interrupter = Interrupter::new();
        interrupter.stop(None);
        let tuned = tuned(&images, 1_000, &interrupter);
        assert_eq!(tuned.epoch, 0);
        assert!(tuned.validation_loss.is_finite());
    }

    #[test]
    fn a_batch_counts_by_its_known_labels() {
        let folder = tempfile::tempdir().unwrap();
        // Of ten images in batches of eight and two, three labels are known.
        let mut images = images(folder.path(), 10);
        for image in &mut images[1..8] {
            image.targets = vec![None];
        }
        let device = Device::flex();
        let data = FineTuneData {
            labels: &labels(),
            images: &images,
            reader: &reader(),
            device: &device,
            precision: Precision::Float32,
            interrupter: &Interrupter::new(),
        };
        let encoder = ImageEncoderConfig::ResNet(ResNetConfig::new(ResNetDepth::ResNet18));
        let network = ImageClassifierConfig::new(encoder, 1);
        let network = network.init(&device).unwrap();
        let all: Vec<usize> = (0..10).collect();
        let mean = |indices: &[usize]| data.mean_loss(&network, indices).unwrap();
        let expected = (mean(&[0]) + mean(&[8]) + mean(&[9])) / 3.0;
        assert!((mean(&all) - expected).abs() < 1e-5 * expected);
    }

    #[test]
    fn the_loss_is_the_mean_over_known_labels_in_nats() {
        let device = Device::flex();
        let [no, yes] = [false, true].map(Some);
        let image = |targets: &[Option<bool>]| LabelledImage {
            row: 1,
            image: "a.png".into(),
            image_content: 0,
            group: "a".into(),
            split: None,
            targets: targets.into(),
        };
        let images = [image(&[yes, None]), image(&[no, no])];
        let loss = |labels: &Labels, images: &[LabelledImage]| {
            let data = FineTuneData {
                labels,
                images,
                reader: &reader(),
                device: &device,
                precision: Precision::Float32,
                interrupter: &Interrupter::new(),
            };
            let logits = Tensor::from_data([[2.0, 90.0], [-1.0, 0.0]], &device);
            data.loss(logits, &[0, 1]).into_scalar::<f32>()
        };
        let findings = Labels::Findings(["a", "b"].map(String::from).into());
        // ln(1 + e⁻²), ln(1 + e⁻¹), ln 2; the logit 90 of the unknown label does not count.
        let expected = (0.126_928 + 0.313_262 + std::f32::consts::LN_2) / 3.0;
        assert!((loss(&findings, &images) - expected).abs() < 1e-5);
        let classes = Labels::Classes(["a", "b"].map(String::from).into());
        let images = [image(&[no, yes]), image(&[no, yes])];
        // −ln softmax of the second class: 0 if its logit is 88 above the other, ln(1 + e⁻¹) if it
        // is 1 above.
        let expected = 0.313_262 / 2.0;
        assert!((loss(&classes, &images) - expected).abs() < 1e-5);
    }

    #[test]
    fn settings_out_of_range_are_an_error_that_names_them() {
        let valid = FineTuneConfig::default();
        assert!(valid.check().is_ok());
        for (invalid, setting) in [
            (
                FineTuneConfig {
                    learning_rate: f64::NAN,
                    ..valid
                },
                "`learning_rate`",
            ),
            (
                FineTuneConfig {
                    patience: 0,
                    ..valid
                },
                "`patience`",
            ),
        ] {
            let error = invalid.check().unwrap_err().to_string();
            assert!(error.contains(setting), "{error}");
        }
    }

    #[test]
    fn there_is_no_small_last_batch() {
        let folder = tempfile::tempdir().unwrap();
        let images = images(folder.path(), 1);
        let (labels, reader) = (labels(), reader());
        let data = FineTuneData {
            labels: &labels,
            images: &images,
            reader: &reader,
            device: &Device::flex(),
            precision: Precision::Float32,
            interrupter: &Interrupter::new(),
        };
        let sizes = [1, 8, 9, 17].map(|images| data.batch_size(images));
        assert_eq!(sizes, [1, 8, 5, 6]);
    }
}
