//! Ranges, contradictions and files.

use std::fmt::Display;
use std::ops::RangeBounds;
use std::path::{Path, PathBuf};

use convirt_data::{SettingError, is_plain_name};
use convirt_model::Pooling;

use super::{
    Config, ConfigError, DatasetConfig, Location, LossConfig, ModelConfig, ModelName, Objective,
};

/// What is wrong with a key.
#[derive(Debug)]
pub(super) struct Flaw {
    key: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Range { expected: String, found: String },
    Contradiction(String),
    MissingFile(PathBuf),
}

impl Flaw {
    /// The error for a flaw in a key that stands where `locate` says.
    pub fn at(self, locate: impl Fn(&str) -> Location) -> ConfigError {
        let at = locate(&self.key);
        match self.kind {
            Kind::Range { expected, found } => ConfigError::Unexpected {
                at,
                expected,
                found,
            },
            Kind::Contradiction(problem) => ConfigError::Contradiction { at, problem },
            Kind::MissingFile(path) => ConfigError::MissingFile { at, path },
        }
    }
}

type Check = Result<(), Flaw>;

/// Checks every setting by itself and against the others.
pub(super) fn settings(config: &Config) -> Check {
    training(config)?;
    schedule(config)?;
    model(&config.model, config.objective)?;
    dataset(config)?;
    loss(&config.loss)
}

fn training(config: &Config) -> Check {
    let expected = "letters, digits, `.`, `-` and `_`, not beginning with a `.`";
    within(
        "name",
        is_plain_name(&config.name),
        expected,
        format!("{:?}", config.name),
    )?;
    at_least("batch_size", config.batch_size, 2)?;
    at_most("batch_size", config.batch_size, 65_536)?;
    at_least("epochs", config.epochs, 1)?;
    at_least("max_steps", config.max_steps, 1)?;
    at_least("eval_every_n_epochs", config.eval_every_n_epochs, 1)?;
    at_least("eval_every_n_steps", config.eval_every_n_steps, 1)?;
    at_least("early_stop_patience", config.early_stop_patience, 1)?;
    at_least("log_every_n_steps", config.log_every_n_steps, 1)?;
    if config.eval_every_n_epochs.is_some() && config.eval_every_n_steps.is_some() {
        let problem = "given beside `eval_every_n_epochs`; give one of the two";
        return contradiction("eval_every_n_steps", problem);
    }
    if !config.truncation {
        let problem = "False cannot be honoured: no text encoder reads beyond its maximum";
        return contradiction("truncation", problem);
    }
    let rate = config.learning_rate;
    within(
        "learning_rate",
        rate > 0.0 && rate <= 1.0,
        "a number above 0 and at most 1",
        rate,
    )?;
    let decay = config.weight_decay;
    within(
        "weight_decay",
        decay.is_finite() && decay >= 0.0,
        "a number from 0",
        decay,
    )?;
    positive("adam_epsilon", config.adam_epsilon)?;
    config
        .gradient_clip_norm
        .map_or(Ok(()), |norm| positive("gradient_clip_norm", norm))
}

fn schedule(config: &Config) -> Check {
    let schedule = &config.schedule;
    at_least("schedule.patience", schedule.patience, 1)?;
    let factor = schedule.factor;
    let between = "a number between 0 and 1";
    within(
        "schedule.factor",
        factor > 0.0 && factor < 1.0,
        between,
        factor,
    )?;
    let lowest = schedule.min_learning_rate;
    within(
        "schedule.min_learning_rate",
        (0.0..=config.learning_rate).contains(&lowest),
        "a number from 0 to `learning_rate`",
        lowest,
    )
}

fn model(model: &ModelConfig, objective: Objective) -> Check {
    at_least("model.out_dim", model.out_dim, 1)?;
    at_most("model.out_dim", model.out_dim, 65_536)?;
    at_least("model.max_tokens", model.max_tokens, 3)?;
    at_most("model.max_tokens", model.max_tokens, 1 << 20)?;
    if let Some(dropout) = model.dropout {
        below_one("model.dropout", dropout)?;
    }
    gibibytes("model.frozen_states_gib", model.frozen_states_gib)?;
    if model.pooling == Pooling::None {
        let problem = "`none` gives no vector for a text; use max, mean, mean_max, first or last";
        return contradiction("model.pooling", problem);
    }
    let layers = &model.freeze_layers;
    if let Some(layer) = (1..layers.len()).find(|&index| layers[..index].contains(&layers[index])) {
        let problem = format!("layer {} is given twice", layers[layer]);
        return contradiction("model.freeze_layers", problem);
    }
    if model.bert_base_model.trim().is_empty() {
        let problem = "a folder, the name of a model, or `scratch` is needed";
        return contradiction("model.bert_base_model", problem);
    }
    match objective {
        Objective::ConVirt if model.text_is_from_scratch() => text_from_scratch(model),
        Objective::ConVirt | Objective::SimClr => Ok(()),
    }
}

