//! The initial weights of a whole model, from a run, a checkpoint or ConVIRT-Colab.

use std::path::Path;

use convirt_data::ReportTokenizer;

use crate::config::Objective;
use crate::error::Error;
use crate::inference::{Description, InferenceError, folder_of_weights};
use crate::run::folder;
use crate::weights::WeightsFile;

/// The weights of a whole model, with the tokenizer of its run if there is one.
pub(crate) struct InitialWeights {
    pub weights: WeightsFile,
    /// The run's tokenizer. Its token ids belong to the weights.
    pub tokenizer: Option<ReportTokenizer>,
}

impl InitialWeights {
    /// Opens weights by their path, or by the name of a run in the folder `runs`. Reads the
    /// tokenizer only if the objective reads texts.
    ///
    /// # Errors
    ///
    /// - [`RunError::NoRun`](crate::run::RunError::NoRun) if nothing has that path or name
    /// - [`InferenceError::NoTextEncoder`] if the objective reads texts but the run is SimCLR's
    /// - those of reading weights and tokenizer
    pub fn open(runs: &Path, name: &Path, objective: Objective) -> Result<Self, Error> {
        let weights = WeightsFile::open(folder::find(runs, name, |path| path.exists())?)?;
        let folder = folder_of_weights(weights.path());
        let tokenizer = match folder.filter(|_| objective.reads_texts()) {
            Some(path) if !Description::load(&path)?.objective.reads_texts() => {
                return Err(InferenceError::NoTextEncoder { path }.into());
            }
            Some(path) => Some(ReportTokenizer::from_folder(&path, None)?),
            None => None,
        };
        Ok(Self { weights, tokenizer })
    }
}
