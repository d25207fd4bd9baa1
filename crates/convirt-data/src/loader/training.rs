//! The training loader: shuffled batches, resumable at every step.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::tensor::Device;

use super::LoaderConfig;
use super::batch::ImageTextBatch;
use super::batches::{BatchShare, Batches, Source};
use super::dataset::ImageTextDataset;
use super::order::Order;
use crate::loader::error::LoaderError;
use crate::setting::check_at_least;

/// Length of a training and of its evaluation windows, in steps (batches).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainingSteps {
    /// Steps between two evaluations.
    pub window: usize,
    /// Steps in all.
    pub total: usize,
}

/// The next step of a [`TrainingLoader`], counted from 0 over the whole training.
///
/// All clones share one position. Saved with a checkpoint and restored, it resumes a training at
/// the next batch.
#[derive(Clone, Debug, Default)]
pub struct LoaderPosition(Arc<AtomicUsize>);

impl LoaderPosition {
    /// Returns the next step.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Sets the next step; iterators that have been started are not affected.
    pub fn set(&self, step: usize) {
        self.0.store(step, Ordering::SeqCst);
    }
}

/// A loader of full batches in a random order, epoch after epoch.
///
/// Step `s` belongs to epoch `s / steps_per_epoch`. Each epoch has its own seeded permutation of
/// all studies and drops the remainder that does not fill a batch. [`iter`](DataLoader::iter)
/// continues at the position and ends with the evaluation window. The batch of a step does not
/// depend on the number of workers or on interruptions.
///
/// Studies with unreadable images are skipped, and so are batches with fewer than two pairs.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use burn::data::dataloader::DataLoader;
/// use burn::tensor::Device;
/// use convirt_data::{
///     AugmentationConfig, ImageStore, ImageStoreConfig, ImageTextDataset, ImageView,
///     LoaderConfig, Manifest, ManifestConfig, SampleConfig, TrainingLoader,
///     TrainingSteps,
/// };
///
/// # let folder = tempfile::tempdir()?;
/// # let csv = folder.path().join("pairs.csv");
/// # let mut table = "image,text\n".to_string();
/// # for row in 0..5 {
/// #     image::GrayImage::new(8, 8).save(folder.path().join(format!("{row}.png")))?;
/// #     table += &format!("{row}.png,Finding {row} is present.\n");
/// # }
/// # std::fs::write(&csv, table)?;
/// let manifest = Manifest::read(&ManifestConfig::new(csv))?;
/// let config = SampleConfig {
///     image: ImageView::Augmented(AugmentationConfig::default().init(8)?),
///     views: 1,
///     texts: None,
///     seed: 0,
/// };
/// let store = ImageStore::new(ImageStoreConfig::default())?;
/// let skips = Arc::new(manifest.skips);
/// let dataset = ImageTextDataset::new(manifest.studies, store, config, skips);
///
/// let config = LoaderConfig { batch_size: 2, ..LoaderConfig::default() };
/// let steps = TrainingSteps { window: 3, total: 9 };
/// let loader = TrainingLoader::new(Arc::new(dataset), &config, steps, &Device::default())?;
/// assert_eq!(loader.steps_per_epoch(), 2);
/// let window = loader.iter().map(|batch| batch.unwrap().len());
/// assert_eq!(window.collect::<Vec<_>>(), [2, 2, 2]);
/// assert_eq!(loader.position().get(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct TrainingLoader {
    source: Source,
    steps: TrainingSteps,
    position: LoaderPosition,
    /// Range of steps within each window; all of them except in a slice.
    range: Range<usize>,
}

impl TrainingLoader {
    /// A batch with fewer pairs has no negatives to learn from.
    pub const MIN_PAIRS: usize = 2;

