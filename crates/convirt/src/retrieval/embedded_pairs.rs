//! The embeddings of image–text pairs, with each distinct image and text embedded once.

use std::path::PathBuf;

use convirt_data::{Distinct, LoaderConfig, Study, Unreadable, number_images};

use super::ranks::Retrieval;
use crate::error::Error;
use crate::inference::{EmbeddedBatch, Model, TowerOutput};

/// The embeddings, at L2 norm 1, of the distinct images and texts of pairs. Images with the same
/// path or content are one image; equal texts are one text.
pub(crate) struct EmbeddedPairs<'a> {
    /// The study of each pair, in the order given; those with an unreadable image are left out.
    pub studies: Vec<&'a Study>,
    /// The number of each pair's image.
    pub image_of: Distinct,
    /// The number of each pair's text.
    pub text_of: Distinct,
    /// The embedding of each distinct image, by number.
    pub images: Vec<Vec<f32>>,
    /// The embedding of each distinct text, by number.
    pub texts: Vec<Vec<f32>>,
}

impl<'a> EmbeddedPairs<'a> {
    /// Creates the pairs from the image and the text embedding of each study. Of equal images or
    /// texts, the first embedding is used.
    #[cfg(feature = "train")]
    pub fn new(studies: Vec<&'a Study>, rows: &[(Vec<f32>, Vec<f32>)]) -> Self {
        let (image_of, text_of) = (distinct_images(&studies), distinct_texts(&studies));
        let image = |pair: &usize| rows[*pair].0.clone();
        let text = |pair: &usize| rows[*pair].1.clone();
        Self {
            images: image_of.first.iter().map(image).collect(),
            texts: text_of.first.iter().map(text).collect(),
            studies,
            image_of,
            text_of,
        }
    }

    /// Embeds the images and whole reports of studies; also returns the images left out.
    ///
    /// `on_batch` is called with every batch of images, the number of images done, and the number
    /// of distinct images.
    ///
    /// # Errors
    ///
    /// Those of [`Model::embed_images`] and [`Model::embed_texts`].
    pub fn embed(
        model: &Model,
        studies: &[&'a Study],
        loader: &LoaderConfig,
        max_bad_share: f64,
        mut on_batch: impl FnMut(&EmbeddedBatch, usize, usize),
    ) -> Result<(Self, Vec<Unreadable>), Error> {
        let distinct = distinct_images(studies);
        let path = |&pair: &usize| studies[pair].image.clone();
        let paths: Vec<PathBuf> = distinct.first.iter().map(path).collect();
        let mut embeddings = vec![None; paths.len()];
        let mut embedded = model.embed_images(paths, loader, max_bad_share)?;
        while let Some(batch) = embedded.next() {
            let batch = batch?;
            for (&image, row) in batch.indices.iter().zip(batch.rows(TowerOutput::Embedding)) {
                embeddings[image] = Some(row.to_vec());
            }
            on_batch(&batch, embedded.done(), embeddings.len());
        }
        let unreadable = embedded.into_unreadable();
        let pairs = studies.iter().copied().zip(distinct.of_pair);
        let pairs = pairs.filter(|(_, image)| embeddings[*image].is_some());
        let (readable, image_of): (Vec<&Study>, Vec<usize>) = pairs.unzip();
        let text_of = distinct_texts(&readable);
        let report = |&pair: &usize| &*readable[pair].report.text;
        let reports: Vec<&str> = text_of.first.iter().map(report).collect();
        let mut texts = Vec::new();
        for batch in model.embed_texts(&reports, loader)? {
            texts.extend(batch?.rows(TowerOutput::Embedding).map(<[f32]>::to_vec));
        }
        let pairs = Self {
            image_of: Distinct::new(image_of),
            images: embeddings.into_iter().flatten().collect(),
            studies: readable,
            text_of,
            texts,
        };
        Ok((pairs, unreadable))
    }

    /// Returns the number of the image and of the text of each pair.
    pub fn numbers(&self) -> Vec<(usize, usize)> {
        let images = self.image_of.of_pair.iter().copied();
        images.zip(self.text_of.of_pair.iter().copied()).collect()
    }

    /// Ranks the texts for each image, and the images for each text.
    pub fn retrieval(&self) -> Retrieval {
        Retrieval::evaluate(&self.images, &self.texts, &self.numbers())
    }
}

fn distinct_images(studies: &[&Study]) -> Distinct {
    let paths: Vec<_> = studies.iter().map(|study| &study.image).collect();
    Distinct::new(number_images(&paths))
}

fn distinct_texts(studies: &[&Study]) -> Distinct {
    Distinct::new(studies.iter().map(|study| &*study.report.text))
}
