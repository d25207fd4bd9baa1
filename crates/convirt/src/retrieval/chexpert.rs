//! The CheXpert 8×200 protocol.

use std::fmt;
use std::iter;
use std::path::PathBuf;

use convirt_data::{Chexpert8x200, ChexpertQuery, LoaderConfig, Unreadable};
use serde::Serialize;

use super::at_k::{Answer, Queries, RetrievalAtK};
use crate::error::Error;
use crate::inference::{ImageModel, Model, TowerOutput};

/// The depths of the paper's table.
const DEPTHS: [usize; 3] = [5, 10, 50];

/// Retrieval without any training on CheXpert (Zhang et al. 2022, section 4.3): precision among
/// the first 5, 10 and 50 of the candidates, by finding.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChexpertRetrieval {
    /// Candidates that were readable.
    pub candidates: usize,
    /// Images by an image, compared by the encoder's output.
    pub image_to_image: RetrievalAtK,
    /// Images by a sentence, compared in the space that both share; a model of images alone has
    /// none.
    pub text_to_image: Option<RetrievalAtK>,
}

impl ChexpertRetrieval {
    /// Embeds candidates and queries and ranks the candidates for each query.
    ///
    /// `texts` is the whole model that `images` is a part of, where there is one. `progress` is
    /// told the images done and those in all. Returns the images left out beside the result.
    ///
    /// # Errors
    ///
    /// When more than `max_bad_share` of the candidates, from 0 to 1, or one query are unreadable;
    /// [`Error::Data`] for a batch of none.
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

        let mut asked = Vec::new();
        let mut embedded = images.embed_images(queries, loader, 0.0)?;
        for batch in iter::from_fn(|| embedded.next()) {
            let batch = batch?;
            asked.extend(batch.rows(TowerOutput::Features).map(<[f32]>::to_vec));
            progress(asked.len(), all);
        }
        let (mut places, mut features, mut embeddings) = (Vec::new(), Vec::new(), Vec::new());
        let mut embedded = images.embed_images(paths, loader, max_bad_share)?;
        while let Some(batch) = embedded.next() {
            let batch = batch?;
            features.extend(batch.rows(TowerOutput::Features).map(<[f32]>::to_vec));
            embeddings.extend(batch.rows(TowerOutput::Embedding).map(<[f32]>::to_vec));
            places.extend(batch.indices);
            progress(asked.len() + embedded.done(), all);
        }

        let rank = |asked: &[Vec<f32>], classes: &[usize], candidates: &[Vec<f32>]| {
            let queries = Queries {
                vectors: asked,
                classes,
                class_names: &set.findings,
            };
            RetrievalAtK::evaluate(queries, candidates, &DEPTHS, |query, candidate| {
                match set.candidates[places[candidate]].has[classes[query]] {
                    true => Answer::Right,
                    false => Answer::Wrong,
                }
            })
        };
        let text_to_image = match texts {
            Some(model) => {
                let sentences: Vec<&str> = set
                    .text_queries
                    .iter()
                    .map(|query| query.input.as_str())
                    .collect();
                let mut asked = Vec::new();
                for batch in model.embed_texts(&sentences, loader)? {
                    asked.extend(batch?.rows(TowerOutput::Embedding).map(<[f32]>::to_vec));
                }
                Some(rank(&asked, &findings(&set.text_queries), &embeddings))
            }
            None => None,
        };
        let retrieval = Self {
            candidates: places.len(),
            image_to_image: rank(&asked, &findings(&set.image_queries), &features),
            text_to_image,
        };
        Ok((retrieval, embedded.into_unreadable()))
    }
}

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
