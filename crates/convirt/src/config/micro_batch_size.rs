//! How many pairs of a batch are computed at a time.

use serde::{Deserialize, Serialize};

use super::Config;

/// The value of `micro_batch_size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a number of pairs, or `auto`")]
pub enum MicroBatchSize {
    /// A number of pairs, at least 1.
    Pairs(usize),
    /// As many pairs as fit into `memory_budget_gib`.
    Auto(Auto),
}

/// The word `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auto {
    /// The word.
    Auto,
}

impl Config {
    /// Returns the number of pairs that are computed at a time, if it is given and smaller than the
    /// batch.
    pub(crate) fn micro_batch(&self) -> Option<usize> {
        match self.micro_batch_size {
            Some(MicroBatchSize::Pairs(pairs)) if pairs < self.batch_size => Some(pairs),
            _ => None,
        }
    }

    /// Whether the number of pairs is to be chosen.
    pub(crate) fn chooses_micro_batch(&self) -> bool {
        matches!(self.micro_batch_size, Some(MicroBatchSize::Auto(_)))
    }
}
