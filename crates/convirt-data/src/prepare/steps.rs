//! Counting what workers have done.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Progress, Stage};

/// The steps of a stage; `progress` hears of each.
pub(super) struct Steps<'a, F> {
    stage: Stage,
    total: usize,
    done: AtomicUsize,
    progress: &'a F,
}

impl<'a, F: Fn(Progress) + Sync> Steps<'a, F> {
    pub(super) fn new(stage: Stage, total: usize, progress: &'a F) -> Self {
        Self {
            stage,
            total,
            done: AtomicUsize::new(0),
            progress,
        }
    }

    pub(super) fn one_more(&self) {
        (self.progress)(Progress {
            stage: self.stage,
            done: self.done.fetch_add(1, Ordering::Relaxed) + 1,
            total: self.total,
        });
    }
}
