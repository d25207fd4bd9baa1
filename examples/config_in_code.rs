//! Trains with a configuration that is made in code, without a file.
//!
//! `cargo run --release --example config_in_code -- PAIRS.csv RUNS` trains a small model on a table
//! of images and texts for a few steps, and leaves a run in the folder RUNS.

use convirt::config::{DatasetConfig, ModelConfig, ScratchTextConfig};
use convirt::data::Choice;
use convirt::model::ResNetDepth;
use convirt::{Config, Error, Training};

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [pairs, runs] = &arguments[..] else {
        panic!("usage: config_in_code PAIRS.csv RUNS");
    };
    let config = Config {
        name: "in-code".to_string(),
        runs_dir: runs.into(),
        batch_size: 4,
        max_steps: Some(4),
        eval_every_n_steps: Some(2),
        model: ModelConfig {
            res_base_model: ResNetDepth::ResNet18,
            bert_base_model: "scratch".to_string(),
            text_from_scratch: ScratchTextConfig {
                layers: 1,
                hidden_size: 64,
                heads: 2,
                ..ScratchTextConfig::default()
            },
            freeze_embeddings: false,
            freeze_layers: Vec::new(),
            ..ModelConfig::default()
        },
        dataset: DatasetConfig {
            csv_file: pairs.into(),
            // The other columns are recognized.
            group_col: Choice::Given(Some("subject_id".into())),
            input_shape: [32, 32, 3],
            ..DatasetConfig::default()
        },
        ..Config::default()
    };
    config.validate()?;
    let summary = Training::prepare(config)?.run()?;
    println!("{summary}");
    Ok(())
}
