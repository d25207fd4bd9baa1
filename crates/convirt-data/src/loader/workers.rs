//! Threads that make samples.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::order::Draw;
use crate::DataError;
use crate::dataset::{ImageTextDataset, Sample};

/// A sample, or none for an image that is left out.
type Made = Result<Option<Sample>, DataError>;

/// Threads of one pass over the batches; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Workers {
    dataset: Arc<ImageTextDataset>,
    /// `None` works in the calling thread.
    pool: Option<ThreadPool>,
    cancelled: Arc<AtomicBool>,
}

/// A batch under way.
#[derive(Debug)]
pub(super) struct Pending {
    draw: Draw,
    /// Samples by their place in the batch, as they are finished; `None` when nobody has begun.
    made: Option<Receiver<(usize, Made)>>,
}

impl Workers {
    /// # Errors
    ///
    /// [`DataError::Workers`] when the system refuses the threads.
    pub fn start(dataset: Arc<ImageTextDataset>, num_workers: usize) -> Result<Self, DataError> {
        let pool = (num_workers > 0)
            .then(|| {
                ThreadPoolBuilder::new()
                    .num_threads(num_workers)
                    .thread_name(|worker| format!("loader-{worker}"))
                    // Rayon would end the process; `finish` sees that a sample is missing.
                    .panic_handler(|_| {})
                    .build()
            })
            .transpose()
            .map_err(|source| DataError::Workers {
                num_workers,
                source,
            })?;
        Ok(Self {
            dataset,
            pool,
            cancelled: Arc::default(),
        })
    }

    /// Begins a batch, each sample as a task of its own.
    pub fn begin(&self, draw: Draw) -> Pending {
        let made = self.pool.as_ref().map(|pool| {
            let (sender, receiver) = channel();
            for (place, &index) in draw.indices.iter().enumerate() {
                let dataset = Arc::clone(&self.dataset);
                let cancelled = Arc::clone(&self.cancelled);
                let sender = sender.clone();
                let epoch = draw.epoch;
                pool.spawn(move || {
                    if !cancelled.load(Ordering::Relaxed) {
                        let made = dataset.sample_or_skip(epoch, index);
                        // Nobody receives once the iterator is gone.
                        let _ = sender.send((place, made));
                    }
                });
            }
            receiver
        });
        Pending { draw, made }
    }

    /// Waits for a batch and returns its samples in order, without those left out.
    ///
    /// # Errors
    ///
    /// The first, in the order of the batch, that a sample met; [`DataError::WorkerPanicked`].
    pub fn finish(&self, pending: Pending) -> Result<Vec<Sample>, DataError> {
        let Draw {
            number,
            epoch,
            indices,
        } = pending.draw;
        let Some(receiver) = pending.made else {
            let samples = indices.iter();
            let samples = samples.map(|&index| self.dataset.sample_or_skip(epoch, index));
            return samples.filter_map(Result::transpose).collect();
        };
        let mut made: Vec<_> = indices.iter().map(|_| None).collect();
        // Ends when the last task has dropped its sender, be it in a panic.
        for (place, sample) in receiver {
            made[place] = Some(sample);
        }
        made.into_iter()
            .map(|sample| sample.unwrap_or(Err(DataError::WorkerPanicked { batch: number })))
            .filter_map(Result::transpose)
            .collect()
    }
}

impl Pending {
    /// Number of the batch.
    pub fn number(&self) -> usize {
        self.draw.number
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // Tasks that wait return at once; then the pool, dropped, lets its threads end.
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{dataset, evaluation_view, studies};

    fn draw(indices: &[usize]) -> Draw {
        Draw {
            number: 3,
            epoch: 1,
            indices: indices.into(),
        }
    }

    #[test]
    fn samples_come_in_order_for_any_number_of_workers() {
        let folder = tempfile::tempdir().unwrap();
        let data = Arc::new(dataset(studies(folder.path(), 9), evaluation_view(), 0.0));
        let indices = [8, 1, 7, 0, 2, 6, 3, 5, 4];
        let expected: Vec<_> = indices
            .iter()
            .map(|&i| data.sample(1, i).unwrap())
            .collect();
        for num_workers in [0, 1, 3] {
            let workers = Workers::start(Arc::clone(&data), num_workers).unwrap();
            let pending = workers.begin(draw(&indices));
            assert_eq!(workers.finish(pending).unwrap(), expected, "{num_workers}");
        }
    }

    #[test]
    fn a_panic_in_a_worker_is_an_error_and_no_deadlock() {
        let folder = tempfile::tempdir().unwrap();
        let data = Arc::new(dataset(studies(folder.path(), 2), evaluation_view(), 0.0));
        let workers = Workers::start(data, 2).unwrap();
        // The data set has no study 7.
        let pending = workers.begin(draw(&[0, 7, 1]));
        let error = workers.finish(pending).unwrap_err();
        assert!(matches!(error, DataError::WorkerPanicked { batch: 3 }));
    }
}
