//! Embedding many texts, batch by batch.

use std::ops::Range;

use convirt_data::{
    LoaderConfig, LoaderError, Padding, SampleText, SettingError, TokenizerError, collate_texts,
};
use rayon::prelude::*;

use super::assisted::{Batches, Items, Part, Share};
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
pub struct TextEmbeddings<'a, T>(Batches<'a, TextShare<'a, T>>);

/// Texts that one peer embeds.
pub(super) struct TextShare<'a, T> {
    model: &'a Model,
    texts: &'a [T],
    batch_size: usize,
    padding: Padding,
    /// Beginning of the next part.
    next: usize,
    /// Texts from the beginning of a part to that of the next.
    stride: usize,
    done: usize,
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
        let mut share = TextShare {
            model,
            texts,
            batch_size: loader.batch_size,
            padding: Padding {
                id: model.tokenizer().pad_id(),
                multiple: loader.pad_multiple,
                max_tokens: model.max_tokens(),
            },
            next: 0,
            stride: 0,
            done: 0,
        };
        share.stride = share.texts_sorted();
        let is_one_part = texts.len() <= share.stride;
        let items = || Items::texts(texts);
        let batches = Batches::begin(model.image_tower(), share, is_one_part, loader, items)?;
        Ok(Self(batches))
    }

    /// Returns how many texts have been embedded.
    pub fn done(&self) -> usize {
        self.0.done()
    }

    pub(super) fn into_share(self) -> TextShare<'a, T> {
        self.0.share
    }
}

impl<T: AsRef<str> + Sync> Iterator for TextEmbeddings<'_, T> {
    type Item = Result<EmbeddedBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl<T: AsRef<str> + Sync> TextShare<'_, T> {
    /// Number of texts that are sorted by length together.
    fn texts_sorted(&self) -> usize {
        self.batch_size.saturating_mul(BATCHES_SORTED)
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

impl<T: AsRef<str> + Sync> Share for TextShare<'_, T> {
    fn of_peer(self, rank: usize, size: usize) -> Self {
        Self {
            next: rank.saturating_mul(self.stride),
            stride: size.saturating_mul(self.stride),
            ..self
        }
    }

    fn next_part(&mut self) -> Result<Part, Error> {
        let end = self.next.saturating_add(self.texts_sorted());
        let range = self.next..end.min(self.texts.len());
        let is_there = !range.is_empty();
        self.next = self.next.saturating_add(self.stride);
        self.done += range.len();
        Ok(Part {
            batch: is_there.then(|| self.embed(range)).transpose()?,
            unreadable: Vec::new(),
            done: self.done,
        })
    }

    fn done(&self) -> usize {
        self.done
    }
}
