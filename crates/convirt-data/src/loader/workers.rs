//! Threads that make samples.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::LoaderConfig;
use super::order::Draw;
use crate::loader::error::LoaderError;

/// A sample, or none for an image that is left out.
type Made<T> = Result<Option<T>, LoaderError>;

/// Makes the sample of an epoch and an index.
type Make<T> = dyn Fn(u64, usize) -> Made<T> + Send + Sync;

/// Threads of one pass over the batches; they end when this is dropped.
pub(super) struct Workers<T> {
    make: Arc<Make<T>>,
    /// `None` works in the calling thread.
    pool: Option<ThreadPool>,
    cancelled: Arc<AtomicBool>,
    /// Batches made ahead of the one in use.
    prefetch: usize,
    under_way: VecDeque<Pending<T>>,
}

/// A batch under way.
struct Pending<T> {
    draw: Draw,
    /// Samples by their place in the batch, as they are finished; `None` when nobody has begun.
    made: Option<Receiver<(usize, Made<T>)>>,
}

impl<T: Send + 'static> Workers<T> {
    /// Starts as many threads as the configuration says; they call `make` with an epoch and a
    /// position.
    ///
    /// # Errors
    ///
    /// [`LoaderError::Workers`] when the system refuses the threads.
    pub fn start(
        config: &LoaderConfig,
        make: impl Fn(u64, usize) -> Made<T> + Send + Sync + 'static,
    ) -> Result<Self, LoaderError> {
        let num_workers = config.num_workers;
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
            .map_err(|cause| LoaderError::Workers { num_workers, cause })?;
        Ok(Self {
            make: Arc::new(make),
            pool,
            cancelled: Arc::default(),
            prefetch: config.prefetch.max(1),
            under_way: VecDeque::new(),
        })
    }

    /// Begins batches of `draws`, as far ahead as configured, and waits for the first of them:
    /// its number and its samples, in order and without those left out. `None` at the end.
    ///
    /// # Errors
    ///
    /// The first, in the order of the batch, that a sample met; [`LoaderError::WorkerPanicked`].
    pub fn next(
        &mut self,
        mut draws: impl FnMut() -> Option<Draw>,
    ) -> Result<Option<(usize, Vec<T>)>, LoaderError> {
        // One more than is kept ahead: the one that is now waited for.
        while self.under_way.len() <= self.prefetch {
            let Some(draw) = draws() else {
                break;
            };
            let pending = self.begin(draw);
            self.under_way.push_back(pending);
        }
        let Some(pending) = self.under_way.pop_front() else {
            return Ok(None);
        };
        let number = pending.draw.number;
        Ok(Some((number, self.finish(pending)?)))
    }

    /// Begins a batch, each sample as a task of its own.
    fn begin(&self, draw: Draw) -> Pending<T> {
        let made = self.pool.as_ref().map(|pool| {
            let (sender, receiver) = channel();
            for (place, &index) in draw.indices.iter().enumerate() {
                let make = Arc::clone(&self.make);
                let cancelled = Arc::clone(&self.cancelled);
                let sender = sender.clone();
                let epoch = draw.epoch;
                pool.spawn(move || {
                    if !cancelled.load(Ordering::Relaxed) {
                        let made = make(epoch, index);
                        // Nobody receives once the iterator is gone.
                        let _ = sender.send((place, made));
                    }
                });
            }
            receiver
        });
        Pending { draw, made }
    }

    /// Waits for a batch.
    fn finish(&self, pending: Pending<T>) -> Result<Vec<T>, LoaderError> {
        let Draw {
            number,
            epoch,
            indices,
        } = pending.draw;
        let Some(receiver) = pending.made else {
            let samples = indices.iter();
            let samples = samples.map(|&index| (self.make)(epoch, index));
            return samples.filter_map(Result::transpose).collect();
        };
        let mut made: Vec<_> = indices.iter().map(|_| None).collect();
        // Ends when the last task has dropped its sender, be it in a panic.
        for (place, sample) in receiver {
            made[place] = Some(sample);
        }
        made.into_iter()
            .map(|sample| sample.unwrap_or(Err(LoaderError::WorkerPanicked { batch: number })))
            .filter_map(Result::transpose)
            .collect()
    }
}

impl<T> Drop for Workers<T> {
    fn drop(&mut self) {
        // Tasks that wait return at once; then the pool, dropped, lets its threads end.
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn draw(number: usize, indices: &[usize]) -> Draw {
        Draw {
            number,
            epoch: 1,
            indices: indices.into(),
        }
    }

    fn workers(
        num_workers: usize,
        make: impl Fn(u64, usize) -> Made<String> + Send + Sync + 'static,
    ) -> Workers<String> {
        let config = LoaderConfig {
            num_workers,
            prefetch: 2,
            ..LoaderConfig::default()
        };
        Workers::start(&config, make).unwrap()
    }

    #[test]
    fn samples_come_in_order_for_any_number_of_workers() {
        let indices = [8, 1, 7, 0, 2, 6, 3, 5, 4];
        for num_workers in [0, 1, 3] {
            let mut workers = workers(num_workers, |epoch, index| {
                // The later ones are finished first.
                thread::sleep(Duration::from_millis(9 - index as u64));
                Ok((index != 7).then(|| format!("{epoch}.{index}")))
            });
            let mut draws = (0..5).map(|number| draw(number, &indices));
            for number in 0..5 {
                let (found, samples) = workers.next(|| draws.next()).unwrap().unwrap();
                assert_eq!(found, number, "{num_workers}");
                let expected = indices.iter().filter(|index| **index != 7);
                let expected: Vec<_> = expected.map(|index| format!("1.{index}")).collect();
                assert_eq!(samples, expected, "{num_workers}");
                // Two ahead.
                assert_eq!(draws.len(), 2_usize.saturating_sub(number), "{num_workers}");
            }
            assert!(workers.next(|| draws.next()).unwrap().is_none());
        }
    }

    #[test]
    fn a_panic_in_a_worker_is_an_error_and_no_deadlock() {
        let mut workers = workers(2, |_, index| Ok(Some([String::new()][index].clone())));
        let mut draws = [draw(3, &[0, 7, 0])].into_iter();
        let error = workers.next(|| draws.next()).unwrap_err();
        assert!(matches!(error, LoaderError::WorkerPanicked { batch: 3 }));
    }
}
