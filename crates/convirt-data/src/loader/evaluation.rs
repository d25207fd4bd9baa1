//! Evaluation: everything once.

use std::ops::Range;
use std::sync::Arc;

use burn::data::dataloader::{DataLoader, DataLoaderIterator};
use burn::tensor::Device;

use super::LoaderConfig;
use super::batch::ImageTextBatch;
use super::batches::{Batches, Source};
use super::dataset::ImageTextDataset;
use super::order::Order;
use crate::loader::error::LoaderError;

/// Every pair once, in the same batches each time.
///
/// The order is one seeded permutation, so that neighbours in the file, often of one patient, do
/// not meet more often than in training. Batches differ by one pair at most: ⌈pairs / batch size⌉
/// of them, at least one. All draws are those of epoch 0.
#[derive(Clone, Debug)]
pub struct EvaluationLoader {
    source: Source,
    /// Batches that this loader does; all but in a slice.
    share: Range<usize>,
}

impl EvaluationLoader {
    /// Makes a loader.
    ///
    /// # Errors
    ///
    /// [`LoaderError::NothingToLoad`] without studies, `SettingError::OutOfRange` for a batch of
    /// none.
    pub fn new(
        dataset: Arc<ImageTextDataset>,
        config: &LoaderConfig,
        device: &Device,
    ) -> Result<Self, LoaderError> {
        config.check(1)?;
        if dataset.is_empty() {
            return Err(LoaderError::NothingToLoad);
        }
        let seed = dataset.config().seed;
        let order = Order::evaluation(dataset.len(), seed, config.batch_size);
        Ok(Self {
            share: 0..order.batches_per_epoch(),
            source: Source {
                dataset,
                config: config.clone(),
                order,
                device: device.clone(),
                min_pairs: 1,
            },
        })
    }

    /// Returns the number of batches.
    pub fn batches(&self) -> usize {
        self.share.len()
    }

    /// Returns what the samples are made of.
    pub fn dataset(&self) -> &ImageTextDataset {
        &self.source.dataset
    }

    /// First pair of a batch in the order of all.
    fn first_pair(&self, batch: usize) -> usize {
        self.source.order.places(batch).start
    }
}

impl DataLoader<ImageTextBatch> for EvaluationLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<ImageTextBatch> + 'a> {
        Box::new(Batches::new(
            self.source.clone(),
            self.share.clone(),
            0,
            self.num_items(),
            |_| {},
        ))
    }

    fn num_items(&self) -> usize {
        self.first_pair(self.share.end) - self.first_pair(self.share.start)
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<ImageTextBatch>> {
        let mut loader = self.clone();
        loader.source.device = device.clone();
        Arc::new(loader)
    }

    /// Makes a loader of those batches whose first pair is one of the pairs `start` to `end`
    /// (exclusive).
    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<ImageTextBatch>> {
        let offset = self.first_pair(self.share.start);
        let bound = |pair: usize| {
            let before = |&batch: &usize| self.first_pair(batch) < offset + pair;
            self.share.start + self.share.clone().take_while(before).count()
        };
        let mut loader = self.clone();
        loader.share = bound(start)..bound(end);
        Arc::new(loader)
    }
}
