//! What a run starts from: an earlier run, one of its checkpoints, ConVIRT-Colab's, or any file
//! of a whole model.

use std::path::Path;

use convirt_data::ReportTokenizer;

use crate::error::Error;
use crate::pretrained::folder_of_weights;
use crate::run_dir;
use crate::weights::WeightsFile;

/// Weights of both towers, and their vocabulary where it stands beside them.
pub(crate) struct Earlier {
    pub weights: WeightsFile,
    /// A run's own. Words have other numbers in any other.
    pub tokenizer: Option<ReportTokenizer>,
}

impl Earlier {
    /// Opens what `name` means: a path, or a run in `runs`.
    pub fn open(runs: &Path, name: &Path) -> Result<Self, Error> {
        let weights = WeightsFile::open(run_dir::find(runs, name, |path| path.exists())?)?;
        let tokenizer = folder_of_weights(weights.path());
        let tokenizer = tokenizer.map(|folder| ReportTokenizer::from_folder(&folder, None));
        Ok(Self {
            weights,
            tokenizer: tokenizer.transpose()?,
        })
    }
}
