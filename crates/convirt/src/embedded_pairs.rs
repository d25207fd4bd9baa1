//! Pairs through both towers, once each.

use std::path::PathBuf;

use burn::data::dataloader::DataLoader;
use convirt_data::{EvaluationLoader, ImageTextBatch, LoaderConfig, Study, Unreadable};
use convirt_model::ConVirt as Network;

use crate::embeddings::{EmbeddedBatch, TowerOutput};
use crate::error::Error;
use crate::pretrained::{ConVirt, normalized};
use crate::retrieval::{DistinctTexts, Retrieval};
use crate::task::text_input;

/// Images and their texts as embeddings at L2 norm 1; equal texts are one text.
pub(crate) struct EmbeddedPairs<'a> {
    /// The study of each image, in the order given; those whose image cannot be read are absent.
    pub studies: Vec<&'a Study>,
    pub images: Vec<Vec<f32>>,
    /// The distinct texts, by their numbers.
    pub texts: Vec<Vec<f32>>,
    /// Which image has which text.
    pub distinct: DistinctTexts,
}

impl<'a> EmbeddedPairs<'a> {
    /// Embeds what a loader holds, its texts as it reads them, by a network in evaluation mode.
    ///
    /// # Errors
    ///
    /// When the loader fails.
    pub fn of_loader(network: &Network, loader: &'a EvaluationLoader) -> Result<Self, Error> {
        let mut pairs = Vec::new();
        for batch in loader.iter() {
            let batch: ImageTextBatch = batch.map_err(Error::Evaluation)?;
            let texts = batch.texts.expect("held-out pairs have texts");
            let texts = normalized(network.encode_text(text_input(texts)).embedding);
            let images = normalized(network.encode_image(batch.images).embedding);
            let width = texts.len() / batch.indices.len();
            let rows = images.chunks_exact(width).zip(texts.chunks_exact(width));
            let rows = rows.map(|(image, text)| (image.to_vec(), text.to_vec()));
            pairs.extend(batch.indices.into_iter().zip(rows));
        }
        pairs.sort_by_key(|(index, _)| *index);
        let studies = loader.dataset().studies();
        let studies = pairs.iter().map(|(index, _)| &studies[*index]).collect();
        let (images, texts): (Vec<_>, Vec<_>) = pairs.into_iter().map(|(_, rows)| rows).unzip();
        Self::of(studies, images, |distinct| {
            Ok(distinct
                .first
                .iter()
                .map(|&pair| texts[pair].clone())
                .collect())
        })
    }

    /// Embeds the images and whole reports of studies, and lists the images left out.
    ///
    /// `each` is told of every batch of images, and how many images have been done.
    ///
    /// # Errors
    ///
    /// Those of [`ConVirt::embed_images`] and [`ConVirt::embed_texts`].
    pub fn of_studies(
        model: &ConVirt,
        studies: &[&'a Study],
        loader: &LoaderConfig,
        max_bad_share: f64,
        mut each: impl FnMut(&EmbeddedBatch, usize),
    ) -> Result<(Self, Vec<Unreadable>), Error> {
        let paths: Vec<PathBuf> = studies.iter().map(|study| study.image.clone()).collect();
        let (mut seen, mut images) = (Vec::new(), Vec::new());
        let mut embedded = model.embed_images(paths, loader, max_bad_share)?;
        while let Some(batch) = embedded.next() {
            let batch = batch?;
            images.extend(batch.rows(TowerOutput::Embedding).map(<[f32]>::to_vec));
            seen.extend(batch.indices.iter().map(|&index| studies[index]));
            each(&batch, embedded.done());
        }
        let unreadable = embedded.into_unreadable();
        let reports: Vec<&str> = seen.iter().map(|study| &*study.report.text).collect();
        let pairs = Self::of(seen, images, |distinct| {
            let reports: Vec<&str> = distinct.first.iter().map(|&pair| reports[pair]).collect();
            let mut texts = Vec::new();
            for batch in model.embed_texts(&reports, loader)? {
                texts.extend(batch?.rows(TowerOutput::Embedding).map(<[f32]>::to_vec));
            }
            Ok(texts)
        })?;
        Ok((pairs, unreadable))
    }

    fn of(
        studies: Vec<&'a Study>,
        images: Vec<Vec<f32>>,
        texts: impl FnOnce(&DistinctTexts) -> Result<Vec<Vec<f32>>, Error>,
    ) -> Result<Self, Error> {
        let reports: Vec<&str> = studies.iter().map(|study| &*study.report.text).collect();
        let distinct = DistinctTexts::of(&reports);
        Ok(Self {
            texts: texts(&distinct)?,
            studies,
            images,
            distinct,
        })
    }

    /// Ranks the texts for each image, and the images for each text.
    pub fn retrieval(&self) -> Retrieval {
        Retrieval::among(&self.images, &self.texts, &self.distinct.of_pair)
    }
}
