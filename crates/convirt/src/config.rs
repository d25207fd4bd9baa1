//! The configuration of a run, as a type and as `config.yaml`.
//!
//! All keys of [ConVIRT-Colab](https://github.com/waittim/ConVIRT-Colab) are accepted as Colab
//! writes them; other keys are our own. Every key is optional except `dataset.csv_file`. A default
//! is the paper's value ([Zhang et al. 2022](https://arxiv.org/abs/2010.00747)), or the value of
//! Colab's example if the paper gives none.

mod error;
mod precision_name;
mod micro_batch_size;
mod model_name;
pub(crate) mod yaml;
mod invalid_setting;
mod loss;
mod objective;
mod schedule;
mod model;
mod dataset;
mod check;

pub(crate) use yaml::Document;
pub use yaml::overridden;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use convirt_data::{
    Choice, ColumnChoices, FileError, LoaderConfig, NotUtf8, decode_text, is_plain_name,
    read_regular,
};
use convirt_model::ContrastiveLossConfig;
use convirt_ops::Precision;
use convirt_phantom::PhantomConfig;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use dataset::DatasetConfig;
pub use error::{ConfigError, Location, Place};
pub use micro_batch_size::{Auto, MicroBatchSize};
pub use model::{ModelConfig, ScratchTextConfig};
pub(crate) use model_name::ModelName;
pub use objective::Objective;
pub(crate) use precision_name::PrecisionName;
pub use precision_name::parse_precision;
pub use schedule::{Schedule, ScheduleConfig, ScheduleKind};

use invalid_setting::{ABOVE_ZERO, BETWEEN_0_AND_1, Check, contradiction, expect, number, whole};

/// Default of `runs_dir`.
pub const DEFAULT_RUNS_DIR: &str = "runs";

/// Default number of steps between evaluations (paper).
const PAPER_EVALUATION_STEPS: usize = 5_000;

