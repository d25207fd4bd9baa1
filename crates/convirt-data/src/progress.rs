//! How far long work over many files has come.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How far a preparation or an examination has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// How many are done.
    pub done: usize,
    /// How many there are.
    pub total: usize,
}

/// What is being worked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Reading reports.
    Reports,
    /// Reading views from the headers of images.
    Views,
    /// Reading rows of a manifest, with their texts.
    Rows,
    /// Decoding images, and writing or judging them.
    Images,
    /// Counting the tokens of texts.
    Texts,
}

impl Stage {
    /// Name of what is counted, in the plural.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reports => "reports",
            Self::Views => "views",
            Self::Rows => "rows",
            Self::Images => "images",
            Self::Texts => "texts",
        }
    }
}

/// Counts what workers have done; `progress` hears of each.
pub(crate) struct Steps<'a, F> {
    stage: Stage,
    total: usize,
    done: AtomicUsize,
    progress: &'a F,
}

impl<'a, F: Fn(Progress) + Sync> Steps<'a, F> {
    pub(crate) fn new(stage: Stage, total: usize, progress: &'a F) -> Self {
        Self {
            stage,
            total,
            done: AtomicUsize::new(0),
            progress,
        }
    }

    pub(crate) fn one_more(&self) {
        (self.progress)(Progress {
            stage: self.stage,
            done: self.done.fetch_add(1, Ordering::Relaxed) + 1,
            total: self.total,
        });
    }
}
