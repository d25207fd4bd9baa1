//! One encoder of a comparison, at work on the images.

use std::collections::BTreeSet;
use std::path::PathBuf;

use burn::module::Param;
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
use crate::error::Error;
use crate::inference::ClassifierDescription;
use crate::inference::{Classifier, Normalization};
use crate::logging::Bar;
use crate::network::MemoryNeed;
use crate::scores::ClassificationScores;

/// An encoder that has seen the images.
pub(super) struct Candidate<'a> {
    transfer: &'a Transfer,
    name: String,
    network: ImageEncoder,
    description: ClassifierDescription,
    reader: ImageReader,
    /// By place among the comparison's images.
    encoded: EncodedImages,
    /// Places of the test images that can be read.
    test: Vec<usize>,
}

/// What a run gave.
struct Outcome {
    run: TransferRun,
    /// Of each test image and label.
    probabilities: Vec<f32>,
    network: Network,
}

impl<'a> Candidate<'a> {
    /// Sees the images through an encoder: for the probe, and to know which can be read. `None`
    /// when a stop is asked for.
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
            let at_once = config.batch_size.min(transfer.images.len());
            MemoryNeed::for_images(at_once, size, config.precision).check(device)?;
            if config.mode == TransferMode::FineTune {
                let at_once = config.batch_size.min(transfer.most_trained_on());
                MemoryNeed::for_fine_tuning(&resnet, at_once, size, config.precision)
                    .check(device)?;
            }
        }
        device.seed(config.seed);
        let network = open.init(device)?;
        let name = open.source.to_string();
        let needed = transfer.needed();
        let paths: Vec<PathBuf> = needed
            .iter()
            .map(|place| transfer.images[*place].image.clone())
            .collect();
        let encode = |images| network.forward(images);
        let encoded = reader.encode(&paths, device, &name, interrupter, encode)?;
        Ok(encoded.map(|mut encoded| {
            let mut rows = vec![None; transfer.images.len()];
            for (place, row) in needed.into_iter().zip(encoded.rows) {
                rows[place] = row;
            }
            encoded.rows = rows;
            Self {
                test: encoded.readable(transfer.test_places()),
                transfer,
                name,
                network,
                description,
                reader,
                encoded,
            }
        }))
    }

    /// Images that could not be read.
    pub fn unreadable(&self) -> usize {
        self.encoded.unreadable.len()
    }

    /// Does the runs of one fraction; returns their scores and the first one's classifier, or
    /// `None` when a stop came before the first.
    pub fn row(&self, draws: &[Draw]) -> Result<Option<(TransferRow, Classifier)>, Error> {
        let outcomes = match self.transfer.config.mode {
            TransferMode::LinearProbe => self.probes(draws)?,
            TransferMode::FineTune => self.fine_tunings(draws)?,
        };
        let (mut runs, mut probabilities, mut first) = (Vec::new(), Vec::new(), None);
        for outcome in outcomes {
            runs.push(outcome.run);
            probabilities.push(outcome.probabilities);
            first.get_or_insert(outcome.network);
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
        let test = self.test.iter().map(|place| images[*place].clone());
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

    fn probes(&self, draws: &[Draw]) -> Result<Vec<Outcome>, Error> {
        let what = format!("{}, {}", self.name, percent(draws[0].fraction));
        let steps = draws.len() * ProbeData::steps(&self.transfer.labels);
        let bar = Bar::new(&what, steps, "penalties");
        let outcomes = draws.par_iter().map(|draw| {
            if self.transfer.interrupter.should_stop() {
                return Ok(None);
            }
            self.probe(draw, &bar).map(Some)
        });
        let outcomes: Vec<_> = outcomes.collect::<Result<_, Error>>()?;
        Ok(outcomes.into_iter().flatten().collect())
    }

    fn probe(&self, draw: &Draw, bar: &Bar) -> Result<Outcome, Error> {
        let data = ProbeData {
            labels: &self.transfer.labels,
            images: &self.transfer.images,
            encoded: &self.encoded,
            progress: &|steps| bar.advance(steps),
        };
        let [train, valid] = self.learned_from(draw);
        let probe = data.fit(&train, &valid, draw.seed)?;
        let mut network = self.classifier()?;
        set_head(&mut network, &probe.model, &self.transfer.device);
        Ok(Outcome {
            probabilities: data.predict(&probe.model, &self.test),
            network,
            run: TransferRun {
                strengths: probe.strengths,
                not_converged: probe.not_converged,
                ..self.run(draw, probe.validation_loss)
            },
        })
    }

    fn fine_tunings(&self, draws: &[Draw]) -> Result<Vec<Outcome>, Error> {
        let mut outcomes = Vec::new();
        for draw in draws {
            if self.transfer.interrupter.should_stop() {
                break;
            }
            outcomes.push(self.fine_tune(draw)?);
        }
        Ok(outcomes)
    }

    fn fine_tune(&self, draw: &Draw) -> Result<Outcome, Error> {
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
            interrupter,
        };
        device.seed(draw.seed);
        let [train, valid] = self.learned_from(draw);
        let network = self.classifier()?;
        let tuned = data.fit(network, &config.fine_tune, &train, &valid, draw.seed)?;
        Ok(Outcome {
            probabilities: data.predict(&tuned.network, &self.test)?,
            network: tuned.network,
            run: TransferRun {
                best_epoch: Some(tuned.epoch),
                ..self.run(draw, tuned.validation_loss)
            },
        })
    }

    /// Places of a run's images to learn from, and of those to choose by, that can be read.
    fn learned_from(&self, draw: &Draw) -> [Vec<usize>; 2] {
        [
            self.encoded.readable(draw.places.iter().copied()),
            self.encoded.readable(self.transfer.valid_places()),
        ]
    }

    /// The encoder with a new head.
    fn classifier(&self) -> Result<Network, Error> {
        let config = self.description.network();
        Ok(config.init_on(self.network.clone(), &self.transfer.device)?)
    }

    fn run(&self, draw: &Draw, validation_loss: f64) -> TransferRun {
        let groups = draw.places.iter();
        let groups = groups.map(|place| &self.transfer.images[*place].group);
        TransferRun {
            seed: draw.seed,
            images: draw.places.len(),
            groups: groups.collect::<BTreeSet<_>>().len(),
            validation_loss,
            strengths: Vec::new(),
            not_converged: 0,
            best_epoch: None,
        }
    }
}

/// Puts a linear model in place of a network's head.
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