fn text_from_scratch(model: &ModelConfig) -> Check {
    let size = &model.text_from_scratch;
    at_least("model.text_from_scratch.layers", size.layers, 1)?;
    at_least("model.text_from_scratch.heads", size.heads, 1)?;
    at_least("model.text_from_scratch.hidden_size", size.hidden_size, 1)?;
    at_least(
        "model.text_from_scratch.intermediate_size",
        size.intermediate_size,
        1,
    )?;
    at_least("model.text_from_scratch.vocab_size", size.vocab_size, 100)?;
    at_least("model.text_from_scratch.max_tokens", size.max_tokens, 3)?;
    // Those of any text encoder, as `BertConfig::validate` has them.
    for (key, number, most) in [
        ("layers", size.layers, 1_024),
        ("heads", size.heads, 4_096),
        ("hidden_size", size.hidden_size, 65_536),
        ("intermediate_size", size.intermediate_size, 1 << 20),
        ("vocab_size", size.vocab_size, 10_000_000),
        ("max_tokens", size.max_tokens, 1 << 20),
    ] {
        at_most(&format!("model.text_from_scratch.{key}"), number, most)?;
    }
    if !size.hidden_size.is_multiple_of(size.heads) {
        let problem = format!(
            "{} is not a multiple of `heads`, {}",
            size.hidden_size, size.heads
        );
        return contradiction("model.text_from_scratch.hidden_size", problem);
    }
    if model.pooling_layer.is_some_and(|layer| layer > size.layers) {
        let problem = format!("beyond `text_from_scratch.layers`, {}", size.layers);
        return contradiction("model.pooling_layer", problem);
    }
    if !model.freeze_layers.is_empty() {
        let problem = "nothing is learned yet in a text encoder from scratch; set it to []";
        return contradiction("model.freeze_layers", problem);
    }
    if model.freeze_embeddings {
        let problem = "nothing is learned yet in a text encoder from scratch; set it to False";
        return contradiction("model.freeze_embeddings", problem);
    }
    Ok(())
}

fn dataset(config: &Config) -> Check {
    let data = &config.dataset;
    if data.csv_file.as_os_str().is_empty() {
        return contradiction(
            "dataset.csv_file",
            "missing; the CSV of the pairs is needed",
        );
    }
    if config.text_column().as_ref() == Some(&data.img_path_col) {
        let problem = "the same column as `img_path_col`";
        return contradiction("dataset.text_col", problem);
    }
    let between = "a number between 0 and 1";
    let share = data.valid_size;
    within(
        "dataset.valid_size",
        share > 0.0 && share < 1.0,
        between,
        share,
    )?;
    from_zero_to_one("dataset.max_bad_share", data.max_bad_share)?;
    let [height, width, channels] = data.input_shape;
    within(
        "dataset.input_shape",
        height == width && (32..=4096).contains(&height) && channels == 3,
        "a square of 32 to 4096 pixels with 3 channels, such as (224, 224, 3)",
        format!("({height}, {width}, {channels})"),
    )?;
    at_least("dataset.longer_side", data.longer_side, 32)?;
    at_most("dataset.longer_side", data.longer_side, 65_535)?;
    at_most("dataset.num_workers", data.num_workers, 1_024)?;
    at_least("dataset.prefetch", data.prefetch, 1)?;
    at_most("dataset.prefetch", data.prefetch, 1_024)?;
    at_least("dataset.pad_multiple", data.pad_multiple, 1)?;
    at_most("dataset.pad_multiple", data.pad_multiple, 65_536)?;
    at_most("dataset.cache_mb", data.cache_mb, 1 << 24)?;
    gibibytes("dataset.cache_size", data.cache_size)?;
    within(
        "dataset.max_image_side",
        (32..=65_535).contains(&data.max_image_side),
        "32 to 65535 pixels",
        data.max_image_side,
    )?;
    within(
        "dataset.max_image_mb",
        (1..=65_536).contains(&data.max_image_mb),
        "1 to 65536 MiB",
        data.max_image_mb,
    )?;
    number_in("dataset.s", data.s, 0.0..=10.0, "a number from 0 to 10")?;
    augmentation(data)
}

