//! Worker threads that prepare samples.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::LoaderConfig;
use super::order::BatchPlan;
use crate::loader::error::LoaderError;

/// A sample; `None` for a skipped image.
type SampleResult<T> = Result<Option<T>, LoaderError>;

/// Makes the sample of an epoch and an index.
type MakeSample<T> = dyn Fn(u64, usize) -> SampleResult<T> + Send + Sync;

/// Names the files of a sample, given its index.
type DescribeSample = dyn Fn(usize) -> String + Send + Sync;

/// Missing samples named in an error.
const EXAMPLES: usize = 5;

/// Worker threads of one iterator; dropping this ends them, without waiting for one that hangs.
pub(super) struct Workers<T> {
    make: Arc<MakeSample<T>>,
    describe: Box<DescribeSample>,
    /// `None`: samples are made in the calling thread.
    pool: Option<ThreadPool>,
    cancelled: Arc<AtomicBool>,
    /// Batches prepared ahead of the current one.
    prefetch: usize,
    /// Longest wait for a sample of the threads; `None` waits forever.
    timeout: Option<Duration>,
    queue: VecDeque<Pending<T>>,
}

/// A batch that has been started.
struct Pending<T> {
    plan: BatchPlan,
    /// Finished samples with their positions in the batch; `None` without worker threads.
    samples: Option<Receiver<(usize, SampleResult<T>)>>,
}

impl<T: Send + 'static> Workers<T> {
    /// Starts `config.num_workers` threads, which call `make` with an epoch and an index;
    /// `describe` names the files of an index in errors.
    ///
    /// # Errors
    ///
    /// [`LoaderError::Workers`] when the threads cannot be started.
    pub fn start(
        config: &LoaderConfig,
        make: impl Fn(u64, usize) -> SampleResult<T> + Send + Sync + 'static,
        describe: impl Fn(usize) -> String + Send + Sync + 'static,
    ) -> Result<Self, LoaderError> {
        let num_workers = config.num_workers;
        let pool = (num_workers > 0)
            .then(|| {
                ThreadPoolBuilder::new()
                    .num_threads(num_workers)
                    .thread_name(|worker| format!("loader-{worker}"))
                    // By default rayon aborts the process. Here `finish` detects the missing
                    // sample.
                    .panic_handler(|_| {})
                    .build()
            })
            .transpose()
            .map_err(|cause| LoaderError::Workers { num_workers, cause })?;
        Ok(Self {
            make: Arc::new(make),
            describe: Box::new(describe),
            pool,
            cancelled: Arc::default(),
            prefetch: config.prefetch.max(1),
            timeout: Some(config.timeout).filter(|timeout| !timeout.is_zero()),
            queue: VecDeque::new(),
        })
    }

    /// Starts batches from `plans`, as many ahead as configured, and waits for the first of them.
    ///
    /// Returns it with its samples in order, without skipped ones; `None` at the end.
    ///
    /// # Errors
    ///
    /// The first error of a sample, in the order of the batch; [`LoaderError::Stalled`];
    /// [`LoaderError::WorkerPanicked`].
    pub fn next(
        &mut self,
        mut plans: impl FnMut() -> Option<BatchPlan>,
    ) -> Result<Option<(BatchPlan, Vec<T>)>, LoaderError> {
        // The prefetched batches and the one that is waited for.
        while self.queue.len() <= self.prefetch {
            let Some(plan) = plans() else {
                break;
            };
            let pending = self.start_batch(plan);
            self.queue.push_back(pending);
        }
        let Some(Pending { plan, samples }) = self.queue.pop_front() else {
            return Ok(None);
        };
        let samples = self.finish(&plan, samples)?;
        Ok(Some((plan, samples)))
    }

    /// Starts a batch, with a task for each sample.
    fn start_batch(&self, plan: BatchPlan) -> Pending<T> {
        let samples = self.pool.as_ref().map(|pool| {
            let (sender, receiver) = channel();
            for (position, &index) in plan.indices.iter().enumerate() {
                let make = Arc::clone(&self.make);
                let cancelled = Arc::clone(&self.cancelled);
                let sender = sender.clone();
                let epoch = plan.epoch;
                pool.spawn(move || {
                    if !cancelled.load(Ordering::Relaxed) {
                        let sample = make(epoch, index);
                        // Sending fails when the iterator has been dropped.
                        let _ = sender.send((position, sample));
                    }
                });
            }
            receiver
        });
        Pending { plan, samples }
    }

    /// Waits for the samples of a batch.
    fn finish(
        &self,
        plan: &BatchPlan,
        samples: Option<Receiver<(usize, SampleResult<T>)>>,
    ) -> Result<Vec<T>, LoaderError> {
        let BatchPlan {
            number,
            epoch,
            ref indices,
        } = *plan;
        let Some(receiver) = samples else {
            let samples = indices.iter();
            let samples = samples.map(|&index| (self.make)(epoch, index));
            return samples.filter_map(Result::transpose).collect();
        };
        let mut samples: Vec<_> = indices.iter().map(|_| None).collect();
        loop {
            let received = match self.timeout {
                Some(timeout) => receiver.recv_timeout(timeout),
                None => receiver.recv().map_err(RecvTimeoutError::from),
            };
            match received {
                Ok((position, sample)) => samples[position] = Some(sample),
                // The last task has dropped its sender, perhaps by a panic.
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let missing = indices.iter().zip(&samples);
                    let missing = missing.filter(|(_, sample)| sample.is_none());
                    let names = missing.clone().map(|(index, _)| (self.describe)(*index));
                    return Err(LoaderError::Stalled {
                        batch: number,
                        waited: self.timeout.unwrap_or_default(),
                        missing: missing.count(),
                        first: names.take(EXAMPLES).collect(),
                    });
                }
            }
        }
        samples
            .into_iter()
            .map(|sample| sample.unwrap_or(Err(LoaderError::WorkerPanicked { batch: number })))
            .filter_map(Result::transpose)
            .collect()
    }
}

