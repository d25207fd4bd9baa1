//! Zero-shot classification: classes are described by prompts, without any training labels.

mod error;
mod prompts;

use std::path::{Path, PathBuf};

use convirt_data::{
    FileError, LabelledImage, LabelledManifest, Labels, LoaderConfig, NewFile, Unreadable,
    path_text,
};

use crate::error::Error;
use crate::inference::{Model, TowerOutput, similarity};
use crate::logging::Bar;
use crate::scores::{Bootstrap, ClassificationScores, sigmoid, softmax};

pub use error::ZeroShotError;
pub use prompts::{ClassPrompts, ZeroShotPrompts};

/// A zero-shot classifier: a model with prompts for each class.
///
/// A class is represented by the mean embedding of its prompts, scaled to L2 norm 1. Without
/// negative prompts, the classes are mutually exclusive: their probabilities are a softmax over
/// cos/τ, as in CLIP ([Radford et al. 2021](https://arxiv.org/abs/2103.00020)). With negative
/// prompts, the classes are independent: each probability is a softmax over the positive and the
/// negative embedding, as in CheXzero ([Tiu et al.
/// 2022](https://doi.org/10.1038/s41551-022-00936-9)). τ is the model's temperature.
///
/// # Examples
///
/// ```no_run
/// # fn main() -> Result<(), convirt::Error> {
/// use convirt::Model;
/// use convirt::zero_shot::{ZeroShot, ZeroShotPrompts};
///
/// let model = Model::load("runs/2026-01-16_02-27-36_phantom")?;
/// let prompts = ZeroShotPrompts::from_file("prompts.yaml")?;
/// let classifier = ZeroShot::new(&model, &prompts)?;
/// let probabilities = classifier.probabilities(&model.embed_image("chest.png")?);
/// for (class, probability) in classifier.classes().iter().zip(probabilities) {
///     println!("{probability:.3} {class}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ZeroShot<'a> {
    model: &'a Model,
    names: Vec<String>,
    /// Mean embedding of the positive prompts of each class.
    positive: Vec<Vec<f32>>,
    /// Mean embedding of the negative prompts of each class; empty if there are none.
    negative: Vec<Vec<f32>>,
}

/// The predictions of a [`ZeroShot`] classifier for many images.
#[derive(Debug)]
pub struct ZeroShotPredictions {
    /// The classes, in the order of the probabilities.
    pub classes: Vec<String>,
    /// Positions of the images in the list given, ascending, without those of unreadable images.
    pub indices: Vec<usize>,
    /// Probabilities, `[indices, classes]`, flat.
    pub probabilities: Vec<f32>,
    /// The images left out.
    pub unreadable: Vec<Unreadable>,
}

impl<'a> ZeroShot<'a> {
    /// Creates a classifier by embedding the prompts with `model`.
    ///
    /// # Errors
    ///
    /// When the tokenizer cannot encode a prompt.
    pub fn new(model: &'a Model, prompts: &ZeroShotPrompts) -> Result<Self, Error> {
        let classes = prompts.classes();
        let embed = |select: fn(&ClassPrompts) -> &Vec<String>| -> Result<Vec<_>, Error> {
            let prompts = classes.values().map(select);
            let prompts = prompts.filter(|prompts| !prompts.is_empty());
            prompts
                .map(|prompts| mean_embedding(model, prompts))
                .collect()
        };
        Ok(Self {
            model,
            names: classes.keys().cloned().collect(),
            positive: embed(|class| &class.positive)?,
            negative: embed(|class| &class.negative)?,
        })
    }

    /// Returns the classes, in the order of the probabilities.
    pub fn classes(&self) -> &[String] {
        &self.names
    }

    /// Returns whether the classes are mutually exclusive: there are no negative prompts.
    pub fn is_exclusive(&self) -> bool {
        self.negative.is_empty()
    }

    /// Returns the probabilities of the classes for an image, given its embedding at L2 norm 1.
    ///
    /// # Panics
    ///
    /// When the embedding does not have the model's `d_embedding` numbers.
    pub fn probabilities(&self, image: &[f32]) -> Vec<f32> {
        let temperature = self.model.network().loss.temperature();
        let logits = |class_embeddings: &[Vec<f32>]| -> Vec<f64> {
            let cosines = class_embeddings
                .iter()
                .map(|class| f64::from(similarity(image, class)));
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

    /// Predicts the probabilities of the classes for many image files.
    ///
    /// # Errors
    ///
    /// When there are no images, or more than `max_bad_share` of them, from 0 to 1, cannot be read.
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

    /// Scores predictions for the images of a manifest, which were predicted in its order.
    ///
    /// # Errors
    ///
    /// [`ZeroShotError::NoPrompts`] for a label without a class of the same name, and
    /// [`ZeroShotError::ExclusiveClasses`] when there are several findings, but the classes are
    /// mutually exclusive.
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
        let run: Vec<f32> = rows
            .flat_map(|row| columns.iter().map(|column| row[*column]))
            .collect();
        Ok(ClassificationScores::evaluate(
            &manifest.labels,
            &images,
            &[run],
            bootstrap,
        ))
    }

    /// Checks that the classes can predict the given labels.
    ///
    /// # Errors
    ///
    /// As [`score`](Self::score).
    pub fn check(&self, labels: &Labels) -> Result<(), ZeroShotError> {
        self.columns(labels).map(drop)
    }

    /// Returns the position of each label among the classes.
    fn columns(&self, labels: &Labels) -> Result<Vec<usize>, ZeroShotError> {
        if matches!(labels, Labels::Findings(names) if names.len() > 1) && self.is_exclusive() {
            return Err(ZeroShotError::ExclusiveClasses);
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
    /// Writes a CSV file with the path and the probabilities of each image, and the folders above
    /// it.
    ///
    /// `images` is the list that was given to [`ZeroShot::predict`].
    ///
    /// # Errors
    ///
    /// [`FileError::Write`] when the file cannot be written.
    pub fn write_csv(&self, images: &[PathBuf], path: impl AsRef<Path>) -> Result<(), FileError> {
        let path = path.as_ref();
        let in_memory = "a table in memory can be written";
        let mut table = csv::Writer::from_writer(Vec::new());
        let image = ["image".to_string()];
        let header = image.iter().chain(&self.classes);
        table.write_record(header).expect(in_memory);
        let rows = self.probabilities.chunks_exact(self.classes.len());
        for (index, row) in self.indices.iter().zip(rows) {
            let image = [path_text(&images[*index]).into_owned()];
            let row = row.iter().map(|probability| format!("{probability:.6}"));
            let row = image.into_iter().chain(row);
            table.write_record(row).expect(in_memory);
        }
        let table = table.into_inner().expect(in_memory);
        NewFile::write_whole(path, &table).map_err(FileError::write(path))
    }
}

/// Returns the mean of the prompts' embeddings, scaled to L2 norm 1.
fn mean_embedding(model: &Model, prompts: &[String]) -> Result<Vec<f32>, Error> {
    let mut sum: Vec<f32> = Vec::new();
    for prompt in prompts {
        let embedding = model.embed_text(prompt)?;
        sum.resize(embedding.len(), 0.0);
        sum.iter_mut()
            .zip(embedding)
            .for_each(|(sum, part)| *sum += part);
    }
    let norm = similarity(&sum, &sum).sqrt().max(1e-12);
    Ok(sum.into_iter().map(|part| part / norm).collect())
}