fn augmentation(data: &DatasetConfig) -> Check {
    let augmentation = &data.augmentation;
    if augmentation.strength != 1.0 {
        let problem = "say it with `dataset.s`, which is the same";
        return contradiction("dataset.augmentation.strength", problem);
    }
    match augmentation.init(data.input_shape[0]) {
        Ok(_) => Ok(()),
        Err(SettingError::OutOfRange {
            setting,
            value,
            allowed,
            ..
        }) => Err(Flaw {
            key: format!("dataset.augmentation.{setting}"),
            kind: Kind::Range {
                expected: format!("a value {allowed}"),
                found: value.to_string(),
            },
        }),
        Err(other) => contradiction("dataset.augmentation", other.to_string()),
    }
}

fn loss(loss: &LossConfig) -> Check {
    positive("loss.temperature", loss.temperature)?;
    number_in(
        "loss.temperature",
        loss.temperature,
        1e-4..=1e3,
        "a number from 0.0001 to 1000",
    )?;
    if loss.learnable_temperature && loss.temperature < 0.01 {
        let problem = "below 0.01, which is as far as a learnable temperature goes";
        return contradiction("loss.temperature", problem);
    }
    from_zero_to_one("loss.alpha_weight", loss.alpha_weight)
}

/// Checks that what the configuration names is there.
pub(super) fn files(config: &Config) -> Check {
    let (data, model) = (&config.dataset, &config.model);
    if data.phantom.is_none() {
        present("dataset.csv_file", Some(&data.csv_file))?;
        present("dataset.img_root_dir", data.img_root_dir.as_deref())?;
        let texts = data.text_root_dir.as_deref();
        present(
            "dataset.text_root_dir",
            texts.filter(|_| data.text_from_files && config.text_column().is_some()),
        )?;
    }
    let text_encoder = (config.objective == Objective::ConVirt).then_some(&*model.bert_base_model);
    let paths = [
        ("model.image_weights", model.image_weights.as_deref()),
        ("model.bert_base_model", text_encoder),
    ];
    paths.into_iter().try_for_each(|(key, name)| {
        let path = name.filter(|name| ModelName::parse(name).is_none());
        present(key, path.map(Path::new))
    })
}

fn present(key: &str, path: Option<&Path>) -> Check {
    match path {
        Some(path) if !path.exists() => Err(Flaw {
            key: key.to_string(),
            kind: Kind::MissingFile(path.to_path_buf()),
        }),
        _ => Ok(()),
    }
}

fn at_least(key: &str, number: impl Into<Option<usize>>, least: usize) -> Check {
    match number.into() {
        Some(number) => within(key, number >= least, format!("at least {least}"), number),
        None => Ok(()),
    }
}

fn at_most(key: &str, number: impl Into<Option<usize>>, most: usize) -> Check {
    match number.into() {
        Some(number) => within(key, number <= most, format!("at most {most}"), number),
        None => Ok(()),
    }
}

/// A size on disk; a million are a petabyte.
fn gibibytes(key: &str, number: f64) -> Check {
    positive(key, number)?;
    within(key, number <= 1e6, "at most 1000000 GiB", number)
}

fn positive(key: &str, number: f64) -> Check {
    within(
        key,
        number.is_finite() && number > 0.0,
        "a number above 0",
        number,
    )
}

fn below_one(key: &str, number: f64) -> Check {
    number_in(key, number, 0.0..1.0, "a number from 0 to below 1")
}

fn from_zero_to_one(key: &str, number: f64) -> Check {
    number_in(key, number, 0.0..=1.0, "a number from 0 to 1")
}

fn number_in(key: &str, number: f64, range: impl RangeBounds<f64>, expected: &str) -> Check {
    within(key, range.contains(&number), expected, number)
}

fn within(key: &str, holds: bool, expected: impl Display, found: impl Display) -> Check {
    match holds {
        true => Ok(()),
        false => Err(Flaw {
            key: key.to_string(),
            kind: Kind::Range {
                expected: expected.to_string(),
                found: found.to_string(),
            },
        }),
    }
}

