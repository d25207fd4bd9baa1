//! Pairs through both towers, each image and each text once.

use std::path::PathBuf;

use burn::data::dataloader::DataLoader;
use convirt_data::{
    Distinct, EvaluationLoader, ImageTextBatch, LoaderConfig, Study, Unreadable, number_images,
};
use convirt_model::ConVirt as Network;

use super::ranks::Retrieval;
use crate::error::Error;
use crate::inference::{EmbeddedBatch, Model, TowerOutput, excerpt, unit_rows};
use crate::network::text_input;

/// Images and texts as embeddings at L2 norm 1. Rows of one image, by path or content, are one
/// image; equal texts are one text.
pub(crate) struct EmbeddedPairs<'a> {
    /// The study of each pair, in the order given; those whose image cannot be read are absent.
    pub studies: Vec<&'a Study>,
    /// Which image each pair has.
    pub image_of: Distinct,
    /// Which text each pair has.
    pub text_of: Distinct,
    /// The distinct images, by their numbers.
    pub images: Vec<Vec<f32>>,
    /// The distinct texts, by their numbers.
    pub texts: Vec<Vec<f32>>,
}

impl<'a> EmbeddedPairs<'a> {
    #[cfg(feature = "train")]
    /// Embeds what a loader holds, its texts as it reads them, by a network in evaluation mode.
    ///
    /// # Errors
    ///
    /// When the loader fails, and [`Error::NotFinite`].
    pub fn of_loader(network: &Network, loader: &'a EvaluationLoader) -> Result<Self, Error> {
        let mut pairs = Vec::new();
        for batch in loader.iter() {
            let batch: ImageTextBatch = batch.map_err(Error::Evaluation)?;
            let texts = batch.texts.expect("held-out pairs have texts");
            let study = |row: usize| &loader.dataset().studies()[batch.indices[row]];
            let texts = network.encode_text(text_input(texts)).embedding;
            let texts = unit_rows(texts, |row| excerpt(&study(row).report.text))?;
            let images = network.encode_image(batch.images).embedding;
            let images = unit_rows(images, |row| study(row).image.display().to_string())?;
            let width = texts.len() / batch.indices.len();
            let rows = images.chunks_exact(width).zip(texts.chunks_exact(width));
            let rows = rows.map(|(image, text)| (image.to_vec(), text.to_vec()));
            pairs.extend(batch.indices.iter().copied().zip(rows));
        }
        pairs.sort_by_key(|(index, _)| *index);
        let studies = loader.dataset().studies();
        let studies: Vec<_> = pairs.iter().map(|(index, _)| &studies[*index]).collect();
        let (image_of, text_of) = (distinct_images(&studies), distinct_texts(&studies));
        let of_pair = |pair: &usize| &pairs[*pair].1;
        Ok(Self {
            images: image_of
                .first
                .iter()
                .map(|it| of_pair(it).0.clone())
                .collect(),
            texts: text_of
                .first
                .iter()
                .map(|it| of_pair(it).1.clone())
                .collect(),
            studies,
            image_of,
            text_of,
        })
    }

    /// Embeds the images and whole reports of studies, and lists the images left out.
    ///
    /// `each` is told of every batch of images, how many images have been done, and how many
    /// distinct ones there are.
    ///
    /// # Errors
    ///
    /// Those of [`Model::embed_images`] and [`Model::embed_texts`].
    pub fn of_studies(
        model: &Model,
        studies: &[&'a Study],
        loader: &LoaderConfig,
        max_bad_share: f64,
        mut each: impl FnMut(&EmbeddedBatch, usize, usize),
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
            each(&batch, embedded.done(), embeddings.len());
        }
        let unreadable = embedded.into_unreadable();
        let pairs = studies.iter().copied().zip(distinct.of_pair);
        let pairs = pairs.filter(|(_, image)| embeddings[*image].is_some());
        let (seen, image_of): (Vec<&Study>, Vec<usize>) = pairs.unzip();
        let text_of = distinct_texts(&seen);
        let report = |&pair: &usize| &*seen[pair].report.text;
        let reports: Vec<&str> = text_of.first.iter().map(report).collect();
        let mut texts = Vec::new();
        for batch in model.embed_texts(&reports, loader)? {
            texts.extend(batch?.rows(TowerOutput::Embedding).map(<[f32]>::to_vec));
        }
        let pairs = Self {
            image_of: Distinct::new(image_of),
            images: embeddings.into_iter().flatten().collect(),
            studies: seen,
            text_of,
            texts,
        };
        Ok((pairs, unreadable))
    }

    /// The number of the image and of the text of each pair.
    pub fn numbers(&self) -> Vec<(usize, usize)> {
        let images = self.image_of.of_pair.iter().copied();
        images.zip(self.text_of.of_pair.iter().copied()).collect()
    }

    /// Ranks the texts for each image, and the images for each text.
    pub fn retrieval(&self) -> Retrieval {
        Retrieval::of(&self.images, &self.texts, &self.numbers())
    }
}

fn distinct_images(studies: &[&Study]) -> Distinct {
    let paths: Vec<_> = studies.iter().map(|study| &study.image).collect();
    Distinct::new(number_images(&paths))
}

fn distinct_texts(studies: &[&Study]) -> Distinct {
    Distinct::new(studies.iter().map(|study| &*study.report.text))
}
