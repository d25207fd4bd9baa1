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
    /// Positions in each batch that are read; those beyond its end do not exist.
    pub share: Range<usize>,
}

/// The pairs of a batch that one of several peers reads.
#[derive(Clone, Debug)]
pub struct BatchShare {
    /// The pairs; `None` if none of them can be read.
    pub batch: Option<ImageTextBatch>,
    /// Position of each pair in the whole batch, among all pairs that it should have.
    pub positions: Vec<usize>,
}

impl BatchShare {
    /// Makes the share of a peer without others.
    pub fn whole(batch: ImageTextBatch) -> Self {
        Self {
            positions: (0..batch.len()).collect(),
            batch: Some(batch),
        }
    }
}

/// Iterates over a range of batches. Workers prefetch the samples; `next` uploads them.
pub(super) struct Batches {
    source: Source,
    padding: Padding,
    /// The workers. After an error, the error until it has been returned, then `None`.
    workers: Result<Workers<Sample>, Option<LoaderError>>,
    /// Numbers of the batches that are not yet started.
    pending: Range<usize>,
    progress: Progress,
    /// Called after each batch with the number of the next one.
    advance: Box<dyn FnMut(usize) + Send>,
}

impl Batches {
    /// `items_processed` and `items_total` count pairs, for the progress.
    pub fn new(
        source: Source,
        numbers: Range<usize>,
        items_processed: usize,
        items_total: usize,
        advance: impl FnMut(usize) + Send + 'static,
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
            advance: Box::new(advance),
        }
    }

    /// Returns the share of the next batch; `None` at the end.
    pub fn next_share(&mut self) -> Result<Option<BatchShare>, LoaderError> {
        let next = match &mut self.workers {
            Ok(_) => self.make_share(),
            Err(error) => error.take().map_or(Ok(None), Err),
        };
        if next.is_err() {
            // The iterator ends after an error; dropping the workers ends their threads.
            self.workers = Err(None);
        }
        next
    }

    fn make_share(&mut self) -> Result<Option<BatchShare>, LoaderError> {
        let Ok(workers) = &mut self.workers else {
            return Ok(None);
        };
        let (pending, order) = (&mut self.pending, &mut self.source.order);
        let share = self.source.share.clone();
        let plans = || {
            let mut plan = order.plan(pending.next()?);
            plan.indices.truncate(share.end);
            plan.indices.drain(..share.start.min(plan.indices.len()));
            Some(plan)
        };
        let Some((plan, samples)) = workers.next(plans)? else {
            return Ok(None);
        };
        let in_epoch = plan.number % self.source.order.batches_per_epoch();
        self.progress.items_processed += self.source.order.positions(in_epoch).len();
        (self.advance)(plan.number + 1);
        // The samples are those of the plan, in its order, without some.
        let mut planned = (self.source.share.start..).zip(&plan.indices);
        let mut position = |sample: &Sample| {
            let found = planned.find(|(_, index)| **index == sample.index);
            found.expect("a sample of the plan").0
        };
        let positions = samples.iter().map(&mut position).collect();
        let batch =
            (!samples.is_empty()).then(|| collate(samples, &self.padding, &self.source.device));
        Ok(Some(BatchShare { batch, positions }))
    }

    /// Returns the next batch that has enough pairs; `None` at the end.
    fn next_batch(&mut self) -> Result<Option<ImageTextBatch>, LoaderError> {
        while let Some(BatchShare { batch, .. }) = self.next_share()? {
            if let Some(batch) = batch.filter(|batch| batch.len() >= self.source.min_pairs) {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

impl Iterator for Batches {
    type Item = Result<ImageTextBatch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.next_batch().transpose()?;
        Some(batch.map_err(DatasetError::new))
    }
}

impl DataLoaderIterator<ImageTextBatch> for Batches {
    fn progress(&self) -> Progress {
        self.progress.clone()
    }
}