fn contradiction(key: impl Into<String>, problem: impl Into<String>) -> Check {
    Err(Flaw {
        key: key.into(),
        kind: Kind::Contradiction(problem.into()),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        Config::from_yaml("config.yaml", text, &[])
    }

    #[test]
    fn wrong_settings_name_key_line_and_what_would_be_right() {
        let text = "\
batch_size: 8
model:
  bert_base_model: scratch
  freeze_layers: []
  freeze_embeddings: False
dataset:
  csv_file: a.csv
";
        assert!(read(text).is_ok());
        for (from, to, message) in [
            (
                "batch_size: 8",
                "batch_size: 1",
                "config.yaml:1: batch_size: expected at least 2, found 1",
            ),
            (
                "batch_size: 8",
                "objective: simcrl",
                "config.yaml:1: objective: expected convirt or simclr, found \"simcrl\"",
            ),
            (
                "batch_size: 8",
                "learning_rate: 2e0",
                "config.yaml:1: learning_rate: expected a number above 0 and at most 1, found 2",
            ),
            (
                "batch_size: 8",
                "truncation: False",
                "config.yaml:1: truncation: False cannot be honoured: no text encoder reads \
                 beyond its maximum",
            ),
            (
                "batch_size: 8",
                "name: ../x",
                "config.yaml:1: name: expected letters, digits, `.`, `-` and `_`, not beginning \
                 with a `.`, found \"../x\"",
            ),
            (
                "batch_size: 8",
                "eval_every_n_steps: 5\neval_every_n_epochs: 1",
                "config.yaml:1: eval_every_n_steps: given beside `eval_every_n_epochs`; give one \
                 of the two",
            ),
            (
                "batch_size: 8",
                "schedule:\n  min_learning_rate: 1e-3",
                "config.yaml:2: schedule.min_learning_rate: expected a number from 0 to \
                 `learning_rate`, found 0.001",
            ),
            (
                "batch_size: 8",
                "loss:\n  temperature: 0",
                "config.yaml:2: loss.temperature: expected a number above 0, found 0",
            ),
            (
                "batch_size: 8",
                "loss:\n  temperature: 5000",
                "config.yaml:2: loss.temperature: expected a number from 0.0001 to 1000, found 5000",
            ),
            (
                "batch_size: 8",
                "loss:\n  alpha_weigth: 0.5",
                "config.yaml:2: loss.alpha_weigth: unknown key; did you mean `alpha_weight`?",
            ),
            (
                "freeze_layers: []",
                "freeze_layers: [0, 0]",
                "config.yaml:4: model.freeze_layers: layer 0 is given twice",
            ),
            (
                "freeze_layers: []",
                "freeze_layers: [0]",
                "config.yaml:4: model.freeze_layers: nothing is learned yet in a text encoder \
                 from scratch; set it to []",
            ),
            (
                "  freeze_layers: []\n",
                "",
                "config.yaml:2: model.freeze_layers: nothing is learned yet in a text encoder \
                 from scratch; set it to []",
            ),
            (
                "freeze_layers: []",
                "freeze_layers: []\n  pooling: none",
                "config.yaml:5: model.pooling: `none` gives no vector for a text; use max, mean, \
                 mean_max, first or last",
            ),
            (
                "freeze_layers: []",
                "freeze_layers: []\n  res_base_model: resnet20",
                "config.yaml:5: model.res_base_model: expected resnet18, resnet34, resnet50, \
                 resnet101 or resnet152, found \"resnet20\"",
            ),
            (
                "freeze_layers: []",
                "freeze_layers: []\n  text_from_scratch:\n    heads: 3",
                "config.yaml:5: model.text_from_scratch.hidden_size: 256 is not a multiple of \
                 `heads`, 3",
            ),
            (
                "  csv_file: a.csv",
                "",
                "config.yaml:6: dataset.csv_file: missing; the CSV of the pairs is needed",
            ),
            (
                "dataset:\n  csv_file: a.csv",
                "",
                "config.yaml: dataset.csv_file: missing; the CSV of the pairs is needed",
            ),
            (
                "csv_file: a.csv",
                "csv_file: a.csv\n  valid_size: 5000",
                "config.yaml:8: dataset.valid_size: expected a number between 0 and 1, found 5000",
            ),
            (
                "csv_file: a.csv",
                "csv_file: a.csv\n  cache_size: 0",
                "config.yaml:8: dataset.cache_size: expected a number above 0, found 0",
            ),
            (
                "csv_file: a.csv",
                "csv_file: a.csv\n  max_image_side: 16",
                "config.yaml:8: dataset.max_image_side: expected 32 to 65535 pixels, found 16",
            ),
            (
                "csv_file: a.csv",
                "csv_file: a.csv\n  max_image_mb: 0",
                "config.yaml:8: dataset.max_image_mb: expected 1 to 65536 MiB, found 0",
            ),
            (
                "csv_file: a.csv",
                "csv_file: a.csv\n  input_shape: (224,200,3)",
                "config.yaml:8: dataset.input_shape: expected a square of 32 to 4096 pixels with \
                 3 channels, such as (224, 224, 3), found (224, 200, 3)",
            ),
            (
                "csv_file: a.csv",
                "csv_file: a.csv\n  text_col: 0",
                "config.yaml:8: dataset.text_col: the same column as `img_path_col`",
            ),
            (
                "csv_file: a.csv",
                "csv_file: a.csv\n  augmentation:\n    flip_probability: 2",
                "config.yaml:9: dataset.augmentation.flip_probability: expected a value in [0, 1], \
                 found 2",
            ),
            (
                "csv_file: a.csv",
                "csv_file: a.csv\n  augmentation: {strength: 2}",
                "config.yaml:8: dataset.augmentation.strength: say it with `dataset.s`, which is \
                 the same",
            ),
        ] {
            let wrong = text.replacen(from, to, 1);
            let error = read(&wrong).expect_err(to);
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn sizes_beyond_measure_are_refused_by_name() {
        for key in [
            "batch_size",
            "model.out_dim",
            "model.max_tokens",
            "model.frozen_states_gib",
            "model.text_from_scratch.layers",
            "model.text_from_scratch.heads",
            "model.text_from_scratch.hidden_size",
            "model.text_from_scratch.intermediate_size",
            "model.text_from_scratch.vocab_size",
            "model.text_from_scratch.max_tokens",
            "dataset.longer_side",
            "dataset.num_workers",
            "dataset.prefetch",
            "dataset.pad_multiple",
            "dataset.cache_mb",
            "dataset.cache_size",
        ] {
            let settings = [
                "dataset.csv_file=a.csv",
                "model.bert_base_model=scratch",
                "model.freeze_layers=[]",
                "model.freeze_embeddings=False",
                &format!("{key}=1000000000000"),
            ];
            let settings = settings.map(String::from);
            let error = Config::from_yaml("config.yaml", "", &settings).unwrap_err();
            let message = error.to_string();
            assert!(
                message.contains(&format!("{key}: expected at most")),
                "{message}"
            );
        }
    }

    #[test]
    fn a_configuration_made_in_code_is_checked_too() {
        let mut config = read("dataset: {csv_file: a.csv}").unwrap();
        assert!(config.validate().is_ok());
        for wrong in [0.0, -1.0, 1.5, f64::NAN, f64::INFINITY] {
            config.learning_rate = wrong;
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with("learning_rate: expected"), "{error}");
        }
    }

    #[test]
    fn missing_files_are_named_with_key_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        let csv = folder.path().join("pairs.csv");
        let text = format!("seed: 1\ndataset:\n  csv_file: {}\n", csv.display());
        fs::write(&file, &text).unwrap();
        let error = Config::from_file(&file, &[]).unwrap_err().to_string();
        let message = format!(
            "{}:3: dataset.csv_file: no such file or folder: {}",
            file.display(),
            csv.display()
        );
        assert_eq!(error, message);

        let phantom = ["dataset.phantom.seed=1".to_string()];
        assert!(Config::from_file(&file, &phantom).is_ok());
        fs::write(&csv, "image,text\n").unwrap();
        assert!(Config::from_file(&file, &[]).is_ok());

        let unread = ["objective=simclr", "model.bert_base_model=./nowhere"];
        assert!(Config::from_file(&file, &unread.map(String::from)).is_ok());

        for (key, path) in [
            ("dataset.img_root_dir", "nowhere"),
            ("dataset.text_root_dir", "nowhere"),
            ("model.image_weights", "nowhere.safetensors"),
            ("model.bert_base_model", "./nowhere"),
            ("model.bert_base_model", "weights/no/where"),
        ] {
            let error = Config::from_file(&file, &[format!("{key}={path}")]).unwrap_err();
            let message = format!("--set {key}: no such file or folder: {path}");
            assert_eq!(error.to_string(), message);
        }
    }
}