/// Everything that determines a run, together with the data.
///
/// # Examples
///
/// A configuration in code, and the same one as YAML with overrides:
///
/// ```
/// use convirt::Config;
/// use convirt::config::ConfigError;
///
/// let mut config = Config { batch_size: 64, ..Config::default() };
/// config.dataset.csv_file = "pairs.csv".into();
/// config.loss.temperature = 0.07;
/// config.validate()?;
///
/// let text = "batch_size: 32\ndataset:\n  csv_file: pairs.csv\n";
/// let overrides = ["batch_size=64".to_string(), "loss.temperature=0.07".to_string()];
/// assert_eq!(Config::from_yaml("config.yaml", text, &overrides)?, config);
///
/// config.learning_rate = 0.0;
/// let message = "learning_rate: expected a number above 0 and at most 1, found 0";
/// assert_eq!(config.validate().unwrap_err().to_string(), message);
/// # Ok::<(), ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What training learns from: pairs (`convirt`), or images alone (`simclr`, the baseline).
    /// Default: `convirt`.
    pub objective: Objective,
    /// Name of the run, part of its folder's name: letters, digits, `.`, `-`, `_`. Default:
    /// `convirt`.
    pub name: String,
    /// Folder in which run folders are created. Default: `runs`.
    pub runs_dir: PathBuf,
    /// Seed of all randomness. Default: 0.
    pub seed: u64,
    /// Device to compute on, such as `flex`, `cuda:1` or `vulkan`; several, as `cuda:0,cuda:1`, train
    /// together. Default: the environment variable `BURN_DEVICE`, or the best device of the build; see
    /// [`device`](crate::device).
    pub device: Option<String>,

    /// Pairs in a batch, 2 to 65,536; SimCLR: images, each in two views. Default: 32 (paper).
    pub batch_size: usize,
    /// Pairs that are computed at a time. The loss is that of the whole batch in any case, and a
    /// batch that does not fit into memory can be computed in parts, which takes a third more time.
    /// Batch norms take their statistics over a part. Default: the whole batch.
    pub micro_batch_size: Option<MicroBatchSize>,
    /// Memory in GiB that `micro_batch_size: auto` may use, above 0. Default: four fifths of the
    /// machine's, on the CPU.
    pub memory_budget_gib: Option<f64>,
    /// Passes over the training pairs, at least 1. Default: 1,000 (Colab).
    pub epochs: usize,
    /// Steps after which training ends, even before `epochs`; at least 1. Default: no limit.
    pub max_steps: Option<usize>,
    /// Epochs between evaluations, at least 1; not together with `eval_every_n_steps`.
    pub eval_every_n_epochs: Option<usize>,
    /// Steps between evaluations, at least 1. Default if neither is given: 5,000 (paper).
    pub eval_every_n_steps: Option<usize>,
    /// Evaluations without a lower loss after which training ends, at least 1; `None` disables
    /// early stopping. Default: 200 (paper).
    pub early_stop_patience: Option<usize>,
    /// Minutes of training after which a checkpoint is saved, above 0; `None`: only by steps, and at
    /// evaluations and stops. Default: 10.
    pub checkpoint_every_minutes: Option<f64>,
    /// Steps between checkpoints, at least 1. Default: none, since time decides.
    pub checkpoint_every_n_steps: Option<usize>,
    /// Number of checkpoints that are kept, at least 1; while one is written, there is one more.
    /// Default: 2.
    pub keep_checkpoints: usize,
    /// Steps in a row that are skipped if their loss or gradient is not finite; one more ends the
    /// training with an error. Default: 10.
    pub max_skipped_steps: usize,
    /// Steps between the points of TensorBoard's curves, at least 1. Default: 2 (Colab).
    pub log_every_n_steps: usize,
    /// Model whose weights training starts from: a run, by its path or its name in `runs_dir`, a
    /// checkpoint of a run, or a run or `model.pth` of ConVIRT-Colab. Training also takes over a
    /// run's vocabulary. Default: none.
    pub fine_tune_from: Option<String>,

    /// Base learning rate, above 0 and at most 1. Default: 1e-4 (paper).
    pub learning_rate: f64,
    /// Schedule of the learning rate.
    pub schedule: ScheduleConfig,
    /// L2 penalty that Adam adds to the gradients, at least 0. Default: 1e-6 (paper).
    pub weight_decay: f64,
    /// Number that Adam adds to its denominator, above 0. Default: 1e-8 (PyTorch).
    pub adam_epsilon: f64,
    /// Maximum L2 norm of a step's gradient, above 0. Default: no clipping (paper).
    pub gradient_clip_norm: Option<f64>,
    /// Decay of the exponential moving average of the weights, above 0 and below 1, such as 0.999:
    /// the average is evaluated and saved instead of the last step's weights. In the first steps the
    /// decay is (1 + step) / (10 + step). Default: no average (paper).
    pub ema_decay: Option<f64>,
    /// Precision of convolutions and linear layers. Default: `float32`.
    ///
    /// - `float32`
    /// - `high`: each factor is the sum of two bfloat16 numbers (16 significant bits), in three
    ///   products; nearly float32, and faster if the processor has AMX; float32 elsewhere
    /// - `bf16`: mixed precision, factors rounded to bfloat16 and sums in float32
    /// - `fp16`: the same in float16, on GPUs; the loss is scaled so that its gradients neither vanish
    ///   nor overflow
    ///
    /// A device that does not compute in it computes in float32, with a warning.
    #[serde(with = "PrecisionName")]
    pub precision: Precision,
    /// Colab's switch for mixed precision in float16: `true` means `precision: fp16`, unless
    /// `precision` is set to another than `float32`. Default: `false`; paper and Colab: `true`.
    pub fp16_precision: bool,
    /// Whether texts are cut at the text encoder's maximum. Only `true` is valid (Colab), since no
    /// text encoder reads longer texts.
    pub truncation: bool,

    /// Networks.
    pub model: ModelConfig,
    /// Pairs: files, split, image and text processing, loading.
    pub dataset: DatasetConfig,
    /// Loss.
    pub loss: ContrastiveLossConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            objective: Objective::default(),
            name: "convirt".to_string(),
            runs_dir: DEFAULT_RUNS_DIR.into(),
            seed: 0,
            device: None,
            batch_size: 32,
            micro_batch_size: None,
            memory_budget_gib: None,
            epochs: 1_000,
            max_steps: None,
            eval_every_n_epochs: None,
            eval_every_n_steps: None,
            early_stop_patience: Some(200),
            checkpoint_every_minutes: Some(10.0),
            checkpoint_every_n_steps: None,
            keep_checkpoints: 2,
            max_skipped_steps: 10,
            log_every_n_steps: 2,
            fine_tune_from: None,
            learning_rate: 1e-4,
            schedule: ScheduleConfig::default(),
            weight_decay: 1e-6,
            adam_epsilon: 1e-8,
            gradient_clip_norm: None,
            ema_decay: None,
            precision: Precision::Float32,
            fp16_precision: false,
            truncation: true,
            model: ModelConfig::default(),
            dataset: DatasetConfig::default(),
            loss: ContrastiveLossConfig::default(),
        }
    }
}

