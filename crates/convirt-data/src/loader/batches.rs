//! One pass over the batches of a loader.

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
use crate::loader::error::LoaderError;
use crate::text::ReportTokenizer;

/// What both loaders make their batches of.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub dataset: Arc<ImageTextDataset>,
    pub config: LoaderConfig,
    pub order: Order,
    pub device: Device,
    /// A batch that left-out images made smaller than this is left out as a whole.
    pub min_pairs: usize,
}

/// Iterates over a range of batches; made ahead by workers, put on the device when asked for.
pub(super) struct Batches<F: FnMut(usize)> {
    source: Source,
    padding: Padding,
    /// Without workers after an error; the error itself until it has been told.
    workers: Result<Workers<Sample>, Option<LoaderError>>,
    to_begin: Range<usize>,
    progress: Progress,
    /// Told the number of the batch that comes next, when one is done with.
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
        let padding = Padding {
            id: dataset.tokenizer().map_or(0, ReportTokenizer::pad_id),
            multiple: source.config.pad_multiple,
            max_tokens: dataset.config().max_tokens,
        };
        let make = move |epoch, index| dataset.sample_or_skip(epoch, index);
        Self {
            workers: Workers::start(&source.config, make).map_err(Some),
            source,
            padding,
            to_begin: numbers,
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
            let (to_begin, order) = (&mut self.to_begin, &mut self.source.order);
            let draws = || Some(order.draw(to_begin.next()?));
            let Some((number, samples)) = workers.next(draws)? else {
                return Ok(None);
            };
            let places = number % self.source.order.batches_per_epoch();
            self.progress.items_processed += self.source.order.places(places).len();
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
            // Nothing comes after an error; the threads end here.
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
