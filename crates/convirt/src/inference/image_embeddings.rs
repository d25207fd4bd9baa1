//! Embedding many images, batch by batch.

use std::path::PathBuf;
use std::sync::Arc;

use convirt_data::{ImageBatch, ImageBatches, LoaderConfig, Unreadable};

use super::assisted::{Assisted, Items, Part};
use super::embedded_batch::EmbeddedBatch;
use super::error::InferenceError;
use super::image_model::ImageModel;
use super::model::Model;
use crate::error::Error;
use crate::network::MemoryNeed;

impl ImageModel {
    /// Embeds image files batch by batch, in the order of their paths. `loader.num_workers` threads
    /// read and scale them in advance.
    ///
    /// Files that are not readable images are left out and listed. When their share of all files
    /// exceeds `max_bad_share`, from 0 to 1, the iteration ends with an error.
    ///
    /// # Errors
    ///
    /// [`LoaderError::NothingToLoad`](convirt_data::LoaderError::NothingToLoad) without paths,
    /// `SettingError::OutOfRange` for a batch size of 0 or a share outside 0 to 1,
    /// `ComputeError::TooLargeForMemory`.
    pub fn embed_images(
        &self,
        paths: impl Into<Arc<[PathBuf]>>,
        loader: &LoaderConfig,
        max_bad_share: f64,
    ) -> Result<ImageEmbeddings<'_>, Error> {
        let paths: Arc<[PathBuf]> = paths.into();
        let batch_size = loader.batch_size.min(paths.len());
        let has_one_batch = paths.len() <= loader.batch_size;
        MemoryNeed::for_images(batch_size, self.transform.size(), self.precision)
            .check(&self.device)?;
        let (store, transform) = (Arc::clone(&self.images), self.transform.clone());
        let view = move |image: &_| transform.apply(image);
        let device = &self.device;
        let batches = ImageBatches::new(
            Arc::clone(&paths),
            store,
            view,
            loader,
            max_bad_share,
            device,
        )?;
        let order = || Items::images(&paths);
        let assisted = self.assisted(has_one_batch, loader, order)?;
        Ok(ImageEmbeddings {
            tower: self,
            batches: match &assisted {
                Some(assisted) => batches.with_share(assisted.rank(), assisted.size()),
                None => batches,
            },
            assisted,
            has_failed: false,
            paths,
        })
    }
}

impl Model {
    /// Embeds images batch by batch; see [`ImageModel::embed_images`].
    ///
    /// # Errors
    ///
    /// Those of [`ImageModel::embed_images`].
    pub fn embed_images(
        &self,
        paths: impl Into<Arc<[PathBuf]>>,
        loader: &LoaderConfig,
        max_bad_share: f64,
    ) -> Result<ImageEmbeddings<'_>, Error> {
        self.image_tower()
            .embed_images(paths, loader, max_bad_share)
    }
}

/// An iterator over batches of embedded images; see [`ImageModel::embed_images`].
///
/// # Examples
///
/// ```no_run
/// # fn main() -> Result<(), convirt::Error> {
/// use std::path::PathBuf;
///
/// use convirt::ImageModel;
/// use convirt::data::LoaderConfig;
///
/// let model = ImageModel::load("runs/2026-01-16_02-27-36_phantom")?;
/// let paths: Vec<PathBuf> = vec!["a.png".into(), "b.dcm".into()];
/// let mut batches = model.embed_images(paths, &LoaderConfig::default(), 0.5)?;
/// while let Some(batch) = batches.next() {
///     println!("{:?}", batch?.indices);
/// }
/// for image in batches.into_unreadable() {
///     println!("left out: {image}");
/// }
/// # Ok(())
/// # }
/// ```
pub struct ImageEmbeddings<'a> {
    tower: &'a ImageModel,
    paths: Arc<[PathBuf]>,
    /// All batches, or this peer's share.
    batches: ImageBatches,
    assisted: Option<Assisted<'a>>,
    /// Whether there was an error, after which nothing follows.
    has_failed: bool,
}

impl ImageEmbeddings<'_> {
    /// Returns how many images have been embedded or left out.
    pub fn done(&self) -> usize {
        let by_all = self.assisted.as_ref().map(Assisted::done);
        by_all.unwrap_or(self.batches.done())
    }

    /// Returns the images left out so far, in the order of the paths.
    pub fn into_unreadable(self) -> Vec<Unreadable> {
        self.batches.into_unreadable()
    }

    /// Restricts the batches to the share of an assistant.
    pub(super) fn of_share(self, (rank, size): (usize, usize)) -> Self {
        Self {
            batches: self.batches.with_share(rank, size),
            ..self
        }
    }

    /// Returns the next part of this peer's share.
    pub(super) fn next_part(&mut self) -> Result<Part, Error> {
        let known = self.batches.unreadable().len();
        let batch = self.next_of_share()?;
        let new = self.batches.unreadable()[known..].iter();
        Ok(Part {
            batch,
            unreadable: new.map(|image| image.index).collect(),
            done: self.batches.done(),
        })
    }

    fn next_of_share(&mut self) -> Result<Option<EmbeddedBatch>, Error> {
        let Some(batch) = self.batches.next().transpose()? else {
            return Ok(None);
        };
        let ImageBatch { images, indices } = batch;
        let name = |index: usize| self.paths[index].display().to_string();
        EmbeddedBatch::new(indices, self.tower.encode_image(images), name).map(Some)
    }

    fn next_of_all(&mut self, assisted: &mut Assisted) -> Result<Option<EmbeddedBatch>, Error> {
        let batch = assisted.next(|| self.next_part())?;
        let left_out = assisted.take_unreadable().into_iter();
        let left_out = left_out.map(|index| match self.tower.images.load(&self.paths[index]) {
            Err(error) => Ok(Unreadable { index, error }),
            Ok(_) => Err(InferenceError::NotReadableByAll {
                path: self.paths[index].clone(),
            }),
        });
        let left_out: Vec<Unreadable> = left_out.collect::<Result<_, _>>()?;
        self.batches.add_unreadable(left_out)?;
        Ok(batch)
    }
}

impl Iterator for ImageEmbeddings<'_> {
    type Item = Result<EmbeddedBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let next = match self.assisted.take() {
            None => self.next_of_share(),
            Some(mut assisted) => {
                let next = self.next_of_all(&mut assisted);
                self.assisted = Some(assisted);
                next
            }
        };
        self.has_failed = next.is_err();
        next.transpose()
    }
}
