//! Pairs, embedded and ranked.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use burn::data::dataloader::DataLoader;
use convirt_data::{EvaluationLoader, ImageTextBatch, LoaderConfig, Study, Unreadable};
use convirt_model::{ConVirt as Network, SimClr};
use serde::Serialize;

use crate::embeddings::TowerOutput;
use crate::error::Error;
use crate::precision::{Answer, Queries, RetrievalAtK};
use crate::pretrained::{ConVirt, normalized};
use crate::retrieval::Retrieval;
use crate::task::{text_input, view_accuracy};

/// Depths of precision among pairs.
const DEPTHS: [usize; 3] = [1, 5, 10];

/// Retrieval among pairs in every direction; equal texts count as one text, and an image or text
/// found is right when its text is that of the query.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairRetrieval {
    /// Images by texts and texts by images: where the first right answer stands.
    pub pairs: Retrieval,
    /// Images by a text: how many of the first are right.
    pub text_to_image: RetrievalAtK,
    /// Other images by an image, compared by the encoder's output: how many of the first are
    /// right. Images whose text no other image has ask nothing.
    pub image_to_image: RetrievalAtK,
}

impl PairRetrieval {
    /// Embeds the images and whole reports of `studies` and ranks them.
    ///
    /// `progress` is told the images done and those in all. Returns the images left out beside the
    /// result.
    ///
    /// # Errors
    ///
    /// When more than `max_bad_share` of the images, from 0 to 1, are unreadable; [`Error::Data`]
    /// without studies or for a batch of none.
    pub fn of(
        model: &ConVirt,
        studies: &[Study],
        loader: &LoaderConfig,
        max_bad_share: f64,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<(Self, Vec<Unreadable>), Error> {
        let paths: Vec<PathBuf> = studies.iter().map(|study| study.image.clone()).collect();
        let (mut studies_seen, mut features, mut images) = (Vec::new(), Vec::new(), Vec::new());
        let mut embedded = model.embed_images(paths, loader, max_bad_share)?;
        while let Some(batch) = embedded.next() {
            let batch = batch?;
            features.extend(batch.rows(TowerOutput::Features).map(<[f32]>::to_vec));
            images.extend(batch.rows(TowerOutput::Embedding).map(<[f32]>::to_vec));
            studies_seen.extend(batch.indices.iter().map(|index| &studies[*index]));
            progress(embedded.done(), studies.len());
        }
        let unreadable = embedded.into_unreadable();

        let mut numbers = HashMap::new();
        let mut distinct: Vec<&str> = Vec::new();
        let text_of: Vec<usize> = studies_seen
            .iter()
            .map(|study| {
                let text = &*study.report.text;
                *numbers.entry(text).or_insert_with(|| {
                    distinct.push(text);
                    distinct.len() - 1
                })
            })
            .collect();
        let mut texts = Vec::new();
        if !distinct.is_empty() {
            for batch in model.embed_texts(&distinct, loader)? {
                texts.extend(batch?.rows(TowerOutput::Embedding).map(<[f32]>::to_vec));
            }
        }
        let text_of_each: Vec<Vec<f32>> = text_of.iter().map(|text| texts[*text].clone()).collect();
        let of_one_class = |asked: &[Vec<f32>], found: &[Vec<f32>], answer: &AnswerOf<'_>| {
            let queries = Queries {
                vectors: asked,
                classes: &vec![0; asked.len()],
                class_names: &["all".to_string()],
            };
            RetrievalAtK::of(queries, found, &DEPTHS, answer)
        };
        let right = |is_right| match is_right {
            true => Answer::Right,
            false => Answer::Wrong,
        };
        let retrieval =
            Self {
                pairs: Retrieval::of(&images, &text_of_each, &text_of),
                text_to_image: of_one_class(&texts, &images, &|text, image| {
                    right(text_of[image] == text)
                }),
                image_to_image: of_one_class(&features, &features, &|query, image| match query
                    == image
                {
                    true => Answer::Left,
                    false => right(text_of[query] == text_of[image]),
                }),
            };
        Ok((retrieval, unreadable))
    }
}

/// What a candidate is to a query.
type AnswerOf<'a> = dyn Fn(usize, usize) -> Answer + Sync + 'a;

impl fmt::Display for PairRetrieval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pairs.write_table(f, "")?;
        writeln!(f, "\ntext → image, of all that are right")?;
        write!(f, "{}", self.text_to_image)?;
        writeln!(f, "\nimage → other images of the same text")?;
        match self.image_to_image.queries() {
            0 => writeln!(f, "no text belongs to two images"),
            _ => write!(f, "{}", self.image_to_image),
        }
    }
}

/// Retrieval among all pairs of `loader` by a network in evaluation mode.
pub(crate) fn evaluate(network: &Network, loader: &EvaluationLoader) -> Result<Retrieval, Error> {
    let (mut images, mut texts, mut reports) = (Vec::new(), Vec::new(), Vec::new());
    let studies = loader.dataset().studies();
    for batch in loader.iter() {
        let batch: ImageTextBatch = batch.map_err(Error::Evaluation)?;
        let pairs = batch.len();
        let texts_of_batch = batch.texts.expect("held-out pairs have texts");
        let embedded_texts = network.encode_text(text_input(texts_of_batch)).embedding;
        let embedded_images = network.encode_image(batch.images).embedding;
        texts.extend(rows(normalized(embedded_texts), pairs));
        images.extend(rows(normalized(embedded_images), pairs));
        let report = |index: &usize| &studies[*index].report.text;
        reports.extend(batch.indices.iter().map(report));
    }
    Ok(Retrieval::of(&images, &texts, &reports))
}

/// Share of all views of `loader` whose most similar other view in their batch is of their image,
/// by a network in evaluation mode.
pub(crate) fn contrastive_accuracy(
    network: &SimClr,
    loader: &EvaluationLoader,
) -> Result<f64, Error> {
    let (mut right, mut images) = (0.0, 0);
    for batch in loader.iter() {
        let batch: ImageTextBatch = batch.map_err(Error::Evaluation)?;
        let in_batch = batch.len();
        let accuracy = view_accuracy(network.forward(batch.images).logits);
        right += accuracy.into_scalar::<f64>() * in_batch as f64;
        images += in_batch;
    }
    Ok(right / images.max(1) as f64)
}

fn rows(values: Vec<f32>, count: usize) -> Vec<Vec<f32>> {
    let width = values.len() / count.max(1);
    values.chunks(width.max(1)).map(<[f32]>::to_vec).collect()
}
