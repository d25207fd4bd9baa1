//! The configuration of a run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use convirt::Config;
use convirt::config::overridden;
use convirt::data::printable;
use convirt::recipe::{Recipe, StartingConfig};
use log::{info, warn};

use crate::program::Misuse;

/// The default configuration, which trains on the chest phantom; every key has a comment.
pub const DEFAULT_CONFIGURATION: &str = include_str!("../../config.yaml");

/// Name of the default configuration in errors.
const DEFAULT_NAME: &str = "default configuration";

#[derive(Args)]
pub struct ConfigurationArguments {
    /// Configuration file to read; by default, the configuration that `convirt config` prints
    #[arg(long, value_name = "FILE", conflicts_with_all = ["csv", "recipe"])]
    pub config: Option<PathBuf>,

    /// Table of images and texts to use instead of a configuration; what `convirt init` would write
    /// for it is used
    #[arg(long, alias = "manifest", value_name = "CSV")]
    csv: Option<PathBuf>,

    #[command(flatten)]
    recipe: RecipeArgument,

    #[command(flatten)]
    pub overrides: OverrideArguments,
}

#[derive(Args)]
pub struct RecipeArgument {
    /// Settings for a table: small-data, large-data, or paper (whose weights are downloaded); by
    /// default, the number of rows decides
    #[arg(long, value_name = "NAME")]
    pub recipe: Option<Recipe>,
}

#[derive(Args)]
pub struct OverrideArguments {
    /// Change a key of the configuration, e.g. loss.temperature=0.07; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

impl ConfigurationArguments {
    /// Reads the file, makes a configuration for the table, or takes the default configuration, and
    /// changes the given keys.
    pub fn read(&self) -> Result<Config> {
        let overrides = &self.overrides.overrides;
        if let Some(file) = &self.config {
            return Ok(Config::from_file(file, overrides)?);
        }
        let given = self.overrides.table();
        if self.csv.is_some() && given.is_some() {
            let problem = "--csv and --set dataset.csv_file both name a table; give one of them";
            return Err(Misuse(problem.to_string()).into());
        }
        if let Some(csv) = self.csv.clone().or(given) {
            let start = StartingConfig::for_pairs(&csv, self.recipe.recipe, overrides)?;
            warn_of_columns(&start);
            info!("{}", describe(&start));
            return Ok(start.config(overrides)?);
        }
        if self.recipe.recipe.is_some() {
            let problem = "--recipe has an effect with --csv only".to_string();
            return Err(Misuse(problem).into());
        }
        let here = Path::new("config.yaml");
        if fs::read(here).is_ok_and(|text| text != DEFAULT_CONFIGURATION.as_bytes()) {
            info!("note: config.yaml is not read without --config config.yaml");
        }
        let config = Config::from_text(DEFAULT_NAME, DEFAULT_CONFIGURATION, overrides)?;
        Ok(config)
    }
}

impl OverrideArguments {
    /// Returns the table that `dataset.csv_file` names, unless a phantom is to be drawn there.
    fn table(&self) -> Option<PathBuf> {
        let overrides = &self.overrides;
        let sets_phantom = |it: &String| it.trim_start().starts_with("dataset.phantom.");
        let has_phantom = overrides.iter().any(sets_phantom)
            || overridden(overrides, "dataset.phantom").is_some();
        let csv = overridden(overrides, "dataset.csv_file");
        let csv = csv.filter(|csv| !csv.starts_with(['"', '\'']));
        csv.filter(|_| !has_phantom).map(PathBuf::from)
    }
}

/// Warns of the columns that a starting configuration does not use in spite of their names.
pub fn warn_of_columns(start: &StartingConfig) {
    for remark in &start.columns.remarks {
        warn!("{}", printable(remark));
    }
}

/// Describes a starting configuration in a line.
pub fn describe(start: &StartingConfig) -> String {
    let (columns, recipe) = (&start.columns, start.recipe);
    format!("{} rows, recipe {recipe}: {columns}", columns.rows)
}
