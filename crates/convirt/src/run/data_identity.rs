//! A record of a run's data, so that a resumed run can warn if the data changed.

use std::fmt;
use std::path::Path;

use convirt_data::{FileError, SplitStudies, Study, fingerprint};
use serde::{Deserialize, Serialize};

use super::error::RunError;
use crate::error::Error;
use crate::json_file::{read_json, write_json};

/// Name of the file in a run's folder.
const FILE: &str = "data.json";

/// The identity of a run's data: the number of pairs, and a hash of images, texts and groups.
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

/// A difference between the data at the start of a run and the data of its resumption.
#[derive(Clone, Debug)]
pub(crate) struct DataChange {
    then: DataIdentity,
    now: DataIdentity,
}

impl DataIdentity {
    /// Computes the identity of the split studies.
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
        write_json(&run.join(FILE), self)
    }

    /// Compares the data with the data at the start of a run. `None` if they are equal, or if the
    /// run, of an older version of this crate, has no record.
    pub fn change_since_start(self, run: &Path) -> Result<Option<DataChange>, Error> {
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
            ("training", &then.train, &now.train),
            ("held-out", &then.valid, &now.valid),
        ] {
            if then.pairs == now.pairs && then != now {
                write!(
                    f,
                    "; the {side} pairs have other images, texts or groups, or another order"
                )?;
            }
        }
        Ok(())
    }
}
