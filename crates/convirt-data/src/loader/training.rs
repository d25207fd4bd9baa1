//! Training: steps without end, windows of them between evaluations, resumable at each.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::data::dataloader::{DataLoader, DataLoaderIterator};
use burn::tensor::Device;

use super::LoaderConfig;
use super::batch::ImageTextBatch;
use super::batches::{Batches, Source};
use super::dataset::ImageTextDataset;
use super::order::Order;
use crate::loader::error::LoaderError;
use crate::setting::check_at_least;

/// A batch with fewer pairs has no negatives to learn from.
const MIN_PAIRS: usize = 2;

/// How long a training is and how it is divided, in steps (batches).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainingSteps {
    /// Steps from one evaluation to the next.
    pub window: usize,
    /// Steps in all.
    pub total: usize,
}

/// The step that a [`TrainingLoader`] does next, counted from 0 over the whole training.
///
/// All clones are one position; saved with a checkpoint and set again, it resumes a training at
/// the very next batch.
#[derive(Clone, Debug, Default)]
pub struct LoaderPosition(Arc<AtomicUsize>);

impl LoaderPosition {
    /// Returns the step to do next.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Moves to another step; passes under way are not affected.
    pub fn set(&self, step: usize) {
        self.0.store(step, Ordering::SeqCst);
    }
}

/// Full batches of randomly ordered pairs, epoch after epoch.
///
/// Step `s` belongs to epoch `s / steps_per_epoch`, which has one seeded permutation of all
/// studies; what is left over at its end is dropped, and other studies are left over in the next.
/// [`iter`](DataLoader::iter) goes on at the position and ends with the window. The batch of a
/// step is the same for any number of workers and wherever the training was interrupted.
///
/// A study whose image cannot be read is left out of its batch, and a batch without two pairs of
/// the training.
#[derive(Clone, Debug)]
pub struct TrainingLoader {
    source: Source,
    steps: TrainingSteps,
    position: LoaderPosition,
    /// Steps of each window that this loader does; all but in a slice.
    share: Range<usize>,
}

impl TrainingLoader {
    /// Makes a loader at step 0.
    ///
    /// # Errors
    ///
    /// [`LoaderError::NothingToLoad`] without studies, [`LoaderError::BatchTooLarge`] when they do
    /// not fill a batch, `SettingError::OutOfRange` for a batch of fewer than two pairs or windows
    /// of no steps.
    pub fn new(
        dataset: Arc<ImageTextDataset>,
        config: &LoaderConfig,
        steps: TrainingSteps,
        device: &Device,
    ) -> Result<Self, LoaderError> {
        let (batch_size, studies) = (config.batch_size, dataset.len());
        config.check(MIN_PAIRS)?;
        check_at_least("steps between evaluations", steps.window, 1, "1 or more")?;
        if dataset.is_empty() {
            return Err(LoaderError::NothingToLoad);
        }
        if batch_size > studies {
            return Err(LoaderError::BatchTooLarge {
                batch_size,
                studies,
            });
        }
        let order = Order::training(studies, dataset.config().seed, batch_size);
        Ok(Self {
            source: Source {
                dataset,
                config: config.clone(),
                order,
                device: device.clone(),
                min_pairs: MIN_PAIRS,
            },
            share: 0..steps.window.min(steps.total),
            steps,
            position: LoaderPosition::default(),
        })
    }

    /// Returns the step to do next, shared with this loader and its copies on other devices.
    pub fn position(&self) -> LoaderPosition {
        self.position.clone()
    }

    /// Returns the batches of one pass over the studies.
    pub fn steps_per_epoch(&self) -> usize {
        self.source.order.batches_per_epoch()
    }

    /// Returns what the samples are made of.
    pub fn dataset(&self) -> &ImageTextDataset {
        &self.source.dataset
    }
}

impl DataLoader<ImageTextBatch> for TrainingLoader {
    /// Goes on at the position and ends with its window, or with the training.
    ///
    /// A step counts as done when its batch has been handed out.
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<ImageTextBatch> + 'a> {
        let batch_size = self.source.config.batch_size;
        let TrainingSteps { window, total } = self.steps;
        let begin = self.position.get();
        let window_begin = begin - begin % window;
        let window_end = (window_begin + window).min(total);
        let first = begin.max(window_begin + self.share.start);
        let end = window_end.min(window_begin + self.share.end);
        let done = first
            .min(end)
            .saturating_sub(window_begin + self.share.start);
        let in_all = end.saturating_sub(window_begin + self.share.start);
        if first >= end && begin < window_end {
            // Nothing of this window falls to this slice.
            self.position.set(window_end);
        }
        Box::new(Batches::new(
            self.source.clone(),
            first..end,
            done.saturating_mul(batch_size),
            in_all.saturating_mul(batch_size),
            move |next| {
                let next = if next == end { window_end } else { next };
                self.position.set(next);
            },
        ))
    }

    /// Pairs of a full window.
    fn num_items(&self) -> usize {
        self.share
            .len()
            .saturating_mul(self.source.config.batch_size)
    }

    /// Makes the same loader for another device; both share the position.
    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<ImageTextBatch>> {
        let mut loader = self.clone();
        loader.source.device = device.clone();
        Arc::new(loader)
    }

    /// Makes a loader of those batches of each window whose first pair is one of the pairs
    /// `start` to `end` (exclusive) of it; its position is its own.
    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<ImageTextBatch>> {
        let batch_size = self.source.config.batch_size;
        let bound = |pair: usize| {
            let step = self.share.start + pair.div_ceil(batch_size);
            step.min(self.share.end)
        };
        let position = LoaderPosition::default();
        position.set(self.position.get());
        Arc::new(Self {
            share: bound(start)..bound(end),
            position,
            ..self.clone()
        })
    }
}
