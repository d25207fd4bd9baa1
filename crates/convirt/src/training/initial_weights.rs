//! What a run starts from: an earlier run, one of its checkpoints, ConVIRT-Colab's, or any file
//! of a whole model.

use std::path::Path;

use convirt_data::ReportTokenizer;

use crate::config::Objective;
use crate::error::Error;
use crate::inference::{Description, InferenceError, folder_of_weights};
use crate::run::folder;
use crate::weights::WeightsFile;

/// Weights of a whole model, and its vocabulary where it stands beside them.
pub(crate) struct InitialWeights {
    pub weights: WeightsFile,
    /// A run's own. Words have other numbers in any other.
    pub tokenizer: Option<ReportTokenizer>,
}

impl InitialWeights {
    /// Opens what `name` means: a path, or a run in `runs`. A training of ConVIRT needs a
    /// vocabulary, one of SimCLR has no use for it.
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
