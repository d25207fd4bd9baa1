//! Evaluation of image encoders on labelled images, by linear probes and fine-tuning (Zhang et al.
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
mod pretraining;
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

use crate::compute::{available_precision, describe_device, device};
use crate::error::Error;
use crate::readable::thousands;
use crate::scores::Bootstrap;
use crate::training::StopOnSignal;
use crate::weights::ChosenEncoder;
use candidate::Candidate;
use encoder::OpenEncoder;
use fine_tune::VALIDATION_SHARE;
use pretraining::Pretraining;

pub use encoder::EncoderSource;
pub use error::TransferError;
pub use fine_tune::FineTuneConfig;
pub use report::{KeptClassifier, TransferReport, TransferRow, TransferRun};

/// Side of a network's inputs, in pixels, if neither the user nor a run sets it; the paper's.
const IMAGE_SIZE: usize = 224;

/// Default share of the groups held out for the test.
const DEFAULT_TEST_SIZE: f64 = 0.2;

/// Which part of a classifier is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferMode {
    /// Only the head, on the encoder's features, which are computed once: logistic regression until
    /// convergence.
    LinearProbe,
    /// The encoder and the head; the head is warmed up first.
    FineTune,
}

/// The settings of a comparison of image encoders.
///
/// # Examples
///
/// ```
/// use convirt::data::{Column, LabelColumns, LabelledConfig};
/// use convirt::transfer::{TransferConfig, TransferMode};
///
/// # fn main() -> Result<(), convirt::Error> {
/// let labels = LabelColumns::Class { column: Column::Name("label".into()), positive: None };
/// let data = LabelledConfig::new("labels.csv", labels);
/// let encoders = ["random:resnet18", "pixels:24"].map(str::parse);
/// let encoders = encoders.into_iter().collect::<Result<Vec<_>, _>>()?;
/// let config = TransferConfig { runs: 3, ..TransferConfig::new(encoders, data) };
/// assert_eq!(config.mode, TransferMode::LinearProbe);
/// assert_eq!(config.fractions, [0.01, 0.1, 1.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TransferConfig {
    /// The encoders to compare, at least one.
    pub encoders: Vec<EncoderSource>,
    /// Prefix of the encoder's tensor names, for a weights file with several encoders; see
    /// [`ModelConfig::weights_prefix`](crate::config::ModelConfig::weights_prefix).
    pub weights_prefix: Option<String>,
    /// The labelled images.
    pub data: LabelledConfig,
    /// Which part of the classifiers is trained.
    pub mode: TransferMode,
    /// Fractions of the training images to learn from, each above 0 and at most 1.
    pub fractions: Vec<f64>,
    /// Number of runs for each fraction, 1 to 1,000; the default is the paper's 5. Runs differ in
    /// the groups drawn, in the folds or validation images, in the head's initial weights and in
    /// the batches. A linear probe of all images is run once.
    pub runs: usize,
    /// Seed of the first run, and of the split into training and test images.
    pub seed: u64,
    /// Share of the groups held out for the test, if there is no split column. `None`: the images
    /// that the pretraining of an encoder held out, if it knows at least half of the images, or else
    /// a share of 0.2.
    pub test_size: Option<f64>,
    /// Side of the inputs, in pixels. `None` takes the size that a run was trained on; other
    /// networks take that of the first run, or 224.
    pub image_size: Option<usize>,
    /// Number of images in a batch, at least 1; the default is the paper's 64.
    pub batch_size: usize,
    /// Number of threads that read images.
    pub num_workers: usize,
    /// Settings of fine-tuning.
    pub fine_tune: FineTuneConfig,
    /// How bootstrap intervals are computed.
    pub bootstrap: Bootstrap,
    /// Device to compute on, as [`device`] takes it.
    pub device: Option<String>,
    /// Precision of the encoders and classifiers; the default is float32.
    pub precision: Precision,
}

