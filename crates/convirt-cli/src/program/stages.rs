//! What a program shows on the terminal while it works through many files.

use std::sync::{Mutex, PoisonError};

use convirt::data::{Progress, Stage};

use super::bar::Bar;

/// Shows one stage after the other.
#[derive(Default)]
pub struct ProgressBars {
    running: Mutex<Option<(Stage, Bar)>>,
}

impl ProgressBars {
    /// Draws a bar for the stage, or prints lines now and then.
    pub fn show(&self, Progress { stage, done, total }: Progress) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *running {
            Some((current, bar)) if *current == stage => bar.show(done),
            _ => {
                // The last stage's bar goes before the next one's comes.
                *running = None;
                let (_, bar) = running.insert((stage, Bar::begin(stage.name(), total)));
                bar.show(done);
            }
        }
    }
}