impl Config {
    /// Reads and checks a file. Overrides such as `loss.temperature=0.07` replace values of the
    /// file; the last override of a key counts.
    ///
    /// The value of an override is a plain scalar, or a list, a section or a quoted string in YAML.
    /// Paths are relative to the working directory.
    ///
    /// # Errors
    ///
    /// - [`ConfigError::File`] if the file cannot be read
    /// - [`ConfigError::MissingFile`] if a file that the configuration names does not exist: the
    ///   CSV (unless a phantom is drawn), a root folder, weights
    /// - those of [`from_yaml`](Self::from_yaml)
    pub fn from_file(path: impl AsRef<Path>, overrides: &[String]) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        Self::from_text(&path.display().to_string(), &read_text(path)?, overrides)
    }

    /// Reads the configuration of a run like [`from_file`](Self::from_file), without checking whether
    /// the files that it names exist.
    ///
    /// # Errors
    ///
    /// [`ConfigError::File`] if the file cannot be read; those of [`from_yaml`](Self::from_yaml).
    pub fn from_written(path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        Self::from_yaml(&path.display().to_string(), &read_text(path)?, overrides)
    }

    /// Reads and checks YAML text like [`from_file`](Self::from_file), including the existence of
    /// the files that it names. Errors call the text `source`.
    ///
    /// # Errors
    ///
    /// Those of [`from_file`](Self::from_file).
    pub fn from_text(source: &str, text: &str, overrides: &[String]) -> Result<Self, ConfigError> {
        let (config, document) = Self::parse(source, text, overrides)?;
        check::files(&config).map_err(|invalid| invalid.at(|key| document.locate(key)))?;
        Ok(config)
    }

    /// Reads and checks YAML text, with overrides as in [`from_file`](Self::from_file), but does
    /// not check whether the files that it names exist. Errors call the text `source`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the text is not YAML, if a key is unknown, if a value has the wrong type
    /// or is out of range, or if settings contradict each other.
    pub fn from_yaml(source: &str, text: &str, overrides: &[String]) -> Result<Self, ConfigError> {
        Self::parse(source, text, overrides).map(|(config, _)| config)
    }

    fn parse(
        source: &str,
        text: &str,
        overrides: &[String],
    ) -> Result<(Self, Document), ConfigError> {
        let mut document = Document::parse(source, text, overrides)?;
        document.prefer_override(None, "eval_every_n_steps", &["eval_every_n_epochs"]);
        document.prefer_override(None, "eval_every_n_epochs", &["eval_every_n_steps"]);
        // One table, by either name; the phantom of a configuration is not drawn over other data.
        for [key, other] in [["csv_file", "shards"], ["shards", "csv_file"]] {
            document.prefer_override(Some("dataset"), key, &[other, "phantom"]);
        }
        let config: Self = document.read().map_err(suggest_section)?;
        check::settings(&config).map_err(|invalid| invalid.at(|key| document.locate(key)))?;
        Ok((config, document))
    }

    /// Returns the configuration as YAML with every key; [`from_yaml`](Self::from_yaml) reads it
    /// back as an equal configuration.
    ///
    /// # Panics
    ///
    /// If a path is not Unicode. Paths that were read always are.
    pub fn to_yaml(&self) -> String {
        yaml::to_yaml(self).expect("paths are Unicode")
    }

    /// Checks ranges and contradictions of a configuration that was built in code. Those that read
    /// a configuration check it themselves.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for the first invalid key, with the valid values.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check::settings(self).map_err(|invalid| {
            invalid.at(|key| Location {
                place: Place::Code,
                key: key.to_string(),
            })
        })
    }

    /// Returns the precision that the configuration asks for.
    pub(crate) fn requested_precision(&self) -> Precision {
        match self.precision {
            Precision::Float32 if self.fp16_precision => Precision::Float16,
            precision => precision,
        }
    }

    /// Returns the precision in which a device computes: the requested one, or float32.
    pub(crate) fn precision_on(&self, device: &Device) -> Precision {
        self.requested_precision().on(device)
    }

    /// Returns the side of the image encoder's square input, in pixels.
    pub fn image_size(&self) -> usize {
        self.dataset.input_shape[0]
    }

    /// Returns the columns of the pairs, given or to be recognized. ConVIRT always needs a text;
    /// SimCLR has one only if `dataset.text_col` is given.
    pub fn columns(&self) -> ColumnChoices {
        let data = &self.dataset;
        let text = match (self.objective.reads_texts(), &data.text_col) {
            (true, Choice::Given(None)) => Choice::Auto,
            (false, Choice::Auto) => Choice::Given(None),
            (_, given) => given.clone(),
        };
        ColumnChoices {
            csv_file: data.csv_file.clone(),
            img_root_dir: data.img_root_dir.clone(),
            text_root_dir: data.text_root_dir.clone(),
            allow_outside_roots: data.allow_outside_roots,
            image: data.img_path_col.clone(),
            text,
            text_from_files: data.text_from_files,
            group: data.group_col.clone(),
            split: data.split_col.clone(),
        }
    }

    /// Returns the keys of the settings that differ in `later`, each with `key: old → new`.
    #[cfg(feature = "train")]
    pub(crate) fn changes_to(&self, later: &Self) -> BTreeMap<String, String> {
        let changes = differences(&[self, later]).into_iter();
        let change = |(key, values): (String, Vec<String>)| {
            let text = format!("{key}: {}", values.join(" → "));
            (key, text)
        };
        changes.map(change).collect()
    }

    /// Returns the number of steps from one evaluation to the next.
    pub fn evaluation_window(&self, steps_per_epoch: usize) -> usize {
        match (self.eval_every_n_steps, self.eval_every_n_epochs) {
            (Some(steps), _) => steps,
            (None, Some(epochs)) => epochs.saturating_mul(steps_per_epoch).max(1),
            (None, None) => PAPER_EVALUATION_STEPS,
        }
    }

    /// Returns the number of steps of a training, `epochs` or fewer.
    pub fn total_steps(&self, steps_per_epoch: usize) -> usize {
        let of_epochs = self.epochs.saturating_mul(steps_per_epoch);
        self.max_steps.unwrap_or(usize::MAX).min(of_epochs)
    }

    /// Returns the schedule of a training of `total_steps`.
    pub fn schedule(&self, total_steps: usize) -> Schedule {
        self.schedule.for_steps(total_steps)
    }

    /// Checks the keys outside the sections.
    fn check(&self) -> Check {
        let expected = "letters, digits, `.`, `-` and `_`, not beginning with a `.`";
        let name = &self.name;
        expect("name", is_plain_name(name), expected, format!("{name:?}"))?;
        let sizes = 2..=LoaderConfig::MAX_BATCH_SIZE;
        whole("batch_size", self.batch_size, sizes)?;
        if let Some(MicroBatchSize::Pairs(pairs)) = self.micro_batch_size {
            whole("micro_batch_size", pairs, 1..)?;
        }
        number("memory_budget_gib", self.memory_budget_gib, ABOVE_ZERO)?;
        if self.memory_budget_gib.is_some() && !self.chooses_micro_batch() {
            let problem = "has an effect with `micro_batch_size: auto` only";
            return contradiction("memory_budget_gib", problem);
        }
        whole("epochs", self.epochs, 1..)?;
        whole("max_steps", self.max_steps, 1..)?;
        whole("eval_every_n_epochs", self.eval_every_n_epochs, 1..)?;
        whole("eval_every_n_steps", self.eval_every_n_steps, 1..)?;
        whole("early_stop_patience", self.early_stop_patience, 1..)?;
        number(
            "checkpoint_every_minutes",
            self.checkpoint_every_minutes,
            ABOVE_ZERO,
        )?;
        whole(
            "checkpoint_every_n_steps",
            self.checkpoint_every_n_steps,
            1..,
        )?;
        whole("keep_checkpoints", self.keep_checkpoints, 1..)?;
        whole("log_every_n_steps", self.log_every_n_steps, 1..)?;
        if self.eval_every_n_epochs.is_some() && self.eval_every_n_steps.is_some() {
            let problem = "given together with `eval_every_n_epochs`; give one of the two";
            return contradiction("eval_every_n_steps", problem);
        }
        if !self.truncation {
            let problem = "False cannot be honoured: no text encoder reads beyond its maximum";
            return contradiction("truncation", problem);
        }
        let rates = (Bound::Excluded(0.0), Bound::Included(1.0));
        number("learning_rate", self.learning_rate, rates)?;
        number("weight_decay", self.weight_decay, 0.0..)?;
        number("adam_epsilon", self.adam_epsilon, ABOVE_ZERO)?;
        number("ema_decay", self.ema_decay, BETWEEN_0_AND_1)?;
        number("gradient_clip_norm", self.gradient_clip_norm, ABOVE_ZERO)
    }
}

