//! Reading images and encoding them in batches.

use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use burn::train::Interrupter;
use convirt_data::{
    EvalResize, EvalTransform, ImageBatches, ImageStore, ImageStoreConfig, LoaderConfig, Unreadable,
};

use super::features::Features;
use crate::error::Error;
use crate::inference::finite_rows;
use crate::logging::Bar;

/// How images are read, transformed and batched.
#[derive(Clone, Debug)]
pub(crate) struct ImageReader {
    pub store: Arc<ImageStore>,
    pub transform: EvalTransform,
    pub loader: LoaderConfig,
    /// Largest share of unreadable images that is not an error, from 0 to 1.
    pub max_bad_share: f64,
}

/// The features of images.
pub(crate) struct EncodedImages {
    /// Features of the readable images, in order.
    pub features: Features,
    /// Row of each image in the features; `None` for an unreadable image.
    pub rows: Vec<Option<usize>>,
    pub unreadable: Vec<Unreadable>,
}

impl EncodedImages {
    /// Returns the given positions without those of unreadable images.
    pub fn readable(&self, indices: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let indices = indices.into_iter();
        indices
            .filter(|index| self.rows[*index].is_some())
            .collect()
    }
}

impl ImageReader {
    /// Creates a reader of inputs with `size` × `size` pixels.
    ///
    /// # Errors
    ///
    /// When `size` is out of range.
    pub fn new(
        size: usize,
        resize: EvalResize,
        store: ImageStoreConfig,
        loader: LoaderConfig,
        max_bad_share: f64,
    ) -> Result<Self, Error> {
        Ok(Self {
            store: ImageStore::new(store)?.into(),
            transform: EvalTransform::new(size, resize)?,
            loader,
            max_bad_share,
        })
    }

    /// Iterates over batches of the images at `paths`, in order, on a device.
    ///
    /// # Errors
    ///
    /// Those of [`ImageBatches::new`].
    pub fn batches(&self, paths: &[PathBuf], device: &Device) -> Result<ImageBatches, Error> {
        let transform = self.transform.clone();
        Ok(ImageBatches::new(
            paths,
            self.store.clone(),
            move |image| transform.apply(image),
            &self.loader,
            self.max_bad_share,
            device,
        )?)
    }

    /// Encodes the images at `paths`; returns `None` if a stop is requested in the meantime.
    ///
    /// `title` is shown beside the progress bar.
    ///
    /// # Errors
    ///
    /// When more than `max_bad_share` of the images cannot be read, and
    /// [`InferenceError::NotFinite`].
    pub fn encode(
        &self,
        paths: &[PathBuf],
        device: &Device,
        title: &str,
        interrupter: &Interrupter,
        encode: impl Fn(Tensor<4>) -> Tensor<2>,
    ) -> Result<Option<EncodedImages>, Error> {
        let bar = Bar::new(title, paths.len(), "images");
        let mut batches = self.batches(paths, device)?;
        let (mut values, mut rows, mut width) = (Vec::new(), vec![None; paths.len()], 1);
        let (mut count, mut done) = (0, 0);
        while let Some(batch) = batches.next() {
            if interrupter.should_stop() {
                return Ok(None);
            }
            let batch = batch?;
            let encoded = encode(batch.images);
            width = encoded.dims()[1];
            let name = |row: usize| paths[batch.indices[row]].display().to_string();
            values.extend(finite_rows(encoded, name)?);
            for index in batch.indices {
                rows[index] = Some(count);
                count += 1;
            }
            bar.advance(batches.done() - done);
            done = batches.done();
        }
        Ok(Some(EncodedImages {
            features: Features::new(width, values),
            rows,
            unreadable: batches.into_unreadable(),
        }))
    }
}