impl<T> Drop for Workers<T> {
    fn drop(&mut self) {
        // Queued tasks return at once; the threads end when the pool is dropped.
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::Sender;
    use std::thread;
    use std::time::Instant;

    use super::*;

    fn plan(number: usize, indices: &[usize]) -> BatchPlan {
        BatchPlan {
            number,
            epoch: 1,
            indices: indices.into(),
        }
    }

    fn workers(
        num_workers: usize,
        make: impl Fn(u64, usize) -> SampleResult<String> + Send + Sync + 'static,
    ) -> Workers<String> {
        let config = LoaderConfig {
            num_workers,
            prefetch: 2,
            ..LoaderConfig::default()
        };
        start(&config, make)
    }

    fn start(
        config: &LoaderConfig,
        make: impl Fn(u64, usize) -> SampleResult<String> + Send + Sync + 'static,
    ) -> Workers<String> {
        Workers::start(config, make, |index| format!("image {index}")).unwrap()
    }

    #[test]
    fn samples_come_in_order_for_any_number_of_workers() {
        let indices = [8, 1, 7, 0, 2, 6, 3, 5, 4];
        for num_workers in [0, 1, 3] {
            let mut workers = workers(num_workers, |epoch, index| {
                // Later samples finish first.
                thread::sleep(Duration::from_millis(9 - index as u64));
                Ok((index != 7).then(|| format!("{epoch}.{index}")))
            });
            let mut plans = (0..5).map(|number| plan(number, &indices));
            for number in 0..5 {
                let (finished, samples) = workers.next(|| plans.next()).unwrap().unwrap();
                assert_eq!(finished.number, number, "{num_workers}");
                let expected = indices.iter().filter(|index| **index != 7);
                let expected: Vec<_> = expected.map(|index| format!("1.{index}")).collect();
                assert_eq!(samples, expected, "{num_workers}");
                // Two are prefetched.
                assert_eq!(plans.len(), 2_usize.saturating_sub(number), "{num_workers}");
            }
            assert!(workers.next(|| plans.next()).unwrap().is_none());
        }
    }

    /// A worker that hangs until the test ends.
    fn hanging(num_workers: usize, timeout: Duration) -> (Sender<()>, Workers<String>) {
        let (end, hang) = channel::<()>();
        let hang = Mutex::new(hang);
        let config = LoaderConfig {
            num_workers,
            prefetch: 2,
            timeout,
            ..LoaderConfig::default()
        };
        let workers = start(&config, move |_, index| {
            if index == 7 {
                let _ = hang.lock().unwrap().recv();
            }
            Ok(Some(index.to_string()))
        });
        (end, workers)
    }

    #[test]
    fn a_sample_that_does_not_come_is_an_error_that_names_it_and_dropping_does_not_wait() {
        for num_workers in [1, 2] {
            let (end, mut workers) = hanging(num_workers, Duration::from_millis(300));
            let mut plans = [plan(0, &[1, 2]), plan(1, &[3, 7, 7])].into_iter();
            assert_eq!(
                workers.next(|| plans.next()).unwrap().unwrap().1,
                ["1", "2"]
            );
            let error = workers.next(|| plans.next()).unwrap_err();
            let LoaderError::Stalled {
                batch: 1,
                missing: 2,
                ..
            } = error
            else {
                panic!("{error}");
            };
            let message = error.to_string();
            assert!(message.contains("the first: image 7; image 7"), "{message}");
            let start = Instant::now();
            drop(workers);
            assert!(start.elapsed() < Duration::from_secs(5));
            drop(end);
        }
    }

    #[test]
    fn a_slow_sample_within_the_limit_and_any_without_a_limit_are_waited_for() {
        for timeout in [Duration::from_secs(60), Duration::ZERO] {
            let (end, mut workers) = hanging(2, timeout);
            let mut plans = [plan(0, &[1, 7])].into_iter();
            let ending = thread::spawn(move || {
                thread::sleep(Duration::from_millis(300));
                drop(end);
            });
            assert_eq!(
                workers.next(|| plans.next()).unwrap().unwrap().1,
                ["1", "7"]
            );
            ending.join().unwrap();
        }
    }

    #[test]
    fn a_panic_in_a_worker_is_an_error_and_not_a_deadlock() {
        let mut workers = workers(2, |_, index| Ok(Some([String::new()][index].clone())));
        let mut plans = [plan(3, &[0, 7, 0])].into_iter();
        let error = workers.next(|| plans.next()).unwrap_err();
        assert!(matches!(error, LoaderError::WorkerPanicked { batch: 3 }));
    }
}