/// Reads the text of a configuration.
fn read_text(path: &Path) -> Result<String, ConfigError> {
    let bytes = read_regular(path, yaml::MAX_BYTES as u64).map_err(FileError::read(path))?;
    let name = path.display().to_string();
    decode_text(bytes.clone()).map_err(|error| {
        let valid = match error {
            NotUtf8::Byte { byte } => &bytes[..byte],
            _ => &[],
        };
        let line = 1 + valid.iter().filter(|&&byte| byte == b'\n').count();
        ConfigError::Syntax {
            at: Location {
                place: Place::Text {
                    source: name.as_str().into(),
                    line: Some(line),
                },
                key: String::new(),
            },
            problem: match error {
                NotUtf8::Byte { .. } => "not UTF-8; save the file in that encoding".into(),
                error => error.to_string(),
            },
        }
    })
}

/// Adds the sections to an unknown key that another section has: `loss.temperature` for
/// `temperature`.
fn suggest_section(mut error: ConfigError) -> ConfigError {
    if let ConfigError::UnknownKey { at, nearest, .. } = &mut error {
        let name = at.key.rsplit('.').next().unwrap_or_default();
        let name = name.to_lowercase().replace('-', "_");
        let elsewhere = known_keys().into_iter().find(|key| {
            let last = key.rsplit('.').next();
            last == Some(name.as_str()) && **key != at.key
        });
        if let Some(key) = elsewhere {
            *nearest = Some(key);
        }
    }
    error
}

