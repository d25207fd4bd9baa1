//! An iterator over the batches of a loader.

use std::ops::Range;
use std::sync::Arc;

use burn::data::dataloader::{DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::Device;

use super::LoaderConfig;
use super::batch::{ImageTextBatch, Padding, collate};
use super::dataset::{ImageTextDataset, Sample};
use super::order::Order;
use super::workers::Workers;
use crate::files::shown;
use crate::loader::error::LoaderError;

/// The data and the order that a loader makes batches from.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub dataset: Arc<ImageTextDataset>,
    pub config: LoaderConfig,
    pub order: Order,
    pub device: Device,
    /// Batches with fewer pairs, after skipped images, are skipped.
    pub min_pairs: usize,
}

/// Iterates over a range of batches. Workers prefetch the samples; `next` uploads them.
pub(super) struct Batches<F: FnMut(usize)> {
    source: Source,
    padding: Padding,
    /// The workers. After an error, the error until it has been returned, then `None`.
    workers: Result<Workers<Sample>, Option<LoaderError>>,
    /// Numbers of the batches that are not yet started.
    pending: Range<usize>,
    progress: Progress,
    /// Called after each batch with the number of the next one.
    advance: F,
}

impl<F: FnMut(usize)> Batches<F> {
    /// `items_processed` and `items_total` count pairs, for the progress.
    pub fn new(
        source: Source,
        numbers: Range<usize>,
        items_processed: usize,
        items_total: usize,
        advance: F,
    ) -> Self {
        let dataset = Arc::clone(&source.dataset);
        let texts = dataset.config().texts.as_ref();
        let padding = Padding {
            id: texts.map_or(0, |texts| texts.tokenizer.pad_id()),
            multiple: source.config.pad_multiple,
            max_tokens: texts.map_or(0, |texts| texts.max_tokens),
        };
        let described = Arc::clone(&dataset);
        let describe = move |index: usize| {
            let study = &described.studies()[index];
            format!("row {}: {}", study.row, shown(&study.image))
        };
        let make = move |epoch, index| dataset.sample_or_skip(epoch, index);
        Self {
            workers: Workers::start(&source.config, make, describe).map_err(Some),
            source,
            padding,
            pending: numbers,
            progress: Progress::new(items_processed, items_total, Some("items".into())),
            advance,
        }
    }

    /// Returns the next batch; `None` at the end.
    fn try_next(&mut self) -> Result<Option<ImageTextBatch>, LoaderError> {
        loop {
            let Ok(workers) = &mut self.workers else {
                return Ok(None);
            };
            let (pending, order) = (&mut self.pending, &mut self.source.order);
            let plans = || Some(order.plan(pending.next()?));
            let Some((number, samples)) = workers.next(plans)? else {
                return Ok(None);
            };
            let in_epoch = number % self.source.order.batches_per_epoch();
            self.progress.items_processed += self.source.order.positions(in_epoch).len();
            (self.advance)(number + 1);
            if samples.len() >= self.source.min_pairs {
                return Ok(Some(collate(samples, &self.padding, &self.source.device)));
            }
        }
    }
}

impl<F: FnMut(usize)> Iterator for Batches<F> {
    type Item = Result<ImageTextBatch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = match &mut self.workers {
            Ok(_) => self.try_next(),
            Err(error) => error.take().map_or(Ok(None), Err),
        };
        if next.is_err() {
            // The iterator ends after an error; dropping the workers ends their threads.
            self.workers = Err(None);
        }
        next.transpose()
            .map(|batch| batch.map_err(DatasetError::new))
    }
}

impl<F: FnMut(usize)> DataLoaderIterator<ImageTextBatch> for Batches<F> {
    fn progress(&self) -> Progress {
        self.progress.clone()
    }
}
