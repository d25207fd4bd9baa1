//! What a run is computed from, so that a resumed run notices changes.

use std::collections::BTreeMap;
use std::path::Path;

use convirt_data::{ReportTokenizer, SplitStudies, Study, fingerprint};
use serde::{Deserialize, Serialize};

use super::summary::InitialWeightsFile;
use crate::config::Config;
use crate::error::Error;
use crate::weights::checksums::FileSum;

/// What a run is computed from: its configuration, pairs, vocabulary and initial weights. Each
/// checkpoint contains it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunIdentity {
    /// The configuration as YAML, every key.
    pub configuration: String,
    train: Side,
    valid: Side,
    /// The files of the tokenizer; none for SimCLR.
    vocabulary: BTreeMap<String, FileSum>,
    /// Files of weights that the run started from.
    pub initial_weights: Vec<InitialWeightsFile>,
}

/// The pairs of a side of the split.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Side {
    pairs: usize,
    /// Hash of images, texts and groups, 32 hexadecimal digits.
    fingerprint: String,
}

impl RunIdentity {
    /// Computes the identity of a run without its vocabulary.
    pub fn new(
        config: &Config,
        split: &SplitStudies,
        initial_weights: Vec<InitialWeightsFile>,
    ) -> Self {
        let side = |studies: &[Study]| Side {
            pairs: studies.len(),
            fingerprint: format!("{:032x}", fingerprint(studies)),
        };
        Self {
            configuration: config.to_yaml(),
            train: side(&split.train),
            valid: side(&split.valid),
            vocabulary: BTreeMap::new(),
            initial_weights,
        }
    }

    /// Adds the vocabulary of the tokenizer in the folder `model`.
    pub fn with_vocabulary(mut self, model: &Path) -> Result<Self, Error> {
        for name in ReportTokenizer::FILES {
            let sum = FileSum::compute(&model.join(name))?;
            self.vocabulary.insert(name.to_string(), sum);
        }
        Ok(self)
    }

    /// Describes what differs now from `then`, beside the configuration: the pairs, the
    /// vocabulary, and the files of initial weights that are still there.
    pub fn changes_since(&self, then: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        for (name, then, now) in [
            ("pairs to train on", &then.train, &self.train),
            ("pairs held out", &then.valid, &self.valid),
        ] {
            if then.pairs != now.pairs {
                changes.push(format!("{name}: {} → {}", then.pairs, now.pairs));
            } else if then != now {
                changes.push(format!(
                    "{name}: other images, texts or groups, or another order"
                ));
            }
        }
        for (name, sum) in &self.vocabulary {
            if then.vocabulary.get(name) != Some(sum) {
                changes.push(format!("vocabulary: {name} differs"));
            }
        }
        for weights in &then.initial_weights {
            let now = FileSum::compute(&weights.file);
            if now.is_ok_and(|now| now.crc32c != weights.crc32c) {
                let file = weights.file.display();
                changes.push(format!("initial weights of the {}: {file}", weights.part));
            }
        }
        changes
    }
}
