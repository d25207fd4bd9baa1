//! One encoder of a comparison: it encodes the images, and its classifiers are trained and scored.

use std::collections::BTreeSet;
use std::path::PathBuf;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use convirt_data::{DecodeLimits, EvalResize, ImageStoreConfig, LabelledImage, LoaderConfig};
use convirt_model::{ImageClassifier as Network, ImageEncoder, ImageEncoderConfig};
use rayon::prelude::*;

use super::encoder::OpenEncoder;
use super::fine_tune::FineTuneData;
use super::image_reader::{EncodedImages, ImageReader};
use super::logistic::LinearModel;
use super::probe::ProbeData;
use super::report::{TransferRow, TransferRun, percent};
use super::{Draw, Transfer, TransferMode};
use crate::compute::DrawingDevice;
use crate::error::Error;
use crate::inference::ClassifierDescription;
use crate::inference::{Classifier, Normalization};
use crate::logging::Bar;
use crate::network::{DrawParameters, MemoryNeed};
use crate::scores::ClassificationScores;

/// An encoder with its features of the images.
pub(super) struct Candidate<'a> {
    transfer: &'a Transfer,
    name: String,
    network: ImageEncoder,
    description: ClassifierDescription,
    reader: ImageReader,
    /// Features of the transfer's images; unneeded and unreadable images have none.
    encoded: EncodedImages,
    /// Positions of the test images that can be read.
    test: Vec<usize>,
}

/// The result of a run.
struct RunResult {
    run: TransferRun,
    /// Probabilities on the test images, `[images, labels]`, flat.
    probabilities: Vec<f32>,
    network: Network,
}

impl<'a> Candidate<'a> {
    /// Encodes the images: for the probe, and to know which can be read. Returns `None` if a stop
    /// is requested.
    pub fn new(transfer: &'a Transfer, open: &OpenEncoder) -> Result<Option<Self>, Error> {
        let Transfer {
            config,
            device,
            interrupter,
            ..
        } = transfer;
        let size = open.image_size(transfer.network_size(open));
        let limits = DecodeLimits {
            exif_orientation: open.exif_orientation,
            ..DecodeLimits::default()
        };
        let store = ImageStoreConfig {
            limits,
            cache_mb: match config.mode {
                // Each image is read once.
                TransferMode::LinearProbe => 0,
                TransferMode::FineTune => ImageStoreConfig::default().cache_mb,
            },
            ..ImageStoreConfig::for_input_size(size)
        };
        let description = ClassifierDescription {
            encoder: open.config(),
            labels: transfer.labels.clone(),
            image_size: size,
            resize: EvalResize::PadSquare,
            longer_side: store.longer_side,
            exif_orientation: open.exif_orientation,
            normalization: Normalization::ImageNet,
            precision: config.precision,
        };
        let loader = LoaderConfig {
            batch_size: config.batch_size,
            num_workers: config.num_workers,
            ..LoaderConfig::default()
        };
        let max_bad_share = config.data.max_bad_share;
        let reader = ImageReader::new(size, description.resize, store, loader, max_bad_share)?;

        if let ImageEncoderConfig::ResNet(resnet) = description.encoder {
            let batch_size = config.batch_size.min(transfer.images.len());
            MemoryNeed::for_images(batch_size, size, config.precision).check(device)?;
            if config.mode == TransferMode::FineTune {
                let batch_size = config.batch_size.min(transfer.max_training_images());
                MemoryNeed::for_fine_tuning(&resnet, batch_size, size, config.precision)
                    .check(device)?;
            }
        }
        let drawing_device = DrawingDevice::with_seed(config.seed);
        let network = open.init(&drawing_device)?;
        network.visit(&mut DrawParameters);
        drop(drawing_device);
        let network = network.fork(device);
        let name = open.source.to_string();
        let needed = transfer.needed();
        let paths: Vec<PathBuf> = needed
            .iter()
            .map(|index| transfer.images[*index].image.clone())
            .collect();
        let encode = |images| network.forward(images);
        let encoded = reader.encode(&paths, device, &name, interrupter, encode)?;
        Ok(encoded.map(|mut encoded| {
            let mut rows = vec![None; transfer.images.len()];
            for (index, row) in needed.into_iter().zip(encoded.rows) {
                rows[index] = row;
            }
            encoded.rows = rows;
            Self {
                test: encoded.readable(transfer.test_indices()),
                transfer,
                name,
                network,
                description,
                reader,
                encoded,
            }
        }))
    }

    /// Returns the number of images that could not be read.
    pub fn unreadable(&self) -> usize {
        self.encoded.unreadable.len()
    }