/// A comparison of image encoders that is ready to run: the images are split and drawn, and the
/// encoders are located.
///
/// Its `Display` shows the labels, the images and the device.
///
/// # Examples
///
/// ```no_run
/// use convirt::data::{Column, LabelColumns, LabelledConfig};
/// use convirt::transfer::{Transfer, TransferConfig};
///
/// # fn main() -> Result<(), convirt::Error> {
/// let labels = LabelColumns::Class { column: Column::Name("label".into()), positive: None };
/// let data = LabelledConfig::new("labels.csv", labels);
/// let encoders = vec!["runs/2026-01-16_02-27-36_mimic".parse()?, "imagenet:resnet50".parse()?];
/// let transfer = Transfer::prepare(TransferConfig::new(encoders, data))?;
/// println!("{transfer}");
/// let report = transfer.run()?;
/// println!("{report}");
/// report.save("transfer")?;
/// # Ok(())
/// # }
/// ```
pub struct Transfer {
    config: TransferConfig,
    device: Device,
    labels: Labels,
    /// The training, validation and test images, one after the other.
    images: Vec<LabelledImage>,
    /// The number of training, validation and test images.
    sides: [usize; 3],
    /// The run whose pretraining decided the sides, if one did.
    split_by_run: Option<String>,
    /// Runs of the encoders that have trained on test images, with the number of these images.
    trained_on: Vec<(String, usize)>,
    skips: Skips,
    encoders: Vec<OpenEncoder>,
    draws: Vec<Draw>,
    interrupter: Interrupter,
    stops_on_signals: bool,
}

/// The training images of one run.
#[derive(Clone)]
struct Draw {
    fraction: f64,
    seed: u64,
    /// Positions among the images of the transfer, ascending.
    indices: Vec<usize>,
}

