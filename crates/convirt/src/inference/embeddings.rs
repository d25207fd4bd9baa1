//! Embedding many images or texts, batch by batch.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use convirt_data::{
    ImageBatch, ImageBatches, LoaderConfig, LoaderError, Padding, SampleText, SettingError,
    TokenizerError, Unreadable, collate_texts,
};
use rayon::prelude::*;

use super::assisted::{Assisted, Items, Part};
use super::embedded_batch::{EmbeddedBatch, TowerOutput, excerpt};
use super::error::InferenceError;
use super::image_model::ImageModel;
use super::model::Model;
use crate::error::Error;
use crate::network::MemoryNeed;
use crate::network::text_input;

/// Number of text batches that are sorted by length together.
const BATCHES_SORTED: usize = 8;

impl ImageModel {
    /// Embeds image files batch by batch, in the order of their paths. `loader.num_workers` threads
    /// read and scale them in advance.
    ///
    /// Files that are not readable images are left out and listed. When their share of all files
    /// exceeds `max_bad_share`, from 0 to 1, the iteration ends with an error.
    ///
    /// # Errors
    ///
    /// [`LoaderError::NothingToLoad`] without paths, [`SettingError::OutOfRange`] for a batch size
    /// of 0 or a share outside 0 to 1, `ComputeError::TooLargeForMemory`.
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

    /// Asks the assistants, if there are any, to embed their shares of more than one batch.
    fn assisted(
        &self,
        has_one_batch: bool,
        loader: &LoaderConfig,
        items: impl FnOnce() -> Items,
    ) -> Result<Option<Assisted<'_>>, Error> {
        match &self.assistants {
            Some(assistants) if !has_one_batch => Assisted::begin(assistants, self, loader, items),
            _ => Ok(None),
        }
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

    /// Embeds sentences or reports, `loader.batch_size` at a time. Each is cut off at the model's
    /// maximum number of tokens.
    ///
    /// Texts of similar length are embedded together, which saves padding; the results come in the
    /// order of the texts.
    ///
    /// # Errors
    ///
    /// [`LoaderError::NothingToLoad`] without texts, [`SettingError::OutOfRange`] for a batch size
    /// of 0.
    pub fn embed_texts<'a, T: AsRef<str> + Sync>(
        &'a self,
        texts: &'a [T],
        loader: &LoaderConfig,
    ) -> Result<TextEmbeddings<'a, T>, Error> {
        TextEmbeddings::new(self, texts, loader)
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
}

impl ImageEmbeddings<'_> {
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

/// An iterator over batches of embedded texts; see [`Model::embed_texts`].
///
/// # Examples
///
/// ```no_run
/// # fn main() -> Result<(), convirt::Error> {
/// use convirt::data::LoaderConfig;
/// use convirt::inference::TowerOutput;
/// use convirt::{Model, similarity};
///
/// let model = Model::load("runs/2026-01-16_02-27-36_phantom")?;
/// let sentences = ["Clear lungs.", "Small left pleural effusion."];
/// let mut embeddings = Vec::new();
/// for batch in model.embed_texts(&sentences, &LoaderConfig::default())? {
///     embeddings.extend(batch?.rows(TowerOutput::Embedding).map(<[f32]>::to_vec));
/// }
/// println!("{:.3}", similarity(&embeddings[0], &embeddings[1]));
/// # Ok(())
/// # }
/// ```
pub struct TextEmbeddings<'a, T> {
    model: &'a Model,
    texts: &'a [T],
    batch_size: usize,
    padding: Padding,
    /// Beginning of the next texts of this peer's share.
    next: usize,
    /// Texts from the beginning of a part to that of the next.
    stride: usize,
    done: usize,
    assisted: Option<Assisted<'a>>,
    /// Whether there was an error, after which nothing follows.
    has_failed: bool,
}

