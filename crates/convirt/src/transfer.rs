//! What an image encoder is worth: linear probes and fine-tuning on labelled images (Zhang et al.
//! 2022, section 4).

mod encoder;
mod fine_tune;
mod probe;
mod report;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread::available_parallelism;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use burn::train::Interrupter;
use convirt_data::{
    EvalResize, ImageStoreConfig, LabelledConfig, LabelledImage, LabelledManifest, Labels,
    LoaderConfig, Sides, Skips, draw_fraction, hold_out, split_labelled,
};
use convirt_model::{ImageClassifier as Network, ImageEncoder};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::classifier::{Description, ImageClassifier, Normalization};
use crate::device::{device, device_name};
use crate::error::Error;
use crate::image_reader::{EncodedImages, ImageReader};
use crate::interrupt::StopOnSignal;
use crate::logistic::LinearModel;
use crate::progress::{Bar, thousands};
use crate::scores::{Bootstrap, ClassificationScores};
use encoder::OpenEncoder;
use fine_tune::FineTuneData;
use probe::ProbeData;

pub use encoder::EncoderSource;
pub use fine_tune::FineTuneConfig;
pub use report::{TransferReport, TransferRow, TransferRun};

/// Side of a network's inputs where neither the user nor a run says; the paper's.
const IMAGE_SIZE: usize = 224;

/// What is trained of a classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferMode {
    /// The head on the encoder's features, which are computed once: logistic regression, solved to
    /// convergence.
    LinearProbe,
    /// All of it, the head first.
    FineTune,
}

/// What is compared, on what and how.
#[derive(Clone, Debug, PartialEq)]
pub struct TransferConfig {
    /// The encoders, at least one.
    pub encoders: Vec<EncoderSource>,
    /// The labelled images.
    pub data: LabelledConfig,
    /// What is trained.
    pub mode: TransferMode,
    /// Parts of the training images to learn from, each above 0 and at most 1.
    pub fractions: Vec<f64>,
    /// Runs of each fraction, at least 1; the paper's 5. They differ in the groups drawn, in the
    /// folds or validation images, and in the head's initial weights and batches. A probe of all
    /// images has one.
    pub runs: usize,
    /// Seed of the first run, and of the division into training and test.
    pub seed: u64,
    /// Share of the groups held out for the test where no column says.
    pub test_size: f64,
    /// Side of the inputs, in pixels; `None`: what a run was trained on, and for other networks
    /// that of the first run, or else 224.
    pub image_size: Option<usize>,
    /// Images in a batch, at least 1; the paper's 64.
    pub batch_size: usize,
    /// Threads that read images.
    pub num_workers: usize,
    /// How fine-tuning goes.
    pub fine_tune: FineTuneConfig,
    /// How intervals are made.
    pub bootstrap: Bootstrap,
    /// Device to compute on, as [`device`] takes it.
    pub device: Option<String>,
}

/// A comparison that is ready to run: images divided and drawn, encoders found.
///
/// Its `Display` tells what is compared on what.
pub struct Transfer {
    config: TransferConfig,
    device: Device,
    labels: Labels,
    /// Those to learn from, to choose by, and to test on, one after the other.
    images: Vec<LabelledImage>,
    /// How many there are of each.
    sides: [usize; 3],
    skips: Skips,
    encoders: Vec<OpenEncoder>,
    draws: Vec<Draw>,
    interrupter: Interrupter,
}

/// The images of a run.
#[derive(Clone)]
struct Draw {
    fraction: f64,
    seed: u64,
    /// Their places, ascending.
    places: Vec<usize>,
}

/// What a run gave.
struct Outcome {
    run: TransferRun,
    /// Of each test image and label.
    probabilities: Vec<f32>,
    network: Network,
}

/// An encoder at work on the images.
struct Encoder<'a> {
    open: &'a OpenEncoder,
    network: ImageEncoder,
    description: Description,
    reader: ImageReader,
    encoded: EncodedImages,
    /// Places of the test images that can be read.
    test: Vec<usize>,
}

impl TransferConfig {
    /// Creates the paper's protocol: a linear probe of 1, 10 and 100 % with 5 runs each.
    pub fn new(encoders: Vec<EncoderSource>, data: LabelledConfig) -> Self {
        Self {
            encoders,
            data,
            mode: TransferMode::LinearProbe,
            fractions: vec![0.01, 0.1, 1.0],
            runs: 5,
            seed: 0,
            test_size: 0.2,
            image_size: None,
            batch_size: 64,
            num_workers: available_parallelism().map_or(1, usize::from),
            fine_tune: FineTuneConfig::default(),
            bootstrap: Bootstrap::default(),
            device: None,
        }
    }

