//! Retrieval among image–text pairs, in every direction.

use std::collections::BTreeSet;
use std::fmt;

use convirt_data::{LoaderConfig, Study, Unreadable};
use serde::Serialize;

use super::at_k::{Queries, Relevance, RetrievalAtK};
use super::embedded_pairs::EmbeddedPairs;
use super::ranks::Retrieval;
use crate::error::Error;
use crate::inference::{EmbeddedBatch, Model, TowerOutput};

/// The depths k of precision and recall.
const DEPTHS: [usize; 3] = [1, 5, 10];

/// Retrieval scores among image–text pairs: images by texts, texts by images, and images by images.
///
/// Equal texts count as one text, and rows with the same image as one image. An image and a text
/// are relevant to each other when they form a pair.
///
/// # Examples
///
/// ```no_run
/// # fn main() -> Result<(), convirt::Error> {
/// use convirt::Model;
/// use convirt::data::{LoaderConfig, Manifest, ManifestConfig};
/// use convirt::retrieval::PairRetrieval;
///
/// let manifest = Manifest::read(&ManifestConfig::new("data/test.csv"))?;
/// let model = Model::load("runs/2026-01-16_02-27-36_mimic")?;
/// let loader = LoaderConfig::default();
/// let (scores, unreadable) =
///     PairRetrieval::evaluate(&model, &manifest.studies, &loader, 0.01, |_, _| ())?;
/// println!("recall@10: {:.3}", scores.pairs.text_to_image.scores.recall_at_10);
/// println!("{} images left out", unreadable.len());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairRetrieval {
    /// Images ranked for each text and texts for each image, by the rank of the first relevant one.
    pub pairs: Retrieval,
    /// Images ranked for each text, with precision and recall at k.
    pub text_to_image: RetrievalAtK,
    /// Other images ranked for each image by the encoder's output. Images with a text in common are
    /// relevant; an image that shares its texts with no other is not a query.
    pub image_to_image: RetrievalAtK,
}

impl PairRetrieval {
    /// Embeds the images and whole reports of `studies` and ranks them.
    ///
    /// `progress` is called with the number of distinct images done and the number of all. The
    /// images left out are returned with the result.
    ///
    /// # Errors
    ///
    /// When more than `max_bad_share` of the images, from 0 to 1, or all are unreadable;
    /// [`Error::Data`] without studies or for a batch size of 0.
    pub fn evaluate(
        model: &Model,
        studies: &[Study],
        loader: &LoaderConfig,
        max_bad_share: f64,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<(Self, Vec<Unreadable>), Error> {
        let mut features = Vec::new();
        let all: Vec<&Study> = studies.iter().collect();
        let on_batch = |batch: &EmbeddedBatch, done, images| {
            features.extend(batch.rows(TowerOutput::Features).map(<[f32]>::to_vec));
            progress(done, images);
        };
        let (pairs, unreadable) =
            EmbeddedPairs::embed(model, &all, loader, max_bad_share, on_batch)?;
        let mut texts_of = vec![BTreeSet::new(); pairs.images.len()];
        for (image, text) in pairs.numbers() {
            texts_of[image].insert(text);
        }

        let is_pair = |text: usize, image: usize| Relevance::from(texts_of[image].contains(&text));
        let shares_text = |query: usize, image: usize| {
            if query == image {
                Relevance::Excluded
            } else {
                Relevance::from(!texts_of[query].is_disjoint(&texts_of[image]))
            }
        };
        let retrieval = Self {
            pairs: pairs.retrieval(),
            text_to_image: evaluate_one_class(&pairs.texts, &pairs.images, is_pair),
            image_to_image: evaluate_one_class(&features, &features, shares_text),
        };
        Ok((retrieval, unreadable))
    }
}

/// Scores queries that are all of one class.
fn evaluate_one_class(
    queries: &[Vec<f32>],
    candidates: &[Vec<f32>],
    relevance: impl Fn(usize, usize) -> Relevance + Sync,
) -> RetrievalAtK {
    let queries = Queries {
        vectors: queries,
        classes: &vec![0; queries.len()],
        class_names: &["all".to_string()],
    };
    RetrievalAtK::evaluate(queries, candidates, &DEPTHS, relevance)
}

impl fmt::Display for PairRetrieval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pairs.write_table(f, "")?;
        writeln!(f, "\ntext → image, all images of the text")?;
        write!(f, "{}", self.text_to_image)?;
        writeln!(f, "\nimage → other images of the same text")?;
        if self.image_to_image.queries() == 0 {
            writeln!(f, "no text belongs to two images")
        } else {
            write!(f, "{}", self.image_to_image)
        }
    }
}
