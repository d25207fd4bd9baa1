//! Many images or texts embedded, batch by batch.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use convirt_data::{
    DataError, ImageBatch, ImageBatches, LoaderConfig, Padding, SampleText, Unreadable,
    collate_texts,
};
use convirt_model::Encoded;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::finite::{finite_rows, unit_rows};
use crate::pretrained::{ConVirt, ImageTower};
use crate::task::text_input;

/// Batches of texts that are sorted by length together.
const BATCHES_SORTED: usize = 8;

/// Which vector of a tower is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TowerOutput {
    /// The encoder's output h, as it is: what classifiers learn from, and what the paper ranks
    /// images by when the query is an image. Only comparable within one tower.
    Features,
    /// Its projection v or u, at L2 norm 1: comparable with those of the other tower.
    #[default]
    Embedding,
}

/// Images or texts that were embedded in one step.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddedBatch {
    /// Places in the list that was to be embedded, ascending.
    pub indices: Vec<usize>,
    features: Vec<f32>,
    embeddings: Vec<f32>,
}

impl EmbeddedBatch {
    /// Takes the outputs of a tower for what is at `indices` in a list; `name` tells what that is.
    ///
    /// # Errors
    ///
    /// [`Error::NotFinite`] where the tower gave no finite numbers.
    pub(crate) fn new(
        indices: Vec<usize>,
        encoded: Encoded,
        name: impl Fn(usize) -> String,
    ) -> Result<Self, Error> {
        let name = |row: usize| name(indices[row]);
        Ok(Self {
            features: finite_rows(encoded.features, name)?,
            embeddings: unit_rows(encoded.embedding, name)?,
            indices,
        })
    }

    /// Rows of the output asked for, one for each index.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, width]`, flat
    pub fn into_values(self, output: TowerOutput) -> Vec<f32> {
        match output {
            TowerOutput::Features => self.features,
            TowerOutput::Embedding => self.embeddings,
        }
    }

    /// Row by row, the output asked for: `width` numbers each.
    pub fn rows(&self, output: TowerOutput) -> impl ExactSizeIterator<Item = &[f32]> {
        let values = match output {
            TowerOutput::Features => &self.features,
            TowerOutput::Embedding => &self.embeddings,
        };
        values.chunks_exact(values.len() / self.indices.len())
    }
}

/// Iterates over embedded images; see [`ImageTower::embed_images`].
pub struct ImageEmbeddings<'a> {
    tower: &'a ImageTower,
    paths: Arc<[PathBuf]>,
    batches: ImageBatches,
}

impl<'a> ImageEmbeddings<'a> {
    /// Embeds `batches` of the images at `paths`.
    pub(crate) fn new(tower: &'a ImageTower, paths: Arc<[PathBuf]>, batches: ImageBatches) -> Self {
        Self {
            tower,
            paths,
            batches,
        }
    }

    /// Returns how many images have been embedded or left out.
    pub fn done(&self) -> usize {
        self.batches.done()
    }

    /// Returns the images left out up to now, in the order of the paths.
    pub fn into_unreadable(self) -> Vec<Unreadable> {
        self.batches.into_unreadable()
    }
}

impl Iterator for ImageEmbeddings<'_> {
    type Item = Result<EmbeddedBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next()?;
        Some(batch.map_err(Error::from).and_then(|batch| {
            let ImageBatch { images, indices } = batch;
            let name = |index: usize| self.paths[index].display().to_string();
            EmbeddedBatch::new(indices, self.tower.encode_image(images), name)
        }))
    }
}

/// Iterates over embedded texts; see [`ConVirt::embed_texts`].
pub struct TextEmbeddings<'a, T> {
    model: &'a ConVirt,
    texts: &'a [T],
    batch_size: usize,
    padding: Padding,
    done: usize,
}

impl<'a, T: AsRef<str> + Sync> TextEmbeddings<'a, T> {
    pub(crate) fn new(
        model: &'a ConVirt,
        texts: &'a [T],
        loader: &LoaderConfig,
    ) -> Result<Self, Error> {
        if texts.is_empty() {
            return Err(DataError::NothingToLoad.into());
        }
        if loader.batch_size == 0 {
            return Err(Error::Data(DataError::OutOfRange {
                setting: "batch_size",
                value: 0.0,
                allowed: "1 or more",
            }));
        }
        Ok(Self {
            model,
            texts,
            batch_size: loader.batch_size,
            padding: Padding {
                id: model.tokenizer().pad_id(),
                multiple: loader.pad_multiple,
                max_tokens: model.max_tokens(),
            },
            done: 0,
        })
    }

    /// Returns how many texts have been embedded.
    pub fn done(&self) -> usize {
        self.done
    }

    fn embed(&self, window: Range<usize>) -> Result<EmbeddedBatch, Error> {
        let texts = self.texts[window.clone()].par_iter().map(|text| {
            let tokenizer = self.model.tokenizer();
            Ok(SampleText {
                tokens: tokenizer.encode(text.as_ref(), self.padding.max_tokens)?,
                text: text.as_ref().to_string(),
            })
        });
        let texts: Vec<SampleText> = texts.collect::<Result<_, DataError>>()?;
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&place| texts[place].tokens.ids.len());
        let mut rows = vec![None; texts.len()];
        for places in order.chunks(self.batch_size) {
            let batch: Vec<&SampleText> = places.iter().map(|&place| &texts[place]).collect();
            let batch = collate_texts(&batch, &self.padding, self.model.device());
            let encoded = self.model.encode_text(text_input(batch));
            let name = |place: usize| excerpt(&texts[place].text);
            let batch = EmbeddedBatch::new(places.to_vec(), encoded, name)?;
            let features = batch.rows(TowerOutput::Features);
            let both = features.zip(batch.rows(TowerOutput::Embedding));
            for (&place, (features, embedding)) in places.iter().zip(both) {
                rows[place] = Some((features.to_vec(), embedding.to_vec()));
            }
        }
        let (features, embeddings): (Vec<_>, Vec<_>) = rows.into_iter().flatten().unzip();
        Ok(EmbeddedBatch {
            indices: window.collect(),
            features: features.concat(),
            embeddings: embeddings.concat(),
        })
    }
}

impl<T: AsRef<str> + Sync> Iterator for TextEmbeddings<'_, T> {
    type Item = Result<EmbeddedBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let longest = self.batch_size.saturating_mul(BATCHES_SORTED);
        let window = self.done..self.done.saturating_add(longest).min(self.texts.len());
        if window.is_empty() {
            return None;
        }
        let batch = self.embed(window.clone());
        // Nothing comes after an error.
        self.done = match batch {
            Ok(_) => window.end,
            Err(_) => self.texts.len(),
        };
        Some(batch)
    }
}

/// The beginning of a text, to name it by.
pub(crate) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}
