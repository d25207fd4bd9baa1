//! Embedding many images, batch by batch.

use std::path::PathBuf;
use std::sync::Arc;

use convirt_data::{ImageBatch, ImageBatches, LoaderConfig, Unreadable};

use super::assisted::{Batches, Items, Part, Share};
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
        let share = ImageShare {
            tower: self,
            paths: Arc::clone(&paths),
            batches,
        };
        let items = || Items::images(&paths);
        Ok(ImageEmbeddings(Batches::begin(
            self,
            share,
            has_one_batch,
            loader,
            items,
        )?))
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
pub struct ImageEmbeddings<'a>(Batches<'a, ImageShare<'a>>);

/// Images that one peer embeds.
pub(super) struct ImageShare<'a> {
    tower: &'a ImageModel,
    paths: Arc<[PathBuf]>,
    batches: ImageBatches,
}

impl<'a> ImageEmbeddings<'a> {
    /// Returns how many images have been embedded or left out.
    pub fn done(&self) -> usize {
        self.0.done()
    }

    /// Returns the images left out so far, in the order of the paths.
    pub fn into_unreadable(self) -> Vec<Unreadable> {
        self.0.share.batches.into_unreadable()
    }

    pub(super) fn into_share(self) -> ImageShare<'a> {
        self.0.share
    }
}

impl Iterator for ImageEmbeddings<'_> {
    type Item = Result<EmbeddedBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl ImageShare<'_> {
    fn embed(&self, ImageBatch { images, indices }: ImageBatch) -> Result<EmbeddedBatch, Error> {
        let name = |index: usize| self.paths[index].display().to_string();
        EmbeddedBatch::new(indices, self.tower.encode_image(images), name)
    }
}

impl Share for ImageShare<'_> {
    fn of_peer(self, rank: usize, size: usize) -> Self {
        Self {
            batches: self.batches.with_share(rank, size),
            ..self
        }
    }

    fn next_part(&mut self) -> Result<Part, Error> {
        let known = self.batches.unreadable().len();
        let batch = self.batches.next().transpose()?;
        let batch = batch.map(|batch| self.embed(batch)).transpose()?;
        let new = self.batches.unreadable()[known..].iter();
        Ok(Part {
            batch,
            unreadable: new.map(|image| image.index).collect(),
            done: self.done(),
        })
    }

    fn done(&self) -> usize {
        self.batches.done()
    }

    /// Finds out why they cannot be read.
    fn add_unreadable(&mut self, positions: Vec<usize>) -> Result<(), Error> {
        let left_out = positions.into_iter().map(|index| {
            let path = &self.paths[index];
            match self.tower.images.load(path) {
                Err(error) => Ok(Unreadable { index, error }),
                Ok(_) => Err(InferenceError::NotReadableByAll { path: path.clone() }),
            }
        });
        let left_out: Vec<Unreadable> = left_out.collect::<Result<_, _>>()?;
        Ok(self.batches.add_unreadable(left_out)?)
    }
}
