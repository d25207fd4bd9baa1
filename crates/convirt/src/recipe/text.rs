//! The text of a starting configuration.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use convirt_data::{Column, PairColumns, Split};

use super::Recipe;
use crate::config::yaml::to_yaml;
use crate::config::{Config, ModelConfig};
use crate::readable::thousands;

/// Optimizer steps from which a small data set is learned, about: with MedPix's 1,650 pairs the
/// validation loss of encoders from scratch is lowest at step 400.
const SMALL_DATA_STEPS: usize = 600;

/// Evaluations of a training.
const EVALUATIONS: usize = 12;

/// Share of the steps that warm up.
const WARMUP_SHARE: f64 = 0.05;

/// The comment on what follows from an earlier run.
const AS_EARLIER: &str = "as in the run that it starts from";

/// Column at which comments begin.
const COMMENT_COLUMN: usize = 28;

/// What a starting configuration is made from.
pub(super) struct Draft<'a> {
    pub csv: &'a Path,
    pub columns: &'a PairColumns,
    pub recipe: Recipe,
    /// The user's own settings, with defaults for the others.
    pub given: &'a Config,
    /// The configuration of the run that the training starts from.
    pub earlier: Option<&'a Config>,
    /// Whether the image encoder starts from weights that the user gives.
    pub has_image_weights: bool,
    /// Whether the text encoder does.
    pub has_text_weights: bool,
    /// Layers of that encoder.
    pub text_layers: usize,
}

/// The numbers of steps of a training.
struct Steps {
    batch_size: usize,
    epochs: usize,
    total: usize,
}

/// Lines `key: value  # comment`, with the comments aligned.
#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn add(&mut self, setting: &str, comment: &str) {
        if comment.is_empty() {
            self.text.push_str(setting);
        } else {
            let width = COMMENT_COLUMN;
            let _ = write!(self.text, "{setting:<width$} # {comment}");
        }
        self.text.push('\n');
    }
}