    fn check(&self) -> Result<(), Error> {
        for (is_empty, what) in [
            (self.encoders.is_empty(), "encoder"),
            (self.fractions.is_empty(), "fraction"),
            (self.runs == 0, "run"),
        ] {
            if is_empty {
                return Err(Error::NothingAsked { what });
            }
        }
        let is_pixels = |source: &&EncoderSource| matches!(source, EncoderSource::Pixels { .. });
        match self.encoders.iter().find(is_pixels) {
            Some(pixels) if self.mode == TransferMode::FineTune => Err(Error::NothingToFineTune {
                encoder: pixels.to_string(),
            }),
            _ => Ok(()),
        }
    }
}

impl Transfer {
    /// Reads the labels, divides the images, draws the fractions and finds the encoders.
    ///
    /// # Errors
    ///
    /// When the labels cannot be used, a fraction lacks a label, an encoder is nowhere, or there
    /// is no such device. Nothing has been computed then.
    pub fn prepare(config: TransferConfig) -> Result<Self, Error> {
        config.check()?;
        let device = device(config.device.as_deref())?;
        let encoders = config.encoders.iter().map(EncoderSource::open);
        let encoders = encoders.collect::<Result<Vec<_>, _>>()?;
        let LabelledManifest {
            labels,
            images,
            skips,
        } = LabelledManifest::read(&config.data)?;
        let sides = split_labelled(images, &labels, config.test_size, config.seed)?;
        let draws = draws(&config, &labels, &sides)?;
        let counts = [sides.train.len(), sides.valid.len(), sides.test.len()];
        Ok(Self {
            images: [sides.train, sides.valid, sides.test].concat(),
            sides: counts,
            config,
            device,
            labels,
            skips,
            encoders,
            draws,
            interrupter: Interrupter::new(),
        })
    }

    /// A handle that stops the comparison as soon as may be, as Ctrl-C does.
    pub fn interrupter(&self) -> Interrupter {
        self.interrupter.clone()
    }

    /// Trains and scores all classifiers, one encoder after the other.
    ///
    /// A stop that is asked for (Ctrl-C) ends it with what has been done.
    ///
    /// # Errors
    ///
    /// When images or weights cannot be read, or a training goes astray.
    pub fn run(&self) -> Result<TransferReport, Error> {
        let _stop = StopOnSignal::new(&self.interrupter);
        let mut report = TransferReport::new(self);
        for open in &self.encoders {
            let Some(encoder) = self.encode(open)? else {
                break;
            };
            report.unreadable = encoder.encoded.unreadable.len();
            for draws in self.draws.chunk_by(|a, b| a.fraction == b.fraction) {
                let outcomes = self.outcomes(&encoder, draws)?;
                if !outcomes.is_empty() {
                    self.add_row(&mut report, &encoder, draws[0].fraction, outcomes)?;
                }
            }
        }
        report.interrupted = self.interrupter.should_stop();
        Ok(report)
    }

