//! What a run was begun on, so that it does not go on with other pairs in silence.

use std::fmt;
use std::path::Path;

use convirt_data::{FileError, NewFile, SplitStudies, Study, fingerprint};
use serde::{Deserialize, Serialize};

use super::error::RunError;
use crate::error::Error;
use crate::json_file::read_json;

/// Name of the file in a run's folder.
const FILE: &str = "data.json";

/// The pairs of a run, by their number and a hash of images, texts and groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DataIdentity {
    train: Side,
    valid: Side,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Side {
    pairs: usize,
    /// 32 hexadecimal digits.
    fingerprint: String,
}

/// Pairs that a run was begun on and others that it goes on with.
#[derive(Clone, Debug)]
pub(crate) struct DataChange {
    then: DataIdentity,
    now: DataIdentity,
}

impl DataIdentity {
    pub fn new(split: &SplitStudies) -> Self {
        let side = |studies: &[Study]| Side {
            pairs: studies.len(),
            fingerprint: format!("{:032x}", fingerprint(studies)),
        };
        Self {
            train: side(&split.train),
            valid: side(&split.valid),
        }
    }

    /// Writes `data.json` into a run's folder.
    pub fn save(&self, run: &Path) -> Result<(), FileError> {
        let path = run.join(FILE);
        let json = serde_json::to_string_pretty(self).expect("plain data") + "\n";
        NewFile::write_whole(&path, json.as_bytes()).map_err(FileError::write(&path))
    }

    /// Compares with what a run was begun on; `None` where it is the same, or the run does not
    /// tell, as those from before it was recorded.
    pub fn change(self, run: &Path) -> Result<Option<DataChange>, Error> {
        let path = run.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let json = read_json(&path)?;
        let then: Self =
            serde_json::from_slice(&json).map_err(|cause| RunError::BrokenState { path, cause })?;
        Ok((then != self).then_some(DataChange { then, now: self }))
    }
}

impl fmt::Display for DataChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { then, now } = self;
        write!(
            f,
            "the data changed since the run was begun: {} pairs to train on and {} held out then, \
             {} and {} now",
            then.train.pairs, then.valid.pairs, now.train.pairs, now.valid.pairs
        )?;
        for (side, then, now) in [
            ("to train on", &then.train, &now.train),
            ("held out", &then.valid, &now.valid),
        ] {
            if then.pairs == now.pairs && then != now {
                write!(
                    f,
                    "; other images, texts or groups, or another order, {side}"
                )?;
            }
        }
        Ok(())
    }
}