impl TransferConfig {
    /// Creates the paper's protocol: linear probes on 1, 10 and 100 % of the images, 5 runs each.
    pub fn new(encoders: Vec<EncoderSource>, data: LabelledConfig) -> Self {
        Self {
            encoders,
            weights_prefix: None,
            data,
            mode: TransferMode::LinearProbe,
            fractions: vec![0.01, 0.1, 1.0],
            runs: 5,
            seed: 0,
            test_size: None,
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
        for (is_empty, missing) in [
            (self.encoders.is_empty(), "encoder"),
            (self.fractions.is_empty(), "fraction"),
            (self.runs == 0, "run"),
        ] {
            if is_empty {
                return Err(TransferError::NothingToCompare { missing }.into());
            }
        }
        for (setting, number, max, allowed) in [
            ("runs", self.runs, 1_000, "at most 1000"),
            (
                "resamples",
                self.bootstrap.resamples,
                1_000_000,
                "at most 1000000",
            ),
        ] {
            if number > max {
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
    /// Reads the labels, splits the images, draws the fractions and locates the encoders. Nothing
    /// is computed yet.
    ///
    /// # Errors
    ///
    /// When the labels cannot be used, a fraction has no images of a label, an encoder cannot be
    /// found, or there is no such device.
    pub fn prepare(mut config: TransferConfig) -> Result<Self, Error> {
        config.check()?;
        let device = device(config.device.as_deref())?;
        config.precision = available_precision(config.precision, &device);
        let mut chosen = ChosenEncoder::new(config.weights_prefix.as_deref());
        let sources = config.encoders.iter();
        let encoders = sources.map(|source| source.open(&mut chosen));
        let encoders = encoders.collect::<Result<Vec<_>, _>>()?;
        chosen.check_used()?;
        let LabelledManifest {
            labels,
            mut images,
            skips,
        } = LabelledManifest::read(&config.data)?;
        let pretraining = Pretraining::new(&encoders)?;
        let split_by_run = if config.data.split.is_none() && config.test_size.is_none() {
            let run = pretraining.assign_sides(&mut images);
            run.map(String::from)
        } else {
            None
        };
        let test_size = config.test_size.unwrap_or(DEFAULT_TEST_SIZE);
        let sides = split_labelled(images, &labels, test_size, config.seed)?;
        let trained_on = pretraining.trained_on(&sides.test);
        let draws = draws(&config, &labels, &sides)?;
        let counts = [sides.train.len(), sides.valid.len(), sides.test.len()];
        Ok(Self {
            images: [sides.train, sides.valid, sides.test].concat(),
            sides: counts,
            split_by_run,
            trained_on,
            config,
            device,
            labels,
            skips,
            encoders,
            draws,
            interrupter: Interrupter::new(),
            stops_on_signals: false,
        })
    }

    /// Installs a handler for Ctrl-C and SIGTERM: the first ends the comparison with the results so
    /// far, and the second ends the process at once.
    pub fn stopping_on_signals(mut self) -> Self {
        self.stops_on_signals = true;
        self
    }

    /// Returns a handle that ends the comparison as soon as possible, with the results so far.
    pub fn interrupter(&self) -> Interrupter {
        self.interrupter.clone()
    }

    /// Trains and scores all classifiers, one encoder after the other.
    ///
    /// # Errors
    ///
    /// When images or weights cannot be read, or a training diverges.
    pub fn run(&self) -> Result<TransferReport, Error> {
        let _stop = (self.stops_on_signals).then(|| StopOnSignal::new(&self.interrupter));
        autocast(self.config.precision, || self.compare())
    }

    /// Runs the comparison. Networks compute in the calling thread only, since the precision is set
    /// for this thread alone.
    fn compare(&self) -> Result<TransferReport, Error> {
        let mut report = TransferReport::new(self);
        for encoder in &self.encoders {
            let Some(candidate) = Candidate::new(self, encoder)? else {
                break;
            };
            report.unreadable = candidate.unreadable();
            let is_baseline = matches!(encoder.source, EncoderSource::Pixels { .. });
            for draws in self.draws.chunk_by(|a, b| a.fraction == b.fraction) {
                if let Some((row, classifier)) = candidate.row(draws)? {
                    report.add(row, classifier, is_baseline);
                }
            }
        }
        report.interrupted = self.interrupter.should_stop();
        Ok(report)
    }

    /// Returns the side of a network's inputs, in pixels.
    fn network_size(&self, encoder: &OpenEncoder) -> usize {
        let mut trained = self.encoders.iter().filter_map(|other| other.trained_size);
        let size = self.config.image_size.or(encoder.trained_size);
        size.or_else(|| trained.next()).unwrap_or(IMAGE_SIZE)
    }

    /// Returns the positions of the images that any run is trained, validated or tested on.
    fn needed(&self) -> Vec<usize> {
        let drawn = self
            .draws
            .iter()
            .flat_map(|draw| draw.indices.iter().copied());
        let needed: BTreeSet<usize> = drawn.chain(self.sides[0]..self.images.len()).collect();
        needed.into_iter().collect()
    }

    /// Returns the largest number of images that a run trains on, without those it holds out for
    /// validation.
    fn max_training_images(&self) -> usize {
        let draws = self.draws.iter().map(|draw| draw.indices.len());
        let largest = draws.max().unwrap_or(0);
        if self.valid_indices().is_empty() {
            (largest as f64 * (1.0 - VALIDATION_SHARE)) as usize
        } else {
            largest
        }
    }

    fn valid_indices(&self) -> Range<usize> {
        let [train, valid, _] = self.sides;
        train..train + valid
    }

    fn test_indices(&self) -> Range<usize> {
        let [train, valid, _] = self.sides;
        train + valid..self.images.len()
    }
}

/// Draws each fraction for each run. Without validation images, also checks that a part of each
/// draw can be held out for validation.
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
            let indices = draw_fraction(&sides.train, labels, fraction, seed)?;
            if sides.valid.is_empty() {
                let drawn: Vec<_> = indices.iter().map(|i| sides.train[*i].clone()).collect();
                let held_out = hold_out(&drawn, labels, VALIDATION_SHARE, seed);
                held_out.map_err(|cause| TransferError::NoValidationImages { fraction, cause })?;
            }
            draws.push(Draw {
                fraction,
                seed,
                indices,
            });
        }
    }
    Ok(draws)
}

impl TransferMode {
    /// Returns the name shown in tables.
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
        line(f, "training", side(&self.images[..train]))?;
        if valid > 0 {
            line(f, "validation", side(&self.images[train..train + valid]))?;
        }
        line(f, "test", side(&self.images[train + valid..]))?;
        if let Some(run) = &self.split_by_run {
            let split = format!("as in the pretraining of {run}, which held the test images out");
            line(f, "split", split)?;
        }
        for (run, images) in &self.trained_on {
            writeln!(
                f,
                "warning: the pretraining of {run} has seen {images} of the test images, with their \
                 texts if it read texts"
            )?;
        }
        let content = |image: &LabelledImage| image.image_content;
        let [training, held_out] = [&self.images[..train], &self.images[train..]];
        let leaked =
            count_leaked_images(training.iter().map(content), held_out.iter().map(content));
        if leaked > 0 {
            writeln!(
                f,
                "warning: {leaked} of the images held out have the same content as a training image"
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
    fn numbers_out_of_range_are_an_error_that_names_the_setting() {
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
