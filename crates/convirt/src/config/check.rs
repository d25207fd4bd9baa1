//! Checks that concern several sections, and checks that files exist.

use std::path::Path;

use convirt_data::{Choice, shards};

use super::invalid_setting::{Check, contradiction, missing_file};
use super::{Config, ModelName, loss};

/// Checks every setting alone and against the others.
pub(super) fn settings(config: &Config) -> Check {
    let Config {
        schedule,
        model,
        dataset,
        ..
    } = config;
    config.check()?;
    inside("schedule", schedule.check(config.learning_rate))?;
    inside("model", model.check())?;
    if config.objective.reads_texts() && model.text_is_from_scratch() {
        inside("model", model.check_text_from_scratch())?;
    }
    inside("dataset", dataset.check())?;
    let columns = config.columns();
    let (image, text) = (columns.image.given(), columns.text.given());
    if image.is_some() && image == text.and_then(Option::as_ref) {
        return contradiction("dataset.text_col", "the same column as `img_path_col`");
    }
    inside("loss", loss::check(&config.loss))
}

/// Puts the name of `section` before the invalid key.
fn inside(section: &str, check: Check) -> Check {
    check.map_err(|invalid| invalid.in_section(section))
}

/// Checks that the files and folders that the configuration names exist.
pub(super) fn files(config: &Config) -> Check {
    let (data, model) = (&config.dataset, &config.model);
    if data.phantom.is_none() {
        match shards(&data.csv_file) {
            Some(shards) => shards
                .iter()
                .try_for_each(|shard| exists("dataset.csv_file", Some(shard)))?,
            None => exists("dataset.csv_file", Some(&data.csv_file))?,
        }
        exists("dataset.img_root_dir", data.img_root_dir.as_deref())?;
        let texts = data.text_root_dir.as_deref();
        exists(
            "dataset.text_root_dir",
            texts.filter(|_| {
                data.text_from_files != Choice::Given(false)
                    && config.columns().text != Choice::Given(None)
            }),
        )?;
    }
    let text_encoder = (config.objective.reads_texts()).then_some(&*model.bert_base_model);
    let paths = [
        ("model.image_weights", model.image_weights.as_deref()),
        ("model.bert_base_model", text_encoder),
    ];
    paths.into_iter().try_for_each(|(key, name)| {
        let path = name.filter(|name| ModelName::parse(name).is_none());
        exists(key, path.map(Path::new))
    })
}

/// Checks that the path of a setting exists, if there is one.
fn exists(key: &str, path: Option<&Path>) -> Check {
    match path {
        Some(path) if !path.exists() => missing_file(key, path.to_path_buf()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::ConfigError;

    fn read(text: &str) -> Result<Config, ConfigError> {
        Config::from_yaml("config.yaml", text, &[])
    }

    #[test]
    fn errors_name_key_line_and_valid_values() {
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
        for (setting, invalid, message) in [
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
                "config.yaml:1: eval_every_n_steps: given together with `eval_every_n_epochs`; \
                 give one of the two",
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
                "config.yaml:4: model.freeze_layers: a text encoder from scratch has no learned \
                 layers to freeze; set it to []",
            ),
            (
                "  freeze_layers: []\n",
                "",
                "config.yaml:2: model.freeze_layers: a text encoder from scratch has no learned \
                 layers to freeze; set it to []",
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
                "csv_file: a.csv\n  img_path_col: 0\n  text_col: 0",
                "config.yaml:9: dataset.text_col: the same column as `img_path_col`",
            ),
            (
                "csv_file: a.csv",
                "csv_file: a/a.csv\n  phantom:\n    patients: 1",
                "config.yaml:9: dataset.phantom.patients: expected a value from 2 to 100000, found 1",
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
                "config.yaml:8: dataset.augmentation.strength: set `dataset.s` instead, which is \
                 the same setting",
            ),
        ] {
            let text = text.replacen(setting, invalid, 1);
            let error = read(&text).expect_err(invalid);
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn every_size_has_an_upper_bound() {
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
    fn a_configuration_built_in_code_is_checked_too() {
        let mut config = read("dataset: {csv_file: a.csv}").unwrap();
        assert!(config.validate().is_ok());
        for invalid in [0.0, -1.0, 1.5, f64::NAN, f64::INFINITY] {
            config.learning_rate = invalid;
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

        // SimCLR has no text encoder.
        let unused = ["objective=simclr", "model.bert_base_model=./nowhere"];
        assert!(Config::from_file(&file, &unused.map(String::from)).is_ok());

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
