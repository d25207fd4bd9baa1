//! Images alone: for embeddings, retrieval and classifiers.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use super::LoaderConfig;
use super::order::Draw;
use super::workers::Workers;
use crate::files::printable;
use crate::image::{CHANNELS, ImageError, ImageStore, Radiograph};
use crate::loader::error::LoaderError;
use crate::setting::check;

/// Examples shown in an error.
const EXAMPLES: usize = 5;

/// Network inputs with the places of their images.
#[derive(Clone, Debug)]
pub struct ImageBatch {
    /// Views, normalized: `[batch, 3, size, size]`.
    pub images: Tensor<4>,
    /// Places in the list of paths, ascending; those of unreadable images are absent.
    pub indices: Vec<usize>,
}

/// An image that was left out.
#[derive(Debug)]
pub struct Unreadable {
    /// Place in the list of paths.
    pub index: usize,
    /// Why; names the path.
    pub error: ImageError,
}

/// A view of an image, or why there is none.
type View = Result<Vec<f32>, ImageError>;

/// Iterates once over images, in the order of their paths: read, seen through a view and made
/// ahead by workers, put on the device when asked for.
///
/// Images that cannot be read are left out and listed; more than the share allowed are an error,
/// after which nothing comes.
pub struct ImageBatches {
    workers: Option<Workers<(usize, View)>>,
    images: usize,
    batch_size: usize,
    to_begin: usize,
    done: usize,
    max_bad_share: f64,
    unreadable: Vec<Unreadable>,
    device: Device,
}

impl ImageBatches {
    /// Makes batches of the images at `paths`.
    ///
    /// `view` makes a normalized network input of an image, as
    /// [`EvalTransform::apply`](crate::augment::EvalTransform::apply) does: `[3, size, size]`,
    /// flat, of one size for all. `max_bad_share` is the share of unreadable images that is borne,
    /// from 0 to 1. Of `config` only the padding of texts goes unused.
    ///
    /// # Errors
    ///
    /// [`LoaderError::NothingToLoad`] without paths, `SettingError::OutOfRange` for a batch of none
    /// or a share outside 0 to 1, [`LoaderError::Workers`] when the system refuses threads.
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
        let workers = Workers::start(config, move |_, index: usize| {
            let image = store.load(&paths[index]);
            Ok(Some((index, image.map(|image| view(&image)))))
        })?;
        Ok(Self {
            workers: Some(workers),
            images,
            batch_size: config.batch_size,
            to_begin: 0,
            done: 0,
            max_bad_share,
            unreadable: Vec::new(),
            device: device.clone(),
        })
    }

    /// Returns the number of images in all.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Returns how many images have been handed out or left out.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Returns the images left out up to now, in the order of the paths.
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// Ends the threads and returns the images left out up to now, in the order of the paths.
    pub fn into_unreadable(self) -> Vec<Unreadable> {
        self.unreadable
    }

    /// Returns the next batch with a readable image; `None` at the end.
    fn try_next(&mut self) -> Result<Option<ImageBatch>, LoaderError> {
        loop {
            let Some(workers) = &mut self.workers else {
                return Ok(None);
            };
            let (images, batch_size, to_begin) = (self.images, self.batch_size, &mut self.to_begin);
            let draws = || {
                let indices: Vec<_> = (*to_begin..images).take(batch_size).collect();
                let number = *to_begin / batch_size;
                *to_begin += indices.len();
                (!indices.is_empty()).then_some(Draw {
                    number,
                    epoch: 0,
                    indices,
                })
            };
            let Some((_, made)) = workers.next(draws)? else {
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
                let images = on_device(&pixels, &self.device);
                return Ok(Some(ImageBatch { images, indices }));
            }
        }
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

/// One upload for all views.
///
/// # Panics
///
/// When they are not square, or differ in size.
fn on_device(views: &[Vec<f32>], device: &Device) -> Tensor<4> {
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
            // Nothing comes after an error; the threads end here.
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
    fn unreadable_images_are_left_out_and_listed_with_path_and_reason() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path(), 6);
        // The second batch has nothing left.
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
    fn more_unreadable_images_than_borne_end_it_with_their_names() {
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
    fn nothing_to_do_and_impossible_batches_are_refused() {
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