impl Draft<'_> {
    pub fn yaml(&self) -> String {
        let mut lines = Lines::default();
        self.head(&mut lines);
        self.training(&mut lines);
        self.model(&mut lines);
        self.dataset(&mut lines);
        lines.text
    }

    fn head(&self, lines: &mut Lines) {
        let rows = thousands(self.columns.rows);
        let others = Recipe::ALL.into_iter().filter(|it| *it != self.recipe);
        let others: Vec<&str> = others.map(Recipe::name).collect();
        let _ = write!(
            lines.text,
            "\
# A starting configuration for {}: {rows} rows, recipe {} (others: {}).
#
#   convirt doctor --config THIS_FILE    finds problems of the data
#   convirt train --config THIS_FILE     trains
#
# Keys that are not here have the paper's value; `convirt config` prints and explains all of them.

",
            self.csv
                .display()
                .to_string()
                .replace(char::is_control, " "),
            self.recipe,
            others.join(", "),
        );
    }

    /// Returns the number of training pairs, about.
    fn train_rows(&self) -> usize {
        match self.columns.sides.get(&Split::Train) {
            Some(rows) => *rows,
            None => self.columns.rows - self.columns.rows / 10,
        }
    }

    fn steps(&self) -> Steps {
        let rows = self.train_rows();
        // A quarter of a very small set, so that batches differ from epoch to epoch.
        let batch_size = (rows / 4).clamp(2, 32);
        let steps_per_epoch = (rows / batch_size).max(1);
        let epochs = match self.recipe {
            Recipe::SmallData => SMALL_DATA_STEPS.div_ceil(steps_per_epoch).clamp(3, 100),
            Recipe::LargeData => 20,
            Recipe::Paper => 1_000,
        };
        Steps {
            batch_size,
            epochs,
            total: epochs * steps_per_epoch,
        }
    }

    fn training(&self, lines: &mut Lines) {
        let name = self.csv.file_stem().unwrap_or_default().to_string_lossy();
        let name: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '_' {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        let name = if name.is_empty() {
            "pairs".into()
        } else {
            name
        };
        lines.add(
            &format!("name: {}", scalar(&name)),
            "part of the run folder's name",
        );
        let steps = self.steps();
        let batch = format!("batch_size: {}", steps.batch_size);
        if self.recipe == Recipe::Paper {
            lines.add("batch_size: 32", "");
            lines.add("epochs: 1000", "until the early stop");
            lines.add("eval_every_n_steps: 5000", "fewer for less data");
            lines.add(
                "early_stop_patience: 200",
                "evaluations without a lower loss",
            );
            lines.add("learning_rate: 1e-4", "");
            lines.add("schedule:", "");
            lines.add("  kind: plateau", "");
            lines.add(
                "  patience: 5",
                "evaluations without a lower loss before a reduction",
            );
            lines.add("  factor: 0.5", "");
            return;
        }
        lines.add(
            &batch,
            "pairs a step; more give more negatives and need more memory",
        );
        let total = thousands(steps.total);
        lines.add(
            &format!("epochs: {}", steps.epochs),
            &format!("about {total} steps; more while the validation loss still falls at the end"),
        );
        lines.add(
            &format!("eval_every_n_steps: {}", (steps.total / EVALUATIONS).max(1)),
            "the model with the lowest validation loss is kept",
        );
        lines.add(
            "early_stop_patience: null",
            "paper: 200 evaluations without a lower loss",
        );
        if self.has_image_weights || self.has_text_weights {
            lines.add("learning_rate: 1e-4", "the paper's, for pretrained weights");
        } else {
            lines.add(
                "learning_rate: 3e-4",
                "for encoders from scratch; paper: 1e-4, pretrained",
            );
        }
        let warmup = (steps.total as f64 * WARMUP_SHARE) as usize;
        lines.add("schedule:", "");
        lines.add("  kind: cosine", "or plateau (paper), for long trainings");
        lines.add(&format!("  warmup_steps: {warmup}"), "");
    }

    fn model(&self, lines: &mut Lines) {
        if let Some(earlier) = self.earlier {
            return earlier_model(&earlier.model, lines);
        }
        let is_small = self.recipe == Recipe::SmallData;
        lines.add("", "");
        lines.add("model:", "");
        let (width, network) = if is_small {
            (128, "resnet18")
        } else {
            (512, "resnet50")
        };
        let paper = |value: &str| {
            if is_small {
                format!("paper: {value}")
            } else {
                String::new()
            }
        };
        lines.add(&format!("  out_dim: {width}"), &paper("512"));
        lines.add(
            &format!("  res_base_model: {network}"),
            &paper("resnet50, with more data"),
        );
        if self.recipe == Recipe::Paper {
            lines.add(
                "  image_weights: imagenet",
                "of torchvision, downloaded once",
            );
            let name = "  bert_base_model: emilyalsentzer/Bio_ClinicalBERT";
            lines.add(name, "downloaded once");
            lines.add("  freeze_embeddings: True", "");
            lines.add("  freeze_layers: [0, 1, 2, 3, 4, 5]", "");
            lines.add("  pooling: max", "");
            return;
        }
        let weights = "a file of weights, or imagenet (paper, downloaded); null: from scratch";
        let given = optional(self.given.model.image_weights.as_deref());
        lines.add(&format!("  image_weights: {given}"), weights);
        let encoders = "or a folder of Hugging Face, or emilyalsentzer/Bio_ClinicalBERT (paper)";
        if self.has_text_weights {
            let encoder = scalar(&self.given.model.bert_base_model);
            lines.add(&format!("  bert_base_model: {encoder}"), encoders);
            let frozen: Vec<String> = (0..self.text_layers / 2)
                .map(|layer| layer.to_string())
                .collect();
            lines.add("  freeze_embeddings: True", "");
            lines.add(
                &format!("  freeze_layers: [{}]", frozen.join(", ")),
                "half, as in the paper",
            );
            return;
        }
        lines.add("  bert_base_model: scratch", encoders);
        lines.add(
            "  text_from_scratch:",
            "trained on the reports, with a vocabulary of its own",
        );
        let [layers, hidden, heads, vocabulary] = if is_small {
            [3, 192, 3, 3_000]
        } else {
            [6, 384, 6, 8_000]
        };
        lines.add(&format!("    layers: {layers}"), "");
        lines.add(&format!("    hidden_size: {hidden}"), "");
        lines.add(&format!("    heads: {heads}"), "");
        lines.add(&format!("    intermediate_size: {}", 4 * hidden), "");
        lines.add(&format!("    vocab_size: {vocabulary}"), "");
        lines.add("    max_tokens: 128", "longer texts are cut");
        lines.add("  do_lower_case: True", "");
        lines.add("  pooling: mean", "or max (paper)");
        lines.add(
            "  freeze_embeddings: False",
            "True and freeze_layers for a pretrained encoder",
        );
        lines.add("  freeze_layers: []", "");
    }

    fn dataset(&self, lines: &mut Lines) {
        let columns = self.columns;
        let unused: Vec<&str> = columns.unused.iter().map(|name| name.trim()).collect();
        let others = if unused.is_empty() {
            String::new()
        } else {
            format!("; other columns: {}", unused.join(", "))
        };
        lines.add("", "");
        lines.add("dataset:", "");
        let csv = scalar(&self.csv.to_string_lossy());
        lines.add(&format!("  csv_file: {csv}"), "");
        let folder = |path: &Option<PathBuf>| {
            let path = path.as_ref().map(|path| path.to_string_lossy());
            optional(path.as_deref())
        };
        let image_root = folder(&self.given.dataset.img_root_dir);
        let meaning = "folder of relative image paths; null: that of csv_file";
        lines.add(&format!("  img_root_dir: {image_root}"), meaning);
        lines.add(
            &format!("  img_path_col: {}", column(&columns.image)),
            "paths of image files",
        );
        if let Some(text) = &columns.text {
            let words = match columns.words {
                Some(words) => format!("{words} words on average"),
                None => "paths of text files".to_string(),
            };
            lines.add(
                &format!("  text_col: {}", column(text)),
                &format!("{words}{others}"),
            );
        }
        let (from_files, meaning) = if columns.text_from_files {
            ("True", "the text column holds paths; False: the texts")
        } else {
            (
                "False",
                "the text column holds the texts; True: paths of text files",
            )
        };
        lines.add(&format!("  text_from_files: {from_files}"), meaning);
        if columns.text_from_files {
            let text_root = folder(&self.given.dataset.text_root_dir);
            lines.add(
                &format!("  text_root_dir: {text_root}"),
                "the same for texts",
            );
        }
        match (&columns.group, columns.groups) {
            (Some(group), Some(groups)) => {
                let groups = format!("{} groups, each on one side only", thousands(groups));
                lines.add(&format!("  group_col: {}", column(group)), &groups);
            }
            _ => lines.add(
                "  group_col: null",
                "column of patients, if there is one; null: equal texts stay on one side",
            ),
        }
        match &columns.split {
            Some(split) => {
                let sides = columns.sides.iter();
                let sides: Vec<String> = sides
                    .map(|(side, rows)| format!("{} {side}", thousands(*rows)))
                    .collect();
                lines.add(
                    &format!("  split_col: {}", column(split)),
                    &sides.join(", "),
                );
            }
            None => {
                lines.add(
                    "  split_col: null",
                    "column with train, valid, test, if there is one",
                );
                lines.add(
                    "  valid_size: 0.1",
                    "share of the pairs held out, in whole groups",
                );
            }
        }
        if let Some(earlier) = self.earlier {
            let [height, width, channels] = earlier.dataset.input_shape;
            let shape = format!("  input_shape: ({height}, {width}, {channels})");
            lines.add(&shape, AS_EARLIER);
            let side = earlier.dataset.longer_side;
            let side = side.map_or_else(|| "null".to_string(), |side| side.to_string());
            lines.add(&format!("  longer_side: {side}"), "");
        } else if self.recipe == Recipe::SmallData && !self.has_image_weights {
            lines.add(
                "  input_shape: (96, 96, 3)",
                "paper: (224, 224, 3), 5 times the work",
            );
            lines.add("  longer_side: 112", "paper: 256, for 224");
        } else {
            lines.add("  input_shape: (224, 224, 3)", "");
            lines.add("  longer_side: 256", "");
        }
        lines.add("  augmentation:", "");
        if self.recipe == Recipe::Paper {
            lines.add("    flip_probability: 0.5", "0.0 where texts name sides");
        } else {
            let reason = "paper: 0.5; but a mirrored image contradicts \"left\" in its text";
            lines.add("    flip_probability: 0.0", reason);
        }
        if self.recipe == Recipe::SmallData {
            lines.add(
                "  train_text: whole_report",
                "or random_sentence (paper), for long texts",
            );
        } else {
            lines.add("  train_text: random_sentence", "or whole_report");
        }
    }
}