    /// Performs the runs of one fraction. Returns their scores and the classifier of the first run,
    /// or `None` if a stop was requested before it.
    pub fn row(&self, draws: &[Draw]) -> Result<Option<(TransferRow, Classifier)>, Error> {
        let results = match self.transfer.config.mode {
            TransferMode::LinearProbe => self.probes(draws)?,
            TransferMode::FineTune => self.fine_tunings(draws)?,
        };
        let (mut runs, mut probabilities, mut first) = (Vec::new(), Vec::new(), None);
        for result in results {
            runs.push(result.run);
            probabilities.push(result.probabilities);
            first.get_or_insert(result.network);
        }
        let Some(network) = first else {
            return Ok(None);
        };
        let Transfer {
            config,
            labels,
            images,
            device,
            ..
        } = self.transfer;
        let test = self.test.iter().map(|index| images[*index].clone());
        let test: Vec<LabelledImage> = test.collect();
        let row = TransferRow {
            encoder: self.name.clone(),
            image_size: self.description.image_size,
            fraction: draws[0].fraction,
            runs,
            scores: ClassificationScores::evaluate(
                labels,
                &test,
                &probabilities,
                &config.bootstrap,
            ),
        };
        let classifier = Classifier::new(network, self.description.clone(), device)?;
        Ok(Some((row, classifier)))
    }

    fn probes(&self, draws: &[Draw]) -> Result<Vec<RunResult>, Error> {
        let title = format!("{}, {}", self.name, percent(draws[0].fraction));
        let steps = draws.len() * ProbeData::steps(&self.transfer.labels);
        let bar = Bar::new(&title, steps, "penalties");
        let results = draws.par_iter().map(|draw| {
            if self.transfer.interrupter.should_stop() {
                return Ok(None);
            }
            self.probe(draw, &bar).map(Some)
        });
        let results: Vec<_> = results.collect::<Result<_, Error>>()?;
        Ok(results.into_iter().flatten().collect())
    }

    fn probe(&self, draw: &Draw, bar: &Bar) -> Result<RunResult, Error> {
        let data = ProbeData {
            labels: &self.transfer.labels,
            images: &self.transfer.images,
            encoded: &self.encoded,
            progress: &|steps| bar.advance(steps),
        };
        let [train, valid] = self.train_and_valid(draw);
        let probe = data.fit(&train, &valid, draw.seed)?;
        let mut network = self.classifier(self.transfer.config.seed)?;
        set_head(&mut network, &probe.model, &self.transfer.device);
        Ok(RunResult {
            probabilities: data.predict(&probe.model, &self.test),
            network,
            run: TransferRun {
                strengths: probe.strengths,
                not_converged: probe.not_converged,
                ..self.run(draw, probe.validation_loss)
            },
        })
    }

    fn fine_tunings(&self, draws: &[Draw]) -> Result<Vec<RunResult>, Error> {
        let mut results = Vec::new();
        for draw in draws {
            if self.transfer.interrupter.should_stop() {
                break;
            }
            results.push(self.fine_tune(draw)?);
        }
        Ok(results)
    }

    fn fine_tune(&self, draw: &Draw) -> Result<RunResult, Error> {
        let Transfer {
            config,
            device,
            labels,
            images,
            interrupter,
            ..
        } = self.transfer;
        let data = FineTuneData {
            labels,
            images,
            reader: &self.reader,
            device,
            precision: config.precision,
            interrupter,
        };
        let [train, valid] = self.train_and_valid(draw);
        let network = self.classifier(draw.seed)?;
        let tuned = data.fit(network, &config.fine_tune, &train, &valid, draw.seed)?;
        Ok(RunResult {
            probabilities: data.predict(&tuned.network, &self.test)?,
            network: tuned.network,
            run: TransferRun {
                best_epoch: Some(tuned.epoch),
                ..self.run(draw, tuned.validation_loss)
            },
        })
    }

    /// Returns the positions of a run's readable training and validation images.
    fn train_and_valid(&self, draw: &Draw) -> [Vec<usize>; 2] {
        [
            self.encoded.readable(draw.indices.iter().copied()),
            self.encoded.readable(self.transfer.valid_indices()),
        ]
    }

    /// Returns the encoder with a head of the weights of a seed.
    fn classifier(&self, seed: u64) -> Result<Network, Error> {
        let config = self.description.network();
        let drawing_device = DrawingDevice::with_seed(seed);
        let network = config.init_on(self.network.clone(), &drawing_device)?;
        network.head.visit(&mut DrawParameters);
        Ok(network.fork(&self.transfer.device))
    }

    fn run(&self, draw: &Draw, validation_loss: f64) -> TransferRun {
        let groups = draw.indices.iter();
        let groups = groups.map(|index| &self.transfer.images[*index].group);
        TransferRun {
            seed: draw.seed,
            images: draw.indices.len(),
            groups: groups.collect::<BTreeSet<_>>().len(),
            validation_loss,
            strengths: Vec::new(),
            not_converged: 0,
            best_epoch: None,
        }
    }
}

/// Replaces the head of a network by a linear model.
fn set_head(network: &mut Network, model: &LinearModel, device: &Device) {
    let (labels, width) = (model.weights.len(), model.weights[0].len());
    // Burn's weights are `[in, out]`.
    let weights = (0..width).flat_map(|i| model.weights.iter().map(move |row| row[i] as f32));
    let weights = TensorData::new(weights.collect::<Vec<f32>>(), [width, labels]);
    let biases: Vec<f32> = model.biases.iter().map(|bias| *bias as f32).collect();
    let biases = Tensor::from_data(TensorData::new(biases, [labels]), device);
    network.head.weight = Param::from_tensor(Tensor::from_data(weights, device));
    network.head.bias = Some(Param::from_tensor(biases));
}
