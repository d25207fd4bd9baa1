//! Classes told by what is said of them: no classifier, no training labels.

mod error;
mod prompts;

use std::path::{Path, PathBuf};

use convirt_data::{
    FileError, LabelledImage, LabelledManifest, Labels, LoaderConfig, Unreadable, path_text,
};

use crate::error::Error;
use crate::inference::{Model, TowerOutput, similarity};
use crate::logging::Bar;
use crate::scores::{Bootstrap, ClassificationScores, sigmoid, softmax};

pub use error::ZeroShotError;
pub use prompts::{ClassPrompts, ZeroShotPrompts};

/// A model with prompts, telling classes of images.
///
/// A class stands where the mean of its prompts' embeddings points, each at length 1. Without
/// negative prompts classes exclude each other: their probabilities are a softmax over cos/τ, as
/// in CLIP ([Radford et al. 2021](https://arxiv.org/abs/2103.00020)). With them each is by itself:
/// a softmax over its positive and its negative direction, as in CheXzero ([Tiu et al.
/// 2022](https://doi.org/10.1038/s41551-022-00936-9)). τ is the model's temperature.
#[derive(Debug)]
pub struct ZeroShot<'a> {
    model: &'a Model,
    names: Vec<String>,
    /// A direction for each class.
    positive: Vec<Vec<f32>>,
    /// The opposite of each, or none.
    negative: Vec<Vec<f32>>,
}

/// What a [`ZeroShot`] says of many images.
#[derive(Debug)]
pub struct ZeroShotPredictions {
    /// The classes, in the order of the probabilities.
    pub classes: Vec<String>,
    /// Places of the images in the list that was given, ascending; those of unreadable ones are
    /// absent.
    pub indices: Vec<usize>,
    /// `[indices, classes]`, flat.
    pub probabilities: Vec<f32>,
    /// The images left out.
    pub unreadable: Vec<Unreadable>,
}

impl<'a> ZeroShot<'a> {
    /// Embeds the prompts.
    ///
    /// # Errors
    ///
    /// When the tokenizer cannot encode one.
    pub fn new(model: &'a Model, prompts: &ZeroShotPrompts) -> Result<Self, Error> {
        let classes = prompts.classes();
        let directions = |of: fn(&ClassPrompts) -> &Vec<String>| -> Result<Vec<Vec<f32>>, Error> {
            let texts = classes.values().map(of).filter(|texts| !texts.is_empty());
            texts.map(|texts| direction(model, texts)).collect()
        };
        Ok(Self {
            model,
            names: classes.keys().cloned().collect(),
            positive: directions(|class| &class.positive)?,
            negative: directions(|class| &class.negative)?,
        })
    }

    /// The classes, in the order of the probabilities.
    pub fn classes(&self) -> &[String] {
        &self.names
    }

    /// Whether exactly one class holds of an image.
    pub fn is_exclusive(&self) -> bool {
        self.negative.is_empty()
    }

    /// Probabilities of the classes of an image, by its embedding at L2 norm 1.
    ///
    /// # Panics
    ///
    /// When the embedding is not of the model's length.
    pub fn probabilities(&self, image: &[f32]) -> Vec<f32> {
        let temperature = self.model.network().loss.temperature();
        let logits = |directions: &[Vec<f32>]| -> Vec<f64> {
            let cosines = directions
                .iter()
                .map(|text| f64::from(similarity(image, text)));
            cosines.map(|cosine| cosine / temperature).collect()
        };
        let positive = logits(&self.positive);
        let probabilities = if self.is_exclusive() {
            softmax(&positive)
        } else {
            let negative = logits(&self.negative);
            let pairs = positive.into_iter().zip(negative);
            pairs
                .map(|(positive, negative)| sigmoid(positive - negative))
                .collect()
        };
        probabilities
            .into_iter()
            .map(|probability| probability as f32)
            .collect()
    }