impl<'a, T: AsRef<str> + Sync> TextEmbeddings<'a, T> {
    pub(crate) fn new(
        model: &'a Model,
        texts: &'a [T],
        loader: &LoaderConfig,
    ) -> Result<Self, Error> {
        if texts.is_empty() {
            return Err(LoaderError::NothingToLoad.into());
        }
        if loader.batch_size == 0 {
            let error = SettingError::OutOfRange {
                setting: "batch_size",
                value: 0.0,
                allowed: "1 or more",
            };
            return Err(error.into());
        }
        let texts_sorted = loader.batch_size.saturating_mul(BATCHES_SORTED);
        let order = || Items::texts(texts);
        let has_one_part = texts.len() <= texts_sorted;
        let tower = model.image_tower();
        let assisted = tower.assisted(has_one_part, loader, order)?;
        let shares = assisted.as_ref().map_or(1, Assisted::size);
        Ok(Self {
            model,
            texts,
            batch_size: loader.batch_size,
            padding: Padding {
                id: model.tokenizer().pad_id(),
                multiple: loader.pad_multiple,
                max_tokens: model.max_tokens(),
            },
            next: 0,
            stride: texts_sorted.saturating_mul(shares),
            done: 0,
            assisted,
            has_failed: false,
        })
    }

    /// Restricts the texts to the share of an assistant.
    pub(super) fn of_share(self, (rank, size): (usize, usize)) -> Self {
        Self {
            next: rank.saturating_mul(self.stride),
            stride: size.saturating_mul(self.stride),
            ..self
        }
    }

    /// Returns how many texts have been embedded.
    pub fn done(&self) -> usize {
        let by_all = self.assisted.as_ref().map(Assisted::done);
        by_all.unwrap_or(self.done)
    }

    /// Returns the next part of this peer's share.
    pub(super) fn next_part(&mut self) -> Result<Part, Error> {
        Ok(Part {
            batch: self.next_of_share()?,
            unreadable: Vec::new(),
            done: self.done,
        })
    }

    fn next_of_share(&mut self) -> Result<Option<EmbeddedBatch>, Error> {
        let texts_sorted = self.batch_size.saturating_mul(BATCHES_SORTED);
        let end = self.next.saturating_add(texts_sorted).min(self.texts.len());
        let range = self.next.min(end)..end;
        if range.is_empty() {
            return Ok(None);
        }
        self.next = self.next.saturating_add(self.stride);
        self.done += range.len();
        self.embed(range).map(Some)
    }

    /// Embeds the texts in a range, in batches of similar length.
    fn embed(&self, range: Range<usize>) -> Result<EmbeddedBatch, Error> {
        let texts = self.texts[range.clone()].par_iter().map(|text| {
            let tokenizer = self.model.tokenizer();
            Ok(SampleText {
                tokens: tokenizer.encode(text.as_ref(), self.padding.max_tokens)?,
                text: text.as_ref().to_string(),
            })
        });
        let texts: Vec<SampleText> = texts.collect::<Result<_, TokenizerError>>()?;
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&text| texts[text].tokens.ids.len());
        let mut rows = vec![None; texts.len()];
        for indices in order.chunks(self.batch_size) {
            let batch: Vec<&SampleText> = indices.iter().map(|&index| &texts[index]).collect();
            let batch = collate_texts(&batch, &self.padding, self.model.device());
            let encoded = self.model.encode_text(text_input(batch));
            let name = |index: usize| excerpt(&texts[index].text);
            let batch = EmbeddedBatch::new(indices.to_vec(), encoded, name)?;
            let features = batch.rows(TowerOutput::Features);
            let outputs = features.zip(batch.rows(TowerOutput::Embedding));
            for (&index, (features, embedding)) in indices.iter().zip(outputs) {
                rows[index] = Some((features.to_vec(), embedding.to_vec()));
            }
        }
        let (features, embeddings): (Vec<_>, Vec<_>) = rows.into_iter().flatten().unzip();
        Ok(EmbeddedBatch {
            indices: range.collect(),
            features: features.concat(),
            embeddings: embeddings.concat(),
        })
    }
}

impl<T: AsRef<str> + Sync> Iterator for TextEmbeddings<'_, T> {
    type Item = Result<EmbeddedBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let next = match self.assisted.take() {
            None => self.next_of_share(),
            Some(mut assisted) => {
                let next = assisted.next(|| self.next_part());
                self.assisted = Some(assisted);
                next
            }
        };
        self.has_failed = next.is_err();
        next.transpose()
    }
}
