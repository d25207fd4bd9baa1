//! Embedding many texts, batch by batch.

use std::ops::Range;

use convirt_data::{
    LoaderConfig, LoaderError, Padding, SampleText, SettingError, TokenizerError, collate_texts,
};
use rayon::prelude::*;

use super::assisted::{Assisted, Items, Part};
use super::embedded_batch::{EmbeddedBatch, TowerOutput, excerpt};
use super::model::Model;
use crate::error::Error;
use crate::network::text_input;

/// Number of text batches that are sorted by length together.
const BATCHES_SORTED: usize = 8;

impl Model {
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
