//! The CheXpert 8×200 retrieval protocol.

use std::fmt;
use std::path::PathBuf;

use convirt_data::{Chexpert8x200, ChexpertQuery, LoaderConfig, Unreadable};
use serde::Serialize;

use super::at_k::{Queries, Relevance, RetrievalAtK};
use crate::error::Error;
use crate::inference::{ImageModel, Model, TowerOutput};

/// The depths k of the paper's table.
const DEPTHS: [usize; 3] = [5, 10, 50];

/// Zero-shot retrieval on the CheXpert 8×200 set (Zhang et al. 2022, section 4.3): precision at 5,
/// 10 and 50 for each finding.
///
/// # Examples
///
/// ```no_run
/// # fn main() -> Result<(), convirt::Error> {
/// use convirt::Model;
/// use convirt::data::{Chexpert8x200, LoaderConfig};
/// use convirt::retrieval::ChexpertRetrieval;
///
/// let set = Chexpert8x200::read("lists".as_ref(), "CheXpert-v1.0".as_ref(), 0.0)?;
/// let model = Model::load("runs/2026-01-16_02-27-36_mimic")?;
/// let (images, loader) = (model.image_tower(), LoaderConfig::default());
/// let (scores, unreadable) =
///     ChexpertRetrieval::evaluate(&set, images, Some(&model), &loader, 0.01, |_, _| ())?;
/// println!("{scores}\n{} images left out", unreadable.len());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChexpertRetrieval {
    /// Number of candidates that were readable.
    pub candidates: usize,
    /// Images ranked for an image, by the encoder's output.
    pub image_to_image: RetrievalAtK,
    /// Images ranked for a sentence, by the embeddings; `None` for a model without a text encoder.
    pub text_to_image: Option<RetrievalAtK>,
}

impl ChexpertRetrieval {
    /// Embeds candidates and queries and ranks the candidates for each query.
    ///
    /// `texts` is the whole model that `images` belongs to, if it has a text encoder. `progress` is
    /// called with the number of images done and the number of all images. The images left out are
    /// returned with the result.
    ///
    /// # Errors
    ///
    /// When a query, or more than `max_bad_share` of the candidates, from 0 to 1, are unreadable;
    /// [`Error::Data`] for a batch size of 0.
    pub fn evaluate(
        set: &Chexpert8x200,
        images: &ImageModel,
        texts: Option<&Model>,
        loader: &LoaderConfig,
        max_bad_share: f64,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<(Self, Vec<Unreadable>), Error> {
        let queries: Vec<PathBuf> = set
            .image_queries
            .iter()
            .map(|query| query.input.clone())
            .collect();
        let paths: Vec<PathBuf> = set
            .candidates
            .iter()
            .map(|candidate| candidate.image.clone())
            .collect();
        let all = queries.len() + paths.len();

        let mut image_queries = Vec::new();
        for batch in images.embed_images(queries, loader, 0.0)? {
            image_queries.extend(batch?.rows(TowerOutput::Features).map(<[f32]>::to_vec));
            progress(image_queries.len(), all);
        }
        let (mut readable, mut features, mut embeddings) = (Vec::new(), Vec::new(), Vec::new());
        let mut embedded = images.embed_images(paths, loader, max_bad_share)?;
        while let Some(batch) = embedded.next() {
            let batch = batch?;
            features.extend(batch.rows(TowerOutput::Features).map(<[f32]>::to_vec));
            embeddings.extend(batch.rows(TowerOutput::Embedding).map(<[f32]>::to_vec));
            readable.extend(batch.indices);
            progress(image_queries.len() + embedded.done(), all);
        }

        let rank = |vectors: &[Vec<f32>], classes: &[usize], candidates: &[Vec<f32>]| {
            let queries = Queries {
                vectors,
                classes,
                class_names: &set.findings,
            };
            RetrievalAtK::evaluate(queries, candidates, &DEPTHS, |query, candidate| {
                Relevance::from(set.candidates[readable[candidate]].has[classes[query]])
            })
        };
        let text_to_image = match texts {
            Some(model) => {
                let sentences: Vec<&str> = set
                    .text_queries
                    .iter()
                    .map(|query| query.input.as_str())
                    .collect();
                let mut text_queries = Vec::new();
                for batch in model.embed_texts(&sentences, loader)? {
                    text_queries.extend(batch?.rows(TowerOutput::Embedding).map(<[f32]>::to_vec));
                }
                Some(rank(
                    &text_queries,
                    &findings(&set.text_queries),
                    &embeddings,
                ))
            }
            None => None,
        };
        let retrieval = Self {
            candidates: readable.len(),
            image_to_image: rank(&image_queries, &findings(&set.image_queries), &features),
            text_to_image,
        };
        Ok((retrieval, embedded.into_unreadable()))
    }
}

/// Returns the finding of each query.
fn findings<T>(queries: &[ChexpertQuery<T>]) -> Vec<usize> {
    queries.iter().map(|query| query.finding).collect()
}

impl fmt::Display for ChexpertRetrieval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let candidates = self.candidates;
        writeln!(f, "image → image, {candidates} candidates")?;
        write!(f, "{}", self.image_to_image)?;
        if let Some(text_to_image) = &self.text_to_image {
            writeln!(f, "\ntext → image, {candidates} candidates")?;
            write!(f, "{text_to_image}")?;
        }
        Ok(())
    }
}
