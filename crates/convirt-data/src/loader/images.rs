//! Batches of images without texts, for embeddings, retrieval and classifiers.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use super::LoaderConfig;
use super::order::BatchPlan;
use super::workers::Workers;
use crate::files::{printable, shown};
use crate::image::{CHANNELS, ImageError, ImageStore, Radiograph};
use crate::loader::error::LoaderError;
use crate::setting::check;

/// Examples shown in an error.
const EXAMPLES: usize = 5;

/// A batch of network inputs.
#[derive(Clone, Debug)]
pub struct ImageBatch {
    /// Normalized images: `[batch, 3, size, size]`.
    pub images: Tensor<4>,
    /// Positions in the list of paths, ascending, without unreadable images.
    pub indices: Vec<usize>,
}

/// An image that could not be read.
#[derive(Debug)]
pub struct Unreadable {
    /// Position in the list of paths.
    pub index: usize,
    /// The error, which names the path.
    pub error: ImageError,
}

/// A network input, or the error in reading its image.
type View = Result<Vec<f32>, ImageError>;

/// An iterator over images in the order of their paths, in batches.
///
/// Workers read, transform and prefetch the images; `next` uploads them. Unreadable images are
/// skipped and listed. If there are too many of them, the iterator ends with an error.
///
/// # Examples
///
/// ```
/// use burn::tensor::Device;
/// use convirt_data::{
///     EvalResize, EvalTransform, ImageBatches, ImageStore, ImageStoreConfig, LoaderConfig,
/// };
///
/// # let folder = tempfile::tempdir()?;
/// let paths = ["a.png", "b.png", "missing.png"].map(|name| folder.path().join(name));
/// # for path in &paths[..2] {
/// #     image::GrayImage::new(8, 8).save(path)?;
/// # }
/// let store = ImageStore::new(ImageStoreConfig::for_input_size(8))?;
/// let transform = EvalTransform::new(8, EvalResize::CenterCrop)?;
/// let view = move |image: &_| transform.apply(image);
/// let config = LoaderConfig::default();
/// let mut batches = ImageBatches::new(paths, store, view, &config, 0.5, &Device::default())?;
///
/// let batch = batches.next().unwrap()?;
/// assert_eq!(batch.images.dims(), [2, 3, 8, 8]);
/// assert_eq!(batch.indices, [0, 1]);
/// assert_eq!(batches.unreadable()[0].index, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ImageBatches {
    workers: Option<Workers<(usize, View)>>,
    images: usize,
    batch_size: usize,
    /// Position of the next image that no worker has started.
    next: usize,
    /// Images from the beginning of a batch to that of the next.
    stride: usize,
    done: usize,
    max_bad_share: f64,
    unreadable: Vec<Unreadable>,
    device: Device,
}

impl ImageBatches {
    /// Makes batches of the images at `paths`.
    ///
    /// `view` turns an image into a normalized network input, as
    /// [`EvalTransform::apply`](crate::augment::EvalTransform::apply) does: `[3, size, size]`,
    /// flat, of the same size for all images. `max_bad_share` is the largest tolerated fraction of
    /// unreadable images, from 0 to 1. `config.pad_multiple` is ignored.
    ///
    /// # Errors
    ///
    /// [`LoaderError::NothingToLoad`] without paths, `SettingError::OutOfRange` for a batch size
    /// of 0 or a `max_bad_share` outside 0 to 1, [`LoaderError::Workers`] when threads cannot be
    /// started.
    pub fn new(
        paths: impl Into<Arc<[PathBuf]>>,
        store: impl Into<Arc<ImageStore>>,
        view: impl Fn(&Radiograph) -> Vec<f32> + Send + Sync + 'static,
        config: &LoaderConfig,
        max_bad_share: f64,
        device: &Device,
    ) -> Result<Self, LoaderError> {
        let (paths, store) = (paths.into(), store.into());
        config.check(1)?;
        check("max_bad_share", max_bad_share, 0.0..=1.0, "from 0 to 1")?;
        if paths.is_empty() {
            return Err(LoaderError::NothingToLoad);
        }
        let images = paths.len();
        let described = Arc::clone(&paths);
        let describe = move |index: usize| shown(&described[index]).to_string();
        let make = move |_, index: usize| {
            let image = store.load(&paths[index]);
            Ok(Some((index, image.map(|image| view(&image)))))
        };
        let workers = Workers::start(config, make, describe)?;
        Ok(Self {
            workers: Some(workers),
            images,
            batch_size: config.batch_size,
            next: 0,
            stride: config.batch_size,
            done: 0,
            max_bad_share,
            unreadable: Vec::new(),
            device: device.clone(),
        })
    }