    /// Probabilities of the classes of many images; `max_bad_share` is the share of unreadable
    /// ones that is borne, from 0 to 1.
    ///
    /// # Errors
    ///
    /// When there are no images, or too many cannot be read.
    pub fn predict(
        &self,
        images: &[PathBuf],
        loader: &LoaderConfig,
        max_bad_share: f64,
    ) -> Result<ZeroShotPredictions, Error> {
        let bar = Bar::new("embedding", images.len(), "images");
        let mut batches = self.model.embed_images(images, loader, max_bad_share)?;
        let (mut indices, mut probabilities) = (Vec::new(), Vec::new());
        let mut done = 0;
        while let Some(batch) = batches.next() {
            let batch = batch?;
            for embedding in batch.rows(TowerOutput::Embedding) {
                probabilities.extend(self.probabilities(embedding));
            }
            indices.extend(batch.indices);
            bar.advance(batches.done() - done);
            done = batches.done();
        }
        Ok(ZeroShotPredictions {
            classes: self.names.clone(),
            indices,
            probabilities,
            unreadable: batches.into_unreadable(),
        })
    }

    /// Scores predictions for the images of a manifest, in its order.
    ///
    /// # Errors
    ///
    /// [`ZeroShotError::NoPrompts`] for a label without a class of its name, and
    /// [`ZeroShotError::FindingsExclude`] where several findings meet classes that exclude each
    /// other.
    pub fn score(
        &self,
        predictions: &ZeroShotPredictions,
        manifest: &LabelledManifest,
        bootstrap: &Bootstrap,
    ) -> Result<ClassificationScores, Error> {
        let columns = self.columns(&manifest.labels)?;
        let images: Vec<LabelledImage> = predictions
            .indices
            .iter()
            .map(|index| manifest.images[*index].clone())
            .collect();
        let rows = predictions.probabilities.chunks_exact(self.names.len());
        let told = rows.flat_map(|row| columns.iter().map(|column| row[*column]));
        let told = vec![told.collect()];
        Ok(ClassificationScores::evaluate(
            &manifest.labels,
            &images,
            &told,
            bootstrap,
        ))
    }

    /// Checks that labels can be told by the classes.
    ///
    /// # Errors
    ///
    /// As [`score`](Self::score).
    pub fn check(&self, labels: &Labels) -> Result<(), ZeroShotError> {
        self.columns(labels).map(drop)
    }

    /// The class of each label.
    fn columns(&self, labels: &Labels) -> Result<Vec<usize>, ZeroShotError> {
        if matches!(labels, Labels::Findings(names) if names.len() > 1) && self.is_exclusive() {
            return Err(ZeroShotError::FindingsExclude);
        }
        let column = |label: &String| {
            let column = self.names.iter().position(|name| name == label);
            column.ok_or_else(|| ZeroShotError::NoPrompts {
                label: label.clone(),
                found: self.names.clone(),
            })
        };
        labels.names().iter().map(column).collect()
    }
}

impl ZeroShotPredictions {
    /// Writes a CSV with the path and the probabilities of each image; `images` is the list that
    /// they were made of.
    ///
    /// # Errors
    ///
    /// [`FileError::Write`] when the file cannot be written.
    pub fn write_csv(&self, images: &[PathBuf], path: impl AsRef<Path>) -> Result<(), FileError> {
        let path = path.as_ref();
        let write = || -> csv::Result<()> {
            let mut file = csv::Writer::from_path(path)?;
            let image = ["image".to_string()];
            file.write_record(image.iter().chain(&self.classes))?;
            let rows = self.probabilities.chunks_exact(self.classes.len());
            for (index, row) in self.indices.iter().zip(rows) {
                let image = [path_text(&images[*index]).into_owned()];
                let row = row.iter().map(|probability| format!("{probability:.6}"));
                file.write_record(image.into_iter().chain(row))?;
            }
            Ok(file.flush()?)
        };
        write().map_err(|error| FileError::write(path)(error.into()))
    }
}

/// Where a class's texts point, at L2 norm 1.
fn direction(model: &Model, texts: &[String]) -> Result<Vec<f32>, Error> {
    let mut sum: Vec<f32> = Vec::new();
    for text in texts {
        let embedding = model.embed_text(text)?;
        sum.resize(embedding.len(), 0.0);
        sum.iter_mut()
            .zip(embedding)
            .for_each(|(sum, part)| *sum += part);
    }
    let norm = similarity(&sum, &sum).sqrt().max(1e-12);
    Ok(sum.into_iter().map(|part| part / norm).collect())
}