/// Returns all keys, with their sections.
fn known_keys() -> Vec<String> {
    let mut config = Config::default();
    config.dataset.phantom = Some(PhantomConfig::default());
    settings(&config).into_keys().collect()
}

/// Returns the settings in which configurations differ, each with its value in every one.
#[cfg(feature = "train")]
pub(crate) fn differences(configs: &[&Config]) -> BTreeMap<String, Vec<String>> {
    let all: Vec<_> = configs.iter().map(|config| settings(config)).collect();
    let keys: BTreeSet<&String> = all.iter().flat_map(BTreeMap::keys).collect();
    let values = keys.into_iter().map(|key| {
        let value = |settings: &BTreeMap<String, String>| {
            settings.get(key).cloned().unwrap_or_else(|| "none".into())
        };
        (key.clone(), all.iter().map(value).collect::<Vec<_>>())
    });
    let differ = |values: &[String]| values.windows(2).any(|pair| pair[0] != pair[1]);
    values.filter(|(_, values)| differ(values)).collect()
}

/// Returns the value of every key, as JSON. Keys of sections below `model` and `dataset` are
/// included, sections themselves are not.
fn settings(config: &Config) -> BTreeMap<String, String> {
    fn add(section: &str, value: &Value, settings: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(entries) => {
                for (name, value) in entries {
                    let dot = if section.is_empty() { "" } else { "." };
                    add(&format!("{section}{dot}{name}"), value, settings);
                }
            }
            value => {
                settings.insert(section.to_string(), value.to_string());
            }
        }
    }
    let value = serde_json::to_value(config).expect("paths are Unicode");
    let mut settings = BTreeMap::new();
    add("", &value, &mut settings);
    settings
}

#[cfg(test)]
mod tests {
    use std::fs;

    use convirt_data::{AugmentationConfig, Column, DecodeLimits, EvalResize, TextView};
    use convirt_model::{Pooling, ResNetDepth};

    use super::*;

    /// The example of Colab's README: its keys and values, in its notation.
    const COLAB: &str = r#"batch_size: 32 # pairs
epochs: 1000
eval_every_n_epochs: 5
fine_tune_from: Jan16_02-27-36_edu-GPU-Linux
log_every_n_steps: 2
learning_rate: 1e-4
weight_decay: 1e-6
fp16_precision: True
truncation: True

model:
  out_dim: 512
  res_base_model: "resnet50"
  bert_base_model: 'emilyalsentzer/Bio_ClinicalBERT'
  freeze_layers: [0,1,2,3,4,5]
  do_lower_case: False
  
dataset:
  s: 1
  input_shape: (224,224,3)
  num_workers: 4
  valid_size: 0.1
  csv_file: 'path/of/pairs.csv' 
  text_from_files: True # 'True': paths, 'False': texts 
  img_root_dir: '/root/of/images'
  text_root_dir: '/root/of/texts' # with "text_from_files"
  img_path_col: 0 # position
  text_col: 1

loss:
  temperature: 0.1
  use_cosine_similarity: True
  alpha_weight: 0.75

### BERT Models
# bert-base-uncased
"#;