/// Adds the networks of an earlier run, which start from its weights.
fn earlier_model(model: &ModelConfig, lines: &mut Lines) {
    let model = ModelConfig {
        image_weights: None,
        frozen_states_dir: None,
        ..model.clone()
    };
    lines.add("", "");
    lines.add("model:", AS_EARLIER);
    let text = to_yaml(&model).expect("paths are Unicode");
    for line in text.lines() {
        lines.add(&format!("  {line}"), "");
    }
}

/// Returns a column as YAML. A name that reads as a number is quoted.
fn column(column: &Column) -> String {
    match column {
        Column::Position(position) => position.to_string(),
        Column::Name(name) => scalar(name),
    }
}

/// Returns a string, or nothing, as YAML.
fn optional(text: Option<&str>) -> String {
    text.map_or_else(|| "null".to_string(), scalar)
}

/// Returns a string as YAML, quoted unless it is a plain word.
fn scalar(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_-./ ".contains(c);
    let starts_with_letter = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let special = [
        "auto", "null", "none", "true", "false", "yes", "no", "on", "off",
    ];
    let is_plain = starts_with_letter
        && text.chars().all(is_word)
        && !text.ends_with(' ')
        && !special.contains(&text.to_ascii_lowercase().as_str());
    if is_plain {
        text.to_string()
    } else {
        serde_json::to_string(text).expect("a string is valid JSON")
    }
}
