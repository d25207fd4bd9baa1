//! The configuration of a run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use convirt::Config;
use log::info;

/// The default configuration, which trains on the chest phantom; every key has a comment.
pub const DEFAULT_CONFIGURATION: &str = include_str!("../../config.yaml");

/// Name of the default configuration in errors.
const DEFAULT_NAME: &str = "default configuration";

#[derive(Args)]
pub struct ConfigurationArguments {
    /// Configuration file to read; by default, the configuration that `convirt config` prints
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    pub overrides: OverrideArguments,
}

#[derive(Args)]
pub struct OverrideArguments {
    /// Change a key of the configuration, e.g. loss.temperature=0.07; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

impl ConfigurationArguments {
    /// Reads the file or the default configuration, and changes the given keys.
    pub fn read(&self) -> Result<Config> {
        let overrides = &self.overrides.overrides;
        if let Some(file) = &self.config {
            return Ok(Config::from_file(file, overrides)?);
        }
        let here = Path::new("config.yaml");
        if fs::read(here).is_ok_and(|text| text != DEFAULT_CONFIGURATION.as_bytes()) {
            info!("note: config.yaml is not read without --config config.yaml");
        }
        let config = Config::from_text(DEFAULT_NAME, DEFAULT_CONFIGURATION, overrides)?;
        Ok(config)
    }
}