    const SMALLEST: &str = "dataset:\n  csv_file: pairs.csv\n";

    fn read(text: &str, overrides: &[&str]) -> Result<Config, ConfigError> {
        let overrides: Vec<_> = overrides.iter().map(ToString::to_string).collect();
        Config::from_yaml("config.yaml", text, &overrides)
    }

    #[test]
    fn colabs_example_is_accepted() {
        let expected = Config {
            batch_size: 32,
            epochs: 1000,
            eval_every_n_epochs: Some(5),
            fine_tune_from: Some("Jan16_02-27-36_edu-GPU-Linux".to_string()),
            log_every_n_steps: 2,
            learning_rate: 1e-4,
            weight_decay: 1e-6,
            fp16_precision: true,
            truncation: true,
            model: ModelConfig {
                out_dim: 512,
                res_base_model: ResNetDepth::ResNet50,
                bert_base_model: "emilyalsentzer/Bio_ClinicalBERT".to_string(),
                freeze_layers: vec![0, 1, 2, 3, 4, 5],
                do_lower_case: Some(false),
                ..ModelConfig::default()
            },
            dataset: DatasetConfig {
                s: 1.0,
                input_shape: [224, 224, 3],
                num_workers: 4,
                valid_size: 0.1,
                csv_file: "path/of/pairs.csv".into(),
                text_from_files: Choice::Given(true),
                img_root_dir: Some("/root/of/images".into()),
                text_root_dir: Some("/root/of/texts".into()),
                img_path_col: Choice::Given(Column::Position(0)),
                text_col: Choice::Given(Some(Column::Position(1))),
                ..DatasetConfig::default()
            },
            loss: ContrastiveLossConfig {
                temperature: 0.1,
                use_cosine_similarity: true,
                image_to_text_weight: 0.75,
                ..ContrastiveLossConfig::default()
            },
            ..Config::default()
        };
        assert_eq!(read(COLAB, &[]).unwrap(), expected);
    }

    #[test]
    fn every_default_is_the_papers_where_it_has_one() {
        let config = read(SMALLEST, &[]).unwrap();
        assert_eq!(config.batch_size, 32);
        assert_eq!((config.learning_rate, config.weight_decay), (1e-4, 1e-6));
        assert_eq!(config.evaluation_window(17), 5_000);
        assert_eq!(config.early_stop_patience, Some(200));
        assert_eq!(config.gradient_clip_norm, None);
        assert_eq!(config.model.res_base_model, ResNetDepth::ResNet50);
        assert_eq!(
            config.model.bert_base_model,
            "emilyalsentzer/Bio_ClinicalBERT"
        );
        assert_eq!(
            (config.model.out_dim, config.model.pooling),
            (512, Pooling::Max)
        );
        assert!(config.model.freeze_embeddings);
        assert_eq!(config.model.freeze_layers, [0, 1, 2, 3, 4, 5]);
        assert_eq!(config.image_size(), 224);
        assert_eq!(config.dataset.longer_side, Some(256));
        assert_eq!(config.dataset.decode_limits(), DecodeLimits::default());
        assert_eq!(config.dataset.train_text, TextView::RandomSentence);
        assert_eq!(config.dataset.eval_text, TextView::WholeReport);
        assert_eq!(config.dataset.min_words, 3);
        assert_eq!(config.columns(), ColumnChoices::new("pairs.csv"));
        assert_eq!(config.dataset.augmentation, AugmentationConfig::default());
        assert_eq!(
            (config.loss.temperature, config.loss.image_to_text_weight),
            (0.1, 0.75)
        );
        assert!(config.loss.use_cosine_similarity && !config.loss.learnable_temperature);
        let plateau = Schedule::Plateau {
            warmup_steps: 0,
            patience: 5,
            factor: 0.5,
            min_learning_rate: 0.0,
        };
        assert_eq!(config.schedule(1_000_000), plateau);
    }