    /// Makes a loader at step 0.
    ///
    /// # Errors
    ///
    /// [`LoaderError::NothingToLoad`] without studies, [`LoaderError::BatchTooLarge`] when the
    /// batch is larger than the data set, `SettingError::OutOfRange` for a batch of fewer than two
    /// pairs or a window of 0 steps.
    pub fn new(
        dataset: Arc<ImageTextDataset>,
        config: &LoaderConfig,
        steps: TrainingSteps,
        device: &Device,
    ) -> Result<Self, LoaderError> {
        let (batch_size, studies) = (config.batch_size, dataset.len());
        config.check(Self::MIN_PAIRS)?;
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
                min_pairs: Self::MIN_PAIRS,
                share: 0..usize::MAX,
            },
            range: 0..steps.window.min(steps.total),
            steps,
            position: LoaderPosition::default(),
        })
    }

    /// Returns the position, shared with this loader and its copies on other devices.
    pub fn position(&self) -> LoaderPosition {
        self.position.clone()
    }

    /// Returns the number of batches in an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.source.order.batches_per_epoch()
    }

    /// Returns the data set.
    pub fn dataset(&self) -> &ImageTextDataset {
        &self.source.dataset
    }

    /// Returns a loader of the pairs at `positions` in each batch, on `device`, with a position of
    /// its own.
    pub fn with_share(&self, positions: Range<usize>, device: &Device) -> Self {
        let mut loader = self.clone();
        loader.source.share = positions;
        loader.source.device = device.clone();
        loader.position = LoaderPosition::default();
        loader.position.set(self.position.get());
        loader
    }

    /// Iterates over the same batches as [`iter`](DataLoader::iter), those with fewer than two pairs
    /// among them, and tells where in the batch the pairs of this loader's share are.
    pub fn shares(&self) -> BatchShares {
        BatchShares(self.batches())
    }

    /// The batches from the position to the end of the window or of the training.
    fn batches(&self) -> Batches {
        let batch_size = self.source.config.batch_size;
        let TrainingSteps { window, total } = self.steps;
        let begin = self.position.get();
        let window_begin = begin - begin % window;
        let window_end = (window_begin + window).min(total);
        let first = begin.max(window_begin + self.range.start);
        let end = window_end.min(window_begin + self.range.end);
        let done = first
            .min(end)
            .saturating_sub(window_begin + self.range.start);
        let in_all = end.saturating_sub(window_begin + self.range.start);
        if first >= end && begin < window_end {
            // This slice has no step in this window.
            self.position.set(window_end);
        }
        let position = self.position();
        Batches::new(
            self.source.clone(),
            first..end,
            done.saturating_mul(batch_size),
            in_all.saturating_mul(batch_size),
            move |next| position.set(if next == end { window_end } else { next }),
        )
    }
}

/// An iterator over the shares of batches; see [`TrainingLoader::shares`].
pub struct BatchShares(Batches);

impl BatchShares {
    /// Returns the progress in the window, in pairs.
    pub fn progress(&self) -> Progress {
        self.0.progress()
    }
}

impl Iterator for BatchShares {
    type Item = Result<BatchShare, LoaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_share().transpose()
    }
}

impl DataLoader<ImageTextBatch> for TrainingLoader {
    /// Continues at the position and ends with the window or the training.
    ///
    /// A step counts as done when its batch has been returned.
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<ImageTextBatch> + 'a> {
        Box::new(self.batches())
    }

    /// Returns the pairs of a full window.
    fn num_items(&self) -> usize {
        self.range
            .len()
            .saturating_mul(self.source.config.batch_size)
    }

    /// Returns the same loader for another device; both share the position.
    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<ImageTextBatch>> {
        let mut loader = self.clone();
        loader.source.device = device.clone();
        Arc::new(loader)
    }

    /// Makes a loader of the batches whose first pair is in `start..end` of a window. It has a
    /// position of its own.
    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<ImageTextBatch>> {
        let batch_size = self.source.config.batch_size;
        let bound = |pair: usize| {
            let step = self.range.start + pair.div_ceil(batch_size);
            step.min(self.range.end)
        };
        let position = LoaderPosition::default();
        position.set(self.position.get());
        Arc::new(Self {
            range: bound(start)..bound(end),
            position,
            ..self.clone()
        })
    }
}
