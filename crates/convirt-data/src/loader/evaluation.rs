//! The evaluation loader: every pair once.

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

/// A loader of every pair once, in the same batches each time.
///
/// The order is a seeded permutation, because neighbouring rows are often of one patient and would
/// otherwise share a batch more often than in training. There are ⌈pairs / batch size⌉ batches,
/// whose sizes differ by at most one. All random choices are those of epoch 0.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use burn::data::dataloader::DataLoader;
/// use burn::tensor::Device;
/// use convirt_data::{
///     EvalResize, EvalTransform, EvaluationLoader, ImageStore, ImageStoreConfig,
///     ImageTextDataset, ImageView, LoaderConfig, Manifest, ManifestConfig, SampleConfig,
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
///     image: ImageView::Evaluation(EvalTransform::new(8, EvalResize::CenterCrop)?),
///     views: 1,
///     texts: None,
///     seed: 0,
/// };
/// let store = ImageStore::new(ImageStoreConfig::default())?;
/// let skips = Arc::new(manifest.skips);
/// let dataset = ImageTextDataset::new(manifest.studies, store, config, skips);
///
/// let config = LoaderConfig { batch_size: 2, ..LoaderConfig::default() };
/// let loader = EvaluationLoader::new(Arc::new(dataset), &config, &Device::default())?;
/// let sizes = loader.iter().map(|batch| batch.unwrap().len());
/// assert_eq!(sizes.collect::<Vec<_>>(), [1, 2, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct EvaluationLoader {
    source: Source,
    /// Range of batches; all of them except in a slice.
    range: Range<usize>,
}

impl EvaluationLoader {
    /// Makes a loader.
    ///
    /// # Errors
    ///
    /// [`LoaderError::NothingToLoad`] without studies, `SettingError::OutOfRange` for a batch
    /// size of 0.
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
            range: 0..order.batches_per_epoch(),
            source: Source {
                dataset,
                config: config.clone(),
                order,
                device: device.clone(),
                min_pairs: 1,
                share: 0..usize::MAX,
            },
        })
    }

    /// Returns a loader of the batches of one of several `peers`, counted from 0, on `device`. The
    /// batches of the peers follow each other.
    pub fn with_share(&self, peer: usize, peers: usize, device: &Device) -> Self {
        let mut loader = self.clone();
        let bound = |peer: usize| self.range.start + peer * self.batches() / peers;
        loader.range = bound(peer)..bound(peer + 1);
        loader.source.device = device.clone();
        loader
    }

    /// Returns the number of batches.
    pub fn batches(&self) -> usize {
        self.range.len()
    }

    /// Returns the data set.
    pub fn dataset(&self) -> &ImageTextDataset {
        &self.source.dataset
    }

    /// Returns the position of the first pair of a batch in the order of all pairs.
    fn first_pair(&self, batch: usize) -> usize {
        self.source.order.positions(batch).start
    }
}

impl DataLoader<ImageTextBatch> for EvaluationLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<ImageTextBatch> + 'a> {
        Box::new(Batches::new(
            self.source.clone(),
            self.range.clone(),
            0,
            self.num_items(),
            |_| {},
        ))
    }

    fn num_items(&self) -> usize {
        self.first_pair(self.range.end) - self.first_pair(self.range.start)
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<ImageTextBatch>> {
        let mut loader = self.clone();
        loader.source.device = device.clone();
        Arc::new(loader)
    }

    /// Makes a loader of the batches whose first pair is in `start..end`.
    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<ImageTextBatch>> {
        let offset = self.first_pair(self.range.start);
        let bound = |pair: usize| {
            let before = |&batch: &usize| self.first_pair(batch) < offset + pair;
            self.range.start + self.range.clone().take_while(before).count()
        };
        let mut loader = self.clone();
        loader.range = bound(start)..bound(end);
        Arc::new(loader)
    }
}
