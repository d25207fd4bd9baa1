//! The initial weights of a whole model, from a run, a checkpoint or ConVIRT-Colab.

use std::path::Path;

use convirt_data::ReportTokenizer;

use crate::config::Config;
use crate::error::Error;
use crate::inference::{Description, InferenceError, folder_of_weights, require_run};
use crate::weights::WeightsFile;

/// The weights of a whole model, with the tokenizer of its run if there is one.
pub(crate) struct InitialWeights {
    pub weights: WeightsFile,
    /// The run's tokenizer. Its token ids belong to the weights.
    pub tokenizer: Option<ReportTokenizer>,
}

impl InitialWeights {
    /// Opens the weights that `fine_tune_from` names, if it is set: by their path, or by the name
    /// of a run in the folder of runs. Reads the tokenizer only if the objective reads texts.
    ///
    /// # Errors
    ///
    /// - [`RunNameError`](crate::inference::RunNameError) if nothing has that path or name
    /// - [`InferenceError::NoTextEncoder`] if the objective reads texts but the run is SimCLR's
    /// - those of reading weights and tokenizer
    pub fn from_config(config: &Config) -> Result<Option<Self>, Error> {
        let Some(name) = config.fine_tune_from.as_deref().map(Path::new) else {
            return Ok(None);
        };
        let path = require_run(&config.runs_dir, name, Path::exists)?;
        let weights = WeightsFile::open(path)?;
        let folder = folder_of_weights(weights.path());
        let tokenizer = match folder.filter(|_| config.objective.reads_texts()) {
            Some(path) if !Description::load(&path)?.objective.reads_texts() => {
                return Err(InferenceError::NoTextEncoder { path }.into());
            }
            Some(path) => Some(ReportTokenizer::from_folder(&path, None)?),
            None => None,
        };
        Ok(Some(Self { weights, tokenizer }))
    }
}
