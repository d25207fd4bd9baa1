//! What an image encoder is worth: linear probes and fine-tuning on labelled images (Zhang et al.
//! 2022, section 4).

mod error;
mod features;
mod image_reader;
mod lbfgs;
mod logistic;
mod probe;
mod fine_tune;
mod report;
mod encoder;
mod candidate;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::thread::available_parallelism;

use burn::tensor::Device;
use burn::train::Interrupter;
use convirt_data::{
    LabelledConfig, LabelledImage, LabelledManifest, Labels, SettingError, Sides, Skips,
    count_leaked_images, draw_fraction, hold_out, split_labelled,
};
use convirt_ops::{Precision, autocast};
use serde::{Deserialize, Serialize};

use crate::compute::{check_precision, describe_device, device};
use crate::error::Error;
use crate::readable::thousands;
use crate::scores::Bootstrap;
use crate::training::StopOnSignal;
use crate::weights::ChosenEncoder;
use candidate::Candidate;
use encoder::OpenEncoder;
use fine_tune::VALIDATION_SHARE;

pub use encoder::EncoderSource;
pub use error::TransferError;
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
    /// What the names of an encoder's tensors begin with in a file of weights that has several; see
    /// [`ModelConfig::weights_prefix`](crate::config::ModelConfig::weights_prefix).
    pub weights_prefix: Option<String>,
    /// The labelled images.
    pub data: LabelledConfig,
    /// What is trained.
    pub mode: TransferMode,
    /// Parts of the training images to learn from, each above 0 and at most 1.
    pub fractions: Vec<f64>,
    /// Runs of each fraction, 1 to 1,000; the paper's 5. They differ in the groups drawn, in the
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
    /// How encoders and classifiers multiply; float32.
    pub precision: Precision,
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

impl TransferConfig {
    /// Creates the paper's protocol: a linear probe of 1, 10 and 100 % with 5 runs each.
    pub fn new(encoders: Vec<EncoderSource>, data: LabelledConfig) -> Self {
        Self {
            encoders,
            weights_prefix: None,
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
            precision: Precision::default(),
        }
    }

    fn check(&self) -> Result<(), Error> {
        for (is_empty, what) in [
            (self.encoders.is_empty(), "encoder"),
            (self.fractions.is_empty(), "fraction"),
            (self.runs == 0, "run"),
        ] {
            if is_empty {
                return Err(TransferError::NothingAsked { what }.into());
            }
        }
        for (setting, number, most, allowed) in [
            ("runs", self.runs, 1_000, "at most 1000"),
            (
                "resamples",
                self.bootstrap.resamples,
                1_000_000,
                "at most 1000000",
            ),
        ] {
            if number > most {
                let error = SettingError::OutOfRange {
                    setting,
                    value: number as f64,
                    allowed,
                };
                return Err(error.into());
            }
        }
        self.fine_tune.check()?;
        let is_pixels = |source: &&EncoderSource| matches!(source, EncoderSource::Pixels { .. });
        match self.encoders.iter().find(is_pixels) {
            Some(pixels) if self.mode == TransferMode::FineTune => {
                Err(TransferError::NothingToFineTune {
                    encoder: pixels.to_string(),
                }
                .into())
            }
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
    /// is no such device or it does not compute in the precision. Nothing has been computed then.
    pub fn prepare(config: TransferConfig) -> Result<Self, Error> {
        config.check()?;
        let device = device(config.device.as_deref())?;
        check_precision(config.precision, &device)?;
        let mut chosen = ChosenEncoder::new(config.weights_prefix.as_deref());
        let encoders = config.encoders.iter().map(|it| it.open(&mut chosen));
        let encoders = encoders.collect::<Result<Vec<_>, _>>()?;
        chosen.check_used()?;
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
        autocast(self.config.precision, || self.compare())
    }

    /// Networks compute in the calling thread only: the precision is set for that thread alone.
    fn compare(&self) -> Result<TransferReport, Error> {
        let mut report = TransferReport::new(self);
        for encoder in &self.encoders {
            let Some(candidate) = Candidate::new(self, encoder)? else {
                break;
            };
            report.unreadable = candidate.unreadable();
            for draws in self.draws.chunk_by(|a, b| a.fraction == b.fraction) {
                if let Some((row, classifier)) = candidate.row(draws)? {
                    report.add(row, classifier);
                }
            }
        }
        report.interrupted = self.interrupter.should_stop();
        Ok(report)
    }

    /// Side of the inputs of a network.
    fn network_size(&self, encoder: &OpenEncoder) -> usize {
        let mut trained = self.encoders.iter().filter_map(|other| other.trained_size);
        let size = self.config.image_size.or(encoder.trained_size);
        size.or_else(|| trained.next()).unwrap_or(IMAGE_SIZE)
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

    /// Images that some run trains on: those of the largest draw, less what may be held out of it.
    fn most_trained_on(&self) -> usize {
        let draws = self.draws.iter().map(|draw| draw.places.len());
        let largest = draws.max().unwrap_or(0);
        if self.valid_places().is_empty() {
            (largest as f64 * (1.0 - VALIDATION_SHARE)) as usize
        } else {
            largest
        }
    }

    fn valid_places(&self) -> Range<usize> {
        let [train, valid, _] = self.sides;
        train..train + valid
    }

    fn test_places(&self) -> Range<usize> {
        let [train, valid, _] = self.sides;
        train + valid..self.images.len()
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
            _ => config.runs,
        };
        for seed in (config.seed..).take(runs) {
            let places = draw_fraction(&sides.train, labels, fraction, seed)?;
            if sides.valid.is_empty() {
                let drawn: Vec<_> = places.iter().map(|i| sides.train[*i].clone()).collect();
                let held_out = hold_out(&drawn, labels, VALIDATION_SHARE, seed);
                held_out.map_err(|cause| TransferError::NothingToChooseBy { fraction, cause })?;
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
    type Err = SettingError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "linear" => Ok(Self::LinearProbe),
            "fine-tune" => Ok(Self::FineTune),
            _ => Err(SettingError::UnknownWord {
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
        let content = |image: &LabelledImage| image.image_content;
        let [learned, held_out] = [&self.images[..train], &self.images[train..]];
        let known = count_leaked_images(learned.iter().map(content), held_out.iter().map(content));
        if known > 0 {
            writeln!(
                f,
                "warning: {known} of the images held out are learned from too, as their content tells"
            )?;
        }
        for (reason, count) in self.skips.counts() {
            line(f, "left out", format!("{count} {reason}"))?;
        }
        if self.config.data.group.is_none() {
            writeln!(
                f,
                "warning: no group column: images of one patient may be on both sides"
            )?;
        }
        f.write_str(&describe_device(&self.device, self.config.precision))?;
        line(f, "seed", self.config.seed.to_string())
    }
}

#[cfg(test)]
mod tests {
    use convirt_data::{Column, LabelColumns};

    use super::*;

    #[test]
    fn numbers_beyond_measure_are_refused_by_name() {
        let labels = LabelColumns::Class {
            column: Column::Name("label".into()),
            positive: None,
        };
        let source = EncoderSource::Pixels { side: 8 };
        let config = TransferConfig::new(vec![source], LabelledConfig::new("a.csv", labels));
        assert!(config.check().is_ok());
        let runs = TransferConfig {
            runs: usize::MAX,
            ..config.clone()
        };
        let mut resamples = config;
        resamples.bootstrap.resamples = usize::MAX;
        for (config, setting) in [(runs, "`runs`"), (resamples, "`resamples`")] {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(setting), "{error}");
        }
    }
}
