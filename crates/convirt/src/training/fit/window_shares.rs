//! The batches of a window, each fetched while a device still computes the step before.

use std::time::{Duration, Instant};

use burn::data::dataloader::Progress;
use convirt_data::{BatchShare, BatchShares, LoaderError, TrainingLoader};

/// This peer's shares of a window's batches.
pub(super) struct WindowShares<'a> {
    loader: &'a TrainingLoader,
    shares: BatchShares,
    fetched: Option<FetchedShare>,
}

/// A share that waits for its step, or why there is none.
pub(super) struct FetchedShare {
    pub share: Result<BatchShare, LoaderError>,
    /// Number of steps that are done when its step is.
    pub step: usize,
    /// Progress in the window, with this batch.
    pub progress: Progress,
    /// How long the host waited for it.
    pub waiting: Duration,
}

impl<'a> WindowShares<'a> {
    /// Begins at the loader's position.
    pub fn new(loader: &'a TrainingLoader) -> Self {
        Self {
            loader,
            shares: loader.shares(),
            fetched: None,
        }
    }

    /// Fetches the next share and queues its copy to the device, which meanwhile computes what is
    /// queued before it.
    pub fn fetch(&mut self) {
        if self.fetched.is_some() {
            return;
        }
        let asked = Instant::now();
        self.fetched = self.shares.next().map(|share| FetchedShare {
            share,
            step: self.loader.position().get(),
            progress: self.shares.progress(),
            waiting: asked.elapsed(),
        });
    }

    /// Returns the next share; `None` at the end of the window.
    pub fn take(&mut self) -> Option<FetchedShare> {
        self.fetch();
        self.fetched.take()
    }

    /// Ends after `step` steps, before the end of the window or at it. Returns the number of steps that
    /// are done: some at the end may have no batch.
    pub fn end(self, step: usize) -> usize {
        if self.fetched.is_some() {
            // Its step is still to be done.
            self.loader.position().set(step);
        }
        self.loader.position().get()
    }
}