    /// Sees all images that are needed through an encoder; `None` when a stop is asked for.
    fn encode<'a>(&self, open: &'a OpenEncoder) -> Result<Option<Encoder<'a>>, Error> {
        let mut trained = self
            .encoders
            .iter()
            .filter_map(|encoder| encoder.trained_size);
        let size = self
            .config
            .image_size
            .or(open.trained_size)
            .or_else(|| trained.next());
        let size = open.image_size(size.unwrap_or(IMAGE_SIZE));
        let longer_side = ImageStoreConfig::for_input_size(size).longer_side;
        let resize = EvalResize::PadSquare;
        let store = ImageStoreConfig {
            longer_side,
            cache_mb: match self.config.mode {
                // Each image is read once.
                TransferMode::LinearProbe => 0,
                TransferMode::FineTune => ImageStoreConfig::default().cache_mb,
            },
            ..ImageStoreConfig::default()
        };
        let loader = LoaderConfig {
            batch_size: self.config.batch_size,
            num_workers: self.config.num_workers,
            ..LoaderConfig::default()
        };
        let reader = ImageReader::new(size, resize, store, loader, self.config.data.max_bad_share)?;

        self.device.seed(self.config.seed);
        let network = open.init(&self.device)?;
        let needed = self.needed();
        let paths: Vec<PathBuf> = needed
            .iter()
            .map(|place| self.images[*place].image.clone())
            .collect();
        let what = open.source.to_string();
        let encode = |images| network.forward(images);
        let encoded = reader.encode(&paths, &self.device, &what, &self.interrupter, encode)?;
        let Some(mut encoded) = encoded else {
            return Ok(None);
        };
        let mut rows = vec![None; self.images.len()];
        for (place, row) in needed.into_iter().zip(encoded.rows) {
            rows[place] = row;
        }
        encoded.rows = rows;
        let test = self
            .test_places()
            .filter(|place| encoded.rows[*place].is_some());
        Ok(Some(Encoder {
            test: test.collect(),
            description: Description {
                encoder: open.config(),
                labels: self.labels.clone(),
                image_size: size,
                resize,
                longer_side,
                normalization: Normalization::ImageNet,
            },
            open,
            network,
            reader,
            encoded,
        }))
    }

    /// Places of the images that some run learns from, chooses by or is tested on.
    fn needed(&self) -> Vec<usize> {
        let drawn = self
            .draws
            .iter()
            .flat_map(|draw| draw.places.iter().copied());
        let needed: BTreeSet<usize> = drawn.chain(self.sides[0]..self.images.len()).collect();
        needed.into_iter().collect()
    }

    fn valid_places(&self) -> Vec<usize> {
        let [train, valid, _] = self.sides;
        (train..train + valid).collect()
    }

    fn test_places(&self) -> std::ops::Range<usize> {
        let [train, valid, _] = self.sides;
        train + valid..self.images.len()
    }

    /// Does the runs of one fraction; those that a stop left undone are absent.
    fn outcomes(&self, encoder: &Encoder, draws: &[Draw]) -> Result<Vec<Outcome>, Error> {
        match self.config.mode {
            TransferMode::LinearProbe => {
                let what = format!("{}, {}", encoder.open.source, percent(draws[0].fraction));
                let bar = Bar::new(&what, draws.len(), "probes");
                let outcomes = draws.par_iter().map(|draw| {
                    if self.interrupter.should_stop() {
                        return Ok(None);
                    }
                    let outcome = self.probe(encoder, draw);
                    bar.advance(1);
                    outcome.map(Some)
                });
                let outcomes: Vec<_> = outcomes.collect::<Result<_, _>>()?;
                Ok(outcomes.into_iter().flatten().collect())
            }
            TransferMode::FineTune => {
                let mut outcomes = Vec::new();
                for draw in draws {
                    if !self.interrupter.should_stop() {
                        outcomes.push(self.fine_tune(encoder, draw)?);
                    }
                }
                Ok(outcomes)
            }
        }
    }

    fn probe(&self, encoder: &Encoder, draw: &Draw) -> Result<Outcome, Error> {
        let data = ProbeData {
            labels: &self.labels,
            images: &self.images,
            encoded: &encoder.encoded,
        };
        let probe = data.fit(&draw.places, &self.valid_places(), draw.seed)?;
        let mut network = encoder.description.network().init(&self.device)?;
        network.encoder = encoder.network.clone();
        set_head(&mut network, &probe.model, &self.device);
        Ok(Outcome {
            probabilities: data.predict(&probe.model, &encoder.test),
            network,
            run: TransferRun {
                strengths: probe.strengths,
                not_converged: probe.not_converged,
                ..self.started(draw, probe.validation_loss)
            },
        })
    }

    fn fine_tune(&self, encoder: &Encoder, draw: &Draw) -> Result<Outcome, Error> {
        let data = FineTuneData {
            labels: &self.labels,
            images: &self.images,
            reader: &encoder.reader,
            device: &self.device,
            interrupter: &self.interrupter,
        };
        // The head's initial weights are the run's.
        self.device.seed(draw.seed);
        let mut network = encoder.description.network().init(&self.device)?;
        network.encoder = encoder.network.clone();
        let tuned = data.fit(
            network,
            &self.config.fine_tune,
            &encoder.encoded,
            &draw.places,
            &self.valid_places(),
            draw.seed,
        )?;
        Ok(Outcome {
            probabilities: data.predict(&tuned.network, &encoder.test)?,
            network: tuned.network,
            run: TransferRun {
                best_epoch: Some(tuned.epoch),
                ..self.started(draw, tuned.validation_loss)
            },
        })
    }

    fn started(&self, draw: &Draw, validation_loss: f64) -> TransferRun {
        let groups = draw.places.iter().map(|place| &self.images[*place].group);
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

    /// Scores the runs of a fraction, and keeps the first one's network if its encoder is the best.
    fn add_row(
        &self,
        report: &mut TransferReport,
        encoder: &Encoder,
        fraction: f64,
        mut outcomes: Vec<Outcome>,
    ) -> Result<(), Error> {
        let probabilities: Vec<_> = outcomes
            .iter_mut()
            .map(|outcome| std::mem::take(&mut outcome.probabilities))
            .collect();
        let test: Vec<LabelledImage> = encoder
            .test
            .iter()
            .map(|place| self.images[*place].clone())
            .collect();
        let scores =
            ClassificationScores::of(&self.labels, &test, &probabilities, &self.config.bootstrap);
        let network = outcomes[0].network.clone();
        let row = TransferRow {
            encoder: encoder.open.source.to_string(),
            image_size: encoder.description.image_size,
            fraction,
            runs: outcomes.into_iter().map(|outcome| outcome.run).collect(),
            scores,
        };
        if report.is_best(&row) {
            let description = encoder.description.clone();
            let classifier = ImageClassifier::new(network, description, &self.device)?;
            report.best = Some((report.rows.len(), classifier));
        }
        report.rows.push(row);
        Ok(())
    }
}

