//! Starting configurations that fit a table of pairs.

mod text;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use convirt_data::{PairColumns, SettingError, read_regular_text};
use convirt_model::BertConfig;

use crate::config::{Config, ModelConfig, overridden};
use crate::datasets::recognize_columns;
use crate::error::Error;
use crate::inference::find_run;
use crate::json_file::MAX_JSON;
use crate::weights::{WeightsKind, locate_local_weights};
use text::Draft;

/// Number of rows from which a data set is not small.
const LARGE_ROWS: usize = 20_000;

/// Layers of the paper's text encoder, a BERT-base.
const PAPER_TEXT_LAYERS: usize = 12;

/// A named choice of settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// The settings of Zhang et al. 2022, with the encoders that it starts from: ResNet-50 of
    /// ImageNet and ClinicalBERT, which are downloaded.
    Paper,
    /// For some hundreds to some thousands of pairs: small encoders, small images, minutes to an
    /// hour on a CPU.
    SmallData,
    /// For tens of thousands of pairs and more: the paper's sizes, with encoders from scratch
    /// unless weights are given.
    LargeData,
}

/// A commented configuration for the pairs of a table: its columns, a [`Recipe`], and numbers that
/// fit the number of rows.
///
/// # Examples
///
/// ```
/// use convirt::recipe::{Recipe, StartingConfig};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use convirt::phantom::PhantomConfig;
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path().join("phantom");
/// # PhantomConfig { patients: 8, longer_side: 64, seed: 0 }.write(&folder, |_, _| ())?;
/// let csv = folder.join("pairs.csv");
/// let start = StartingConfig::for_pairs(&csv, None, &[])?;
/// assert_eq!(start.recipe, Recipe::SmallData);
/// let config = start.config(&["batch_size=8".to_string()])?;
/// assert_eq!((config.batch_size, config.dataset.csv_file), (8, csv));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct StartingConfig {
    /// The recipe.
    pub recipe: Recipe,
    /// The columns of the table.
    pub columns: PairColumns,
    /// The configuration in YAML, with comments.
    pub yaml: String,
    csv: PathBuf,
}

impl Recipe {
    /// All recipes.
    pub const ALL: [Self; 3] = [Self::SmallData, Self::LargeData, Self::Paper];

    /// Returns the recipe for a table of `rows`.
    pub fn for_rows(rows: usize) -> Self {
        if rows < LARGE_ROWS {
            Self::SmallData
        } else {
            Self::LargeData
        }
    }

    /// Returns the name: `paper`, `small-data` or `large-data`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::SmallData => "small-data",
            Self::LargeData => "large-data",
        }
    }
}

impl StartingConfig {
    /// Looks at a table of pairs and makes a configuration for it. Without a recipe, the number of
    /// rows decides. `overrides` have the form of [`Config::from_file`]. Columns, folders and
    /// weights that they give are written into the configuration, and other settings follow from
    /// them, such as the learning rate from weights; all other overrides are left to
    /// [`config`](Self::config).
    ///
    /// # Errors
    ///
    /// - [`ConfigError`](crate::config::ConfigError) if an override is invalid
    /// - [`RunNameError`](crate::inference::RunNameError) if `fine_tune_from` could be several runs
    /// - [`ManifestError`](convirt_data::ManifestError) if the table cannot be read or its columns
    ///   are not recognized
    pub fn for_pairs(
        csv: &Path,
        recipe: Option<Recipe>,
        overrides: &[String],
    ) -> Result<Self, Error> {
        let mut defaults = Config::default();
        defaults.dataset.csv_file = csv.to_path_buf();
        if overridden(overrides, "model.bert_base_model") == Some(ModelConfig::SCRATCH) {
            defaults.model.freeze_layers = Vec::new();
            defaults.model.freeze_embeddings = false;
        }
        let given = Config::from_yaml("default configuration", &defaults.to_yaml(), overrides)?;
        let columns = recognize_columns(&given)?;
        let recipe = recipe.unwrap_or_else(|| Recipe::for_rows(columns.rows));
        let is_given =
            |key| overridden(overrides, key).is_some_and(|it| it != ModelConfig::SCRATCH);
        let starts_from_run = is_given("fine_tune_from");
        let earlier = earlier_run(&given)?;
        let draft = Draft {
            csv,
            columns: &columns,
            recipe,
            given: &given,
            earlier: earlier.as_ref(),
            has_image_weights: is_given("model.image_weights") || starts_from_run,
            has_text_weights: is_given("model.bert_base_model") || starts_from_run,
            text_layers: text_layers(&given.model.bert_base_model).unwrap_or(PAPER_TEXT_LAYERS),
        };
        let yaml = draft.yaml();
        Ok(Self {
            recipe,
            columns,
            yaml,
            csv: csv.to_path_buf(),
        })
    }

    /// Reads the configuration, with the given overrides.
    ///
    /// # Errors
    ///
    /// [`ConfigError`](crate::config::ConfigError) if an override is invalid, or if a file that it
    /// names does not exist.
    pub fn config(&self, overrides: &[String]) -> Result<Config, Error> {
        let source = format!("configuration for {}", self.csv.display());
        Ok(Config::from_text(&source, &self.yaml, overrides)?)
    }
}

/// Returns the configuration of the run that `fine_tune_from` names, by its path or name, its model
/// folder or a file below; `None` if that is no run.
fn earlier_run(given: &Config) -> Result<Option<Config>, Error> {
    let Some(name) = given.fine_tune_from.as_deref() else {
        return Ok(None);
    };
    let found = find_run(&given.runs_dir, Path::new(name))?;
    let mut folders = found.iter().flat_map(|path| path.ancestors().take(3));
    let run = folders.find(|folder| folder.join("model").is_dir());
    let config = run.map(|run| run.join("config.yaml"));
    let config = config.filter(|config| config.is_file());
    let config = config.map(|config| Config::from_written(&config, &[]));
    Ok(config.transpose()?)
}

/// Returns the number of layers of a text encoder that is on this machine.
fn text_layers(name: &str) -> Option<usize> {
    let folder = locate_local_weights(name, WeightsKind::TextEncoder)?;
    let json = read_regular_text(&folder.join("config.json"), MAX_JSON).ok()?;
    Some(BertConfig::parse(&json).ok()?.num_hidden_layers)
}

impl FromStr for Recipe {
    type Err = SettingError;

    fn from_str(word: &str) -> Result<Self, SettingError> {
        let recipe = Self::ALL.into_iter().find(|recipe| recipe.name() == word);
        recipe.ok_or_else(|| SettingError::UnknownWord {
            setting: "recipe",
            word: word.into(),
            known: "small-data, large-data or paper",
        })
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