    #[test]
    fn a_key_without_its_section_is_met_with_the_whole_key() {
        for (text, overrides, suggestion) in [
            (
                SMALLEST,
                &["temperature=3"][..],
                "--set temperature: unknown key; did you mean `loss.temperature`?",
            ),
            (
                SMALLEST,
                &["csv-file=a.csv"],
                "did you mean `dataset.csv_file`?",
            ),
            (
                SMALLEST,
                &["model.patients=3"],
                "did you mean `dataset.phantom.patients`?",
            ),
            (
                SMALLEST,
                &["loss.batch_size=3"],
                "did you mean `batch_size`?",
            ),
        ] {
            let message = read(text, overrides).unwrap_err().to_string();
            assert!(message.contains(suggestion), "{message}");
        }
    }

    #[test]
    fn a_table_on_the_command_line_replaces_the_phantom_and_another_table() {
        let text = "dataset: {csv_file: phantom/pairs.csv, phantom: {patients: 9}}";
        assert!(read(text, &[]).unwrap().dataset.phantom.is_some());
        assert_eq!(
            read(text, &["dataset.csv_file=a.csv"])
                .unwrap()
                .dataset
                .phantom,
            None
        );
        for (text, key) in [("csv_file: a.csv", "shards"), ("shards: a.tar", "csv_file")] {
            let text = format!("dataset: {{{text}}}");
            let config = read(&text, &[&format!("dataset.{key}=b.tar")]).unwrap();
            assert_eq!(config.dataset.csv_file, Path::new("b.tar"), "{text}");
        }
        let both = ["dataset.csv_file=other/pairs.csv", "dataset.phantom.seed=1"];
        let phantom = read(text, &both).unwrap().dataset.phantom.unwrap();
        assert_eq!((phantom.patients, phantom.seed), (9, 1));
        let message = read(
            text,
            &["dataset.csv_file=pairs.csv", "dataset.phantom.seed=1"],
        );
        let message = message.unwrap_err().to_string();
        assert!(message.contains("a folder of its own"), "{message}");
    }

    #[test]
    fn columns_are_auto_none_or_given() {
        let columns = |text: &str| {
            read(&format!("dataset: {{csv_file: a.csv, {text}}}"), &[])
                .map(|config| config.columns())
        };
        assert_eq!(columns("group_col: auto").unwrap().group, Choice::Auto);
        assert_eq!(
            columns("group_col: null").unwrap().group,
            Choice::Given(None)
        );
        let given = Choice::Given(Some(Column::Position(2)));
        assert_eq!(columns("split_col: 2").unwrap().split, given);
        for (word, flag) in [("True", true), ("'False'", false), ("no", false)] {
            let from_files = columns(&format!("text_from_files: {word}"))
                .unwrap()
                .text_from_files;
            assert_eq!(from_files, Choice::Given(flag), "{word}");
        }
        let message = columns("text_from_files: 3").unwrap_err().to_string();
        assert!(
            message.contains("expected auto, True or False"),
            "{message}"
        );
        // ConVIRT always needs a text.
        assert_eq!(columns("text_col: null").unwrap().text, Choice::Auto);
    }

    #[test]
    fn our_own_keys_are_read() {
        let text = "\
name: trial-1
seed: 7
device: cuda:1
max_steps: 500
eval_every_n_steps: 50
early_stop_patience: null
schedule: {kind: cosine, warmup_steps: 20}
gradient_clip_norm: 1
model:
  res_base_model: resnet18
  bert_base_model: scratch
  text_from_scratch: {layers: 2, hidden_size: 128, heads: 2}
  freeze_embeddings: no
  freeze_layers:
  pooling: mean_max
  pooling_layer: 1
dataset:
  csv_file: a/pairs.csv
  phantom: {patients: 50}
  img_path_col: image
  group_col: subject_id
  input_shape: [96, 96, 3]
  eval_resize: stretch
  max_image_side: 4096
  max_image_mb: 65536
  train_text: whole_report
  augmentation: {flip_probability: 0}
loss: {learnable_temperature: True, multi_positive: off}
";
        let config = read(text, &[]).unwrap();
        assert_eq!((config.seed, config.max_steps), (7, Some(500)));
        assert_eq!(config.device.as_deref(), Some("cuda:1"));
        assert_eq!(config.evaluation_window(10), 50);
        assert_eq!(config.early_stop_patience, None);
        assert_eq!(config.schedule.kind, ScheduleKind::Cosine);
        assert!(config.model.text_is_from_scratch());
        assert_eq!(config.model.text_from_scratch.vocab_size, 8_000);
        assert_eq!(config.model.freeze_layers, [0; 0]);
        assert_eq!(config.model.pooling, Pooling::MeanMax);
        let phantom = PhantomConfig {
            patients: 50,
            ..PhantomConfig::default()
        };
        assert_eq!(config.dataset.phantom, Some(phantom));
        assert_eq!(
            config.dataset.img_path_col,
            Choice::Given(Column::Name("image".to_string()))
        );
        assert_eq!(config.image_size(), 96);
        assert_eq!(config.dataset.eval_resize, EvalResize::Stretch);
        let limits = DecodeLimits {
            max_side: 4096,
            max_bytes: 65_536 << 20,
            exif_orientation: true,
        };
        assert_eq!(config.dataset.decode_limits(), limits);
        assert_eq!(config.dataset.augmentation.flip_probability, 0.0);
        assert!(!config.loss.multi_positive);
    }

