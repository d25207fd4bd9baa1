//! Progress bars of work in several stages.

use std::sync::{Mutex, PoisonError};

use convirt::data::{Progress, Stage};

use super::bar::Bar;

/// Shows the progress of one stage after the other.
#[derive(Default)]
pub struct ProgressBars {
    running: Mutex<Option<(Stage, Bar)>>,
}

impl ProgressBars {
    /// Shows the progress of a stage.
    pub fn show(&self, Progress { stage, done, total }: Progress) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *running {
            Some((current, bar)) if *current == stage => bar.show(done),
            _ => {
                // Remove the bar of the last stage before drawing the next.
                *running = None;
                let (_, bar) = running.insert((stage, Bar::begin(stage.name(), total)));
                bar.show(done);
            }
        }
    }
}