    /// Restricts the batches to share number `rank` of `size`: each `size`-th batch.
    ///
    /// # Panics
    ///
    /// When a batch has been taken already.
    pub fn with_share(self, rank: usize, size: usize) -> Self {
        assert_eq!(self.next, 0, "no batch has been started");
        Self {
            next: rank.saturating_mul(self.batch_size),
            stride: size.saturating_mul(self.batch_size),
            ..self
        }
    }

    /// Returns the number of all images.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Returns the number of images returned or skipped so far.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Returns the unreadable images so far, in the order of the paths.
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// Ends the threads and returns the unreadable images so far, in the order of the paths.
    pub fn into_unreadable(self) -> Vec<Unreadable> {
        self.unreadable
    }

    /// Returns the next batch that has a readable image; `None` at the end.
    fn try_next(&mut self) -> Result<Option<ImageBatch>, LoaderError> {
        loop {
            let Some(workers) = &mut self.workers else {
                return Ok(None);
            };
            let (images, batch_size, stride) = (self.images, self.batch_size, self.stride);
            let next = &mut self.next;
            let plans = || {
                let indices: Vec<_> = (*next..images).take(batch_size).collect();
                let number = *next / batch_size;
                *next = next.saturating_add(stride);
                (!indices.is_empty()).then_some(BatchPlan {
                    number,
                    epoch: 0,
                    indices,
                })
            };
            let Some((_, made)) = workers.next(plans)? else {
                return Ok(None);
            };
            self.done += made.len();
            let (mut indices, mut pixels) = (Vec::new(), Vec::new());
            for (index, view) in made {
                match view {
                    Ok(view) => {
                        indices.push(index);
                        pixels.push(view);
                    }
                    Err(error) => self.unreadable.push(Unreadable { index, error }),
                }
            }
            self.check_unreadable()?;
            if !indices.is_empty() {
                let images = upload(&pixels, &self.device);
                return Ok(Some(ImageBatch { images, indices }));
            }
        }
    }

    /// Counts images that other shares have left out.
    ///
    /// # Errors
    ///
    /// [`LoaderError::TooManyUnreadable`].
    pub fn add_unreadable(
        &mut self,
        others: impl IntoIterator<Item = Unreadable>,
    ) -> Result<(), LoaderError> {
        self.unreadable.extend(others);
        self.unreadable.sort_by_key(|image| image.index);
        self.check_unreadable()
    }

    fn check_unreadable(&self) -> Result<(), LoaderError> {
        let unreadable = self.unreadable.len();
        if unreadable as f64 <= self.max_bad_share * self.images as f64 {
            return Ok(());
        }
        let first = self.unreadable.iter().take(EXAMPLES);
        Err(LoaderError::TooManyUnreadable {
            unreadable,
            images: self.images,
            max_bad_share: self.max_bad_share,
            first: first.map(Unreadable::to_string).collect(),
        })
    }
}

/// Uploads views as one tensor.
///
/// # Panics
///
/// When they are not square, or differ in size.
fn upload(views: &[Vec<f32>], device: &Device) -> Tensor<4> {
    let size = (views[0].len() / CHANNELS).isqrt();
    for view in views {
        assert_eq!(view.len(), CHANNELS * size * size, "views are of one size");
    }
    let shape = [views.len(), CHANNELS, size, size];
    Tensor::from_data(TensorData::new(views.concat(), shape), device)
}

impl Iterator for ImageBatches {
    type Item = Result<ImageBatch, LoaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.try_next();
        if next.is_err() {
            // The iterator ends after an error; dropping the workers ends their threads.
            self.workers = None;
        }
        next.transpose()
    }
}