    #[test]
    fn every_key_is_written_and_reads_back_equal() {
        let mut config = read(COLAB, &[]).unwrap();
        assert_eq!(read(&config.to_yaml(), &[]).unwrap(), config);
        config.dataset.phantom = Some(PhantomConfig::default());
        config.dataset.group_col = Choice::Given(Some(Column::Name("0".to_string())));
        config.dataset.csv_file = "a/Bilder \"Süd\": #1\\x.csv".into();
        config.dataset.longer_side = None;
        config.dataset.augmentation.crop_aspect = [0.1 + 0.2, 1e0];
        config.learning_rate = 1.0 / 3e9;
        config.seed = u64::MAX;
        config.device = Some("None".to_string());
        config.model.freeze_layers = Vec::new();
        let text = config.to_yaml();
        assert_eq!(read(&text, &[]).unwrap(), config, "{text}");
        let keys = text.lines().filter(|line| line.contains(':')).count();
        assert_eq!(keys, text.lines().count(), "{text}");
    }

    #[test]
    fn every_configuration_of_the_repository_is_valid() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut files = vec![root.join("config.yaml")];
        for entry in fs::read_dir(root.join("examples")).unwrap() {
            files.push(entry.unwrap().path());
        }
        files.retain(|file| {
            file.extension()
                .is_some_and(|extension| extension == "yaml")
        });
        assert!(files.len() >= 4, "{files:?}");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            if let Err(error) = Config::from_yaml(&file.display().to_string(), &text, &[]) {
                panic!("{error}");
            }
        }
    }

    #[test]
    fn the_file_at_the_root_documents_every_key() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config.yaml");
        let text = fs::read_to_string(file).unwrap();
        let key = |line: &str| line.trim().split_once(':').map(|(key, _)| key.to_string());
        let mut complete = Config::default();
        complete.dataset.phantom = Some(PhantomConfig::default());
        for line in complete.to_yaml().lines() {
            let key_of_default = key(line);
            let is_documented = text.lines().any(|line| key(line) == key_of_default);
            let is_strength = key_of_default.as_deref() == Some("strength");
            assert!(is_documented || is_strength, "{line}");
        }
    }

    #[test]
    fn the_command_line_changes_single_settings() {
        let overrides = [
            "eval_every_n_steps=2",
            "model.freeze_layers=[]",
            "dataset.phantom.patients=40",
            "loss.temperature=5e-2",
        ];
        let config = read(COLAB, &overrides).unwrap();
        assert_eq!(config.evaluation_window(10), 2);
        assert_eq!(config.model.freeze_layers, [0; 0]);
        assert_eq!(config.dataset.phantom.unwrap().patients, 40);
        assert_eq!(config.loss.temperature, 0.05);
        let error = read(COLAB, &["loss.temperature=hot"]).unwrap_err();
        let message = "--set loss.temperature: expected a number, found \"hot\"";
        assert_eq!(error.to_string(), message);
        let error = read(COLAB, &["batch_size=1"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--set batch_size: expected at least 2, found 1"
        );
    }

    #[test]
    fn files_that_cannot_be_read_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        let missing = Config::from_file(&file, &[]).unwrap_err();
        assert!(
            missing
                .to_string()
                .contains("config.yaml: cannot be read: ")
        );
        fs::write(&file, b"seed: 1\nname: \xff\n").unwrap();
        let error = Config::from_file(&file, &[]).unwrap_err().to_string();
        assert!(error.ends_with("config.yaml:2: not UTF-8; save the file in that encoding"));
    }
}
