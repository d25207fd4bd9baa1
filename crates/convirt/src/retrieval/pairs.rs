//! Retrieval among pairs, in every direction.

use std::collections::BTreeSet;
use std::fmt;

use convirt_data::{LoaderConfig, Study, Unreadable};
use serde::Serialize;

use super::at_k::{Answer, Queries, RetrievalAtK};
use super::embedded_pairs::EmbeddedPairs;
use super::ranks::Retrieval;
use crate::error::Error;
use crate::inference::{EmbeddedBatch, Model, TowerOutput};

/// Depths of precision among pairs.
const DEPTHS: [usize; 3] = [1, 5, 10];

/// Retrieval among pairs in every direction; equal texts count as one text, rows of one image as
/// one image, and what is found is right when a pair joins it with the query.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairRetrieval {
    /// Images by texts and texts by images: where the first right answer stands.
    pub pairs: Retrieval,
    /// Images by a text: how many of the first are right.
    pub text_to_image: RetrievalAtK,
    /// Other images by an image, compared by the encoder's output: how many of the first have a
    /// text in common with it. Images whose texts no other image has ask nothing.
    pub image_to_image: RetrievalAtK,
}

impl PairRetrieval {
    /// Embeds the images and whole reports of `studies` and ranks them.
    ///
    /// `progress` is told the distinct images done and those in all. Returns the images left out
    /// beside the result.
    ///
    /// # Errors
    ///
    /// When more than `max_bad_share` of the images, from 0 to 1, or all are unreadable;
    /// [`Error::Data`] without studies or for a batch of none.
    pub fn evaluate(
        model: &Model,
        studies: &[Study],
        loader: &LoaderConfig,
        max_bad_share: f64,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<(Self, Vec<Unreadable>), Error> {
        let mut features = Vec::new();
        let all: Vec<&Study> = studies.iter().collect();
        let each = |batch: &EmbeddedBatch, done, images| {
            features.extend(batch.rows(TowerOutput::Features).map(<[f32]>::to_vec));
            progress(done, images);
        };
        let (pairs, unreadable) = EmbeddedPairs::embed(model, &all, loader, max_bad_share, each)?;
        let mut texts_of = vec![BTreeSet::new(); pairs.images.len()];
        for (image, text) in pairs.numbers() {
            texts_of[image].insert(text);
        }

        let right = |is_right| match is_right {
            true => Answer::Right,
            false => Answer::Wrong,
        };
        let same_text = |query: usize, image: usize| match query == image {
            true => Answer::LeftOut,
            false => right(!texts_of[query].is_disjoint(&texts_of[image])),
        };
        let is_its_text = |text: usize, image: usize| right(texts_of[image].contains(&text));
        let retrieval = Self {
            pairs: pairs.retrieval(),
            text_to_image: among_all(&pairs.texts, &pairs.images, is_its_text),
            image_to_image: among_all(&features, &features, same_text),
        };
        Ok((retrieval, unreadable))
    }
}

/// Scores of queries that are all of one class.
fn among_all(
    queries: &[Vec<f32>],
    candidates: &[Vec<f32>],
    answer: impl Fn(usize, usize) -> Answer + Sync,
) -> RetrievalAtK {
    let queries = Queries {
        vectors: queries,
        classes: &vec![0; queries.len()],
        class_names: &["all".to_string()],
    };
    RetrievalAtK::evaluate(queries, candidates, &DEPTHS, answer)
}

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