/// Draws each fraction for each run, and checks that some of it can be held out where no images
/// are given to choose by.
fn draws(
    config: &TransferConfig,
    labels: &Labels,
    sides: &Sides<LabelledImage>,
) -> Result<Vec<Draw>, Error> {
    let mut draws = Vec::new();
    for &fraction in &config.fractions {
        let runs = match config.mode {
            TransferMode::LinearProbe if fraction == 1.0 => 1,
            _ => config.runs as u64,
        };
        for seed in (config.seed..).take(runs as usize) {
            let places = draw_fraction(&sides.train, labels, fraction, seed)?;
            if sides.valid.is_empty() {
                let drawn: Vec<_> = places.iter().map(|i| sides.train[*i].clone()).collect();
                hold_out(&drawn, labels, 0.2, seed)?;
            }
            draws.push(Draw {
                fraction,
                seed,
                places,
            });
        }
    }
    Ok(draws)
}

/// Puts a linear model in place of a network's head.
fn set_head(network: &mut Network, model: &LinearModel, device: &Device) {
    let (labels, width) = (model.weights.len(), model.weights[0].len());
    // Burn's weights are `[in, out]`.
    let weights = (0..width).flat_map(|i| model.weights.iter().map(move |row| row[i] as f32));
    let weights = TensorData::new(weights.collect::<Vec<f32>>(), [width, labels]);
    let biases: Vec<f32> = model.biases.iter().map(|bias| *bias as f32).collect();
    network.head.weight = Param::from_tensor(Tensor::from_data(weights, device));
    network.head.bias = Some(Param::from_tensor(Tensor::from_data(
        TensorData::new(biases, [labels]),
        device,
    )));
}

/// `0.1` as `10 %`.
fn percent(fraction: f64) -> String {
    format!("{} %", (1e6 * fraction).round() / 1e4)
}

impl TransferMode {
    /// Name as in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::LinearProbe => "linear probe",
            Self::FineTune => "fine-tuning",
        }
    }
}

impl FromStr for TransferMode {
    type Err = convirt_data::DataError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "linear" => Ok(Self::LinearProbe),
            "fine-tune" => Ok(Self::FineTune),
            _ => Err(convirt_data::DataError::UnknownWord {
                setting: "mode",
                word: word.into(),
                known: "linear or fine-tune",
            }),
        }
    }
}

impl fmt::Display for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line =
            |f: &mut fmt::Formatter<'_>, name: &str, text: String| writeln!(f, "{name:<16}{text}");
        line(f, "mode", self.config.mode.name().to_string())?;
        let kind = match &self.labels {
            Labels::Classes(_) => "classes",
            Labels::Findings(_) => "findings",
        };
        line(f, kind, self.labels.names().join(", "))?;
        let [train, valid, _] = self.sides;
        let side = |images: &[LabelledImage]| {
            let groups: BTreeSet<_> = images.iter().map(|image| &image.group).collect();
            format!(
                "{} of {} groups",
                thousands(images.len()),
                thousands(groups.len())
            )
        };
        line(f, "to learn from", side(&self.images[..train]))?;
        if valid > 0 {
            line(f, "to choose by", side(&self.images[train..train + valid]))?;
        }
        line(f, "to test on", side(&self.images[train + valid..]))?;
        for (reason, count) in self.skips.counts() {
            line(f, "left out", format!("{count} {reason}"))?;
        }
        if self.config.data.group.is_none() {
            writeln!(
                f,
                "warning: no group column: images of one patient may be on both sides"
            )?;
        }
        line(f, "device", device_name(&self.device))?;
        line(f, "seed", self.config.seed.to_string())
    }
}
