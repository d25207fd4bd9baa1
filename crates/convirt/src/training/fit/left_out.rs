//! The rows that turn out to be unusable while a run trains.

use std::collections::BTreeSet;
use std::sync::Arc;

use convirt_data::{Skip, Skips};

use crate::records::Recorder;

/// Rows named in a warning.
const EXAMPLES: usize = 5;

/// The rows that were left out, and those among them that have been told of.
pub(crate) struct LeftOut {
    /// The loaders add to it.
    skips: Arc<Skips>,
    told: BTreeSet<usize>,
}

impl LeftOut {
    /// Takes the rows so far as told of.
    pub fn new(skips: Arc<Skips>) -> Self {
        let told = skips.list().iter().map(|skip| skip.row).collect();
        Self { skips, told }
    }

    /// Warns of the rows that were left out since the last call.
    pub fn tell_of_new(&mut self, recorder: &mut Recorder) {
        let skips = self.skips.list();
        let is_new = |skip: &&Skip| !self.told.contains(&skip.row);
        let new: Vec<&Skip> = skips.iter().filter(is_new).collect();
        if new.is_empty() {
            return;
        }
        self.told.extend(new.iter().map(|skip| skip.row));
        let examples: Vec<String> = new.iter().take(EXAMPLES).map(|it| it.to_string()).collect();
        recorder.warning(&format!(
            "rows left out since the last evaluation: {}; in all {} of {}: {}{}",
            new.len(),
            skips.len(),
            self.skips.rows(),
            examples.join("; "),
            if new.len() > examples.len() {
                "; …"
            } else {
                ""
            }
        ));
    }
}
