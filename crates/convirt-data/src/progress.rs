//! Progress of long work over many files.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Progress of a preparation or an examination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Current stage.
    pub stage: Stage,
    /// Items done.
    pub done: usize,
    /// Items in all.
    pub total: usize,
}

/// Kind of the items that are processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Reading reports.
    Reports,
    /// Reading views from the headers of images.
    Views,
    /// Reading rows of a manifest, with their texts.
    Rows,
    /// Decoding images, and writing or examining them.
    Images,
    /// Counting the tokens of texts.
    Texts,
}

impl Stage {
    /// Name of the items, in the plural.
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

/// Counts the items that workers have done and reports each to `progress`.
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