/// The error, which names the path.
impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        printable(&self.error).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::augment::{EvalResize, EvalTransform};
    use crate::image::ImageStoreConfig;
    use crate::setting::SettingError;
    use crate::tests::fixtures::studies;

    fn paths(folder: &Path, count: usize) -> Vec<PathBuf> {
        let studies = studies(folder, count);
        studies.into_iter().map(|study| study.image).collect()
    }

    fn batches(
        paths: &[PathBuf],
        batch_size: usize,
        num_workers: usize,
        max_bad_share: f64,
    ) -> Result<ImageBatches, LoaderError> {
        let config = LoaderConfig {
            batch_size,
            num_workers,
            ..LoaderConfig::default()
        };
        let view = EvalTransform::new(32, EvalResize::Stretch)?;
        ImageBatches::new(
            paths,
            ImageStore::new(ImageStoreConfig::for_input_size(32))?,
            move |image| view.apply(image),
            &config,
            max_bad_share,
            &Device::flex(),
        )
    }

    #[test]
    fn images_come_in_the_order_of_their_paths_for_any_number_of_workers() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path(), 7);
        let view = EvalTransform::new(32, EvalResize::Stretch).unwrap();
        let store = ImageStore::new(ImageStoreConfig::for_input_size(32)).unwrap();
        for num_workers in [0, 3] {
            let mut batches = batches(&paths, 3, num_workers, 0.0).unwrap();
            let mut seen = Vec::new();
            while let Some(batch) = batches.next() {
                let ImageBatch { images, indices } = batch.unwrap();
                assert_eq!(images.dims(), [indices.len(), 3, 32, 32]);
                let pixels: Vec<f32> = images.into_data().iter().collect();
                for (&index, pixels) in indices.iter().zip(pixels.chunks(3 * 32 * 32)) {
                    let expected = view.apply(&store.load(&paths[index]).unwrap());
                    assert_eq!(pixels, expected, "{index}");
                }
                seen.push(indices);
                assert_eq!(batches.done(), seen.concat().len());
            }
            assert_eq!(seen, [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
            assert_eq!(batches.images(), 7);
        }
    }

    #[test]
    fn shares_are_batches_in_turn_and_count_what_others_leave_out() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path(), 7);
        fs::write(&paths[5], b"no image").unwrap();
        for num_workers in [0, 2] {
            let share = |rank| {
                let batches = batches(&paths, 2, num_workers, 0.2).unwrap();
                batches.with_share(rank, 3)
            };
            let indices = |batches: &mut ImageBatches| -> Vec<_> {
                batches.map(|batch| batch.unwrap().indices).collect()
            };
            let mut shares = [0, 1, 2].map(share);
            let seen = shares.each_mut().map(indices);
            assert_eq!(
                seen,
                [vec![vec![0, 1], vec![6]], vec![vec![2, 3]], vec![vec![4]]]
            );
            assert_eq!(shares.each_ref().map(ImageBatches::done), [3, 2, 2]);
            let [mut first, _, last] = shares;
            first.add_unreadable(last.into_unreadable()).unwrap();
            assert_eq!(first.unreadable()[0].index, 5);
            let again = share(2).find_map(Result::err);
            assert!(again.is_none(), "one of seven is tolerated");
            let mut another = share(2);
            assert!(another.all(|batch| batch.is_ok()));
            let error = first.add_unreadable(another.into_unreadable()).unwrap_err();
            assert!(error.to_string().contains("2 of 7"), "{error}");
        }
    }

    #[test]
    fn unreadable_images_are_skipped_and_listed_with_path_and_reason() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path(), 6);
        // The second batch has no readable image.
        fs::write(&paths[2], b"no image").unwrap();
        fs::remove_file(&paths[3]).unwrap();
        for num_workers in [0, 2] {
            let mut batches = batches(&paths, 2, num_workers, 0.4).unwrap();
            let seen: Vec<_> = batches
                .by_ref()
                .map(|batch| batch.unwrap().indices)
                .collect();
            assert_eq!(seen, [[0, 1], [4, 5]]);
            let unreadable = batches.into_unreadable();
            let places: Vec<_> = unreadable.iter().map(|image| image.index).collect();
            assert_eq!(places, [2, 3]);
            let message = unreadable[1].to_string();
            assert!(message.contains("3.png: cannot be read: "), "{message}");
        }
    }

    #[test]
    fn too_many_unreadable_images_are_an_error_with_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path(), 10);
        for path in &paths[4..6] {
            fs::write(path, b"no image").unwrap();
        }
        for num_workers in [0, 2] {
            let mut batches = batches(&paths, 2, num_workers, 0.1).unwrap();
            let error = batches.find_map(Result::err).unwrap();
            let message = error.to_string();
            for part in ["2 of 10", "20.00 %", "10.00 %", "4.png", "5.png"] {
                assert!(message.contains(part), "no `{part}` in {message}");
            }
            assert!(batches.next().is_none());
        }
    }

    #[test]
    fn no_paths_and_invalid_batches_are_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path(), 1);
        assert!(matches!(
            batches(&[], 2, 0, 0.0).err(),
            Some(LoaderError::NothingToLoad)
        ));
        for (batch_size, share) in [(0, 0.0), (2, 1.5), (2, f64::NAN)] {
            assert!(matches!(
                batches(&paths, batch_size, 0, share).err(),
                Some(LoaderError::Setting(SettingError::OutOfRange { .. }))
            ));
        }
    }
}
