//! What a run starts from: an earlier run, one of its checkpoints, ConVIRT-Colab's, or any file
//! of a whole model.

use std::path::Path;

use convirt_data::ReportTokenizer;

use crate::error::Error;
use crate::pretrained::folder_of_weights;
use crate::run_dir::runs_in;
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
        let candidates = [name.to_path_buf(), runs.join(name)];
        let path = candidates.into_iter().find(|path| path.exists());
        let path = path.ok_or_else(|| Error::NoRun {
            run: name.to_path_buf(),
            looked_in: runs.to_path_buf(),
            found: runs_in(runs),
        })?;
        let weights = WeightsFile::open(&path)?;
        let tokenizer = folder_of_weights(weights.path());
        let tokenizer = tokenizer.map(|folder| ReportTokenizer::from_folder(&folder, None));
        Ok(Self {
            weights,
            tokenizer: tokenizer.transpose()?,
        })
    }
}
