//! Retrieval among the held-out pairs while a run trains.

use burn::tensor::Tensor;
use convirt_data::{Distinct, Study};

use crate::inference::unit_rows;
use crate::retrieval::Retrieval;

/// Maximum number of pairs that are ranked at each evaluation; ranking takes time with its square.
const MAX_PAIRS: usize = 5_000;

/// Which held-out pairs have an image or a text in common.
pub(crate) struct HeldOutPairs {
    /// The number of each study's image; files of equal content are one image.
    image_of: Vec<usize>,
    /// The number of each study's text.
    text_of: Vec<usize>,
}

/// The embeddings of one evaluation.
#[derive(Default)]
pub(crate) struct Embeddings {
    /// Position of each study.
    studies: Vec<usize>,
    images: Vec<Vec<f32>>,
    texts: Vec<Vec<f32>>,
}

impl HeldOutPairs {
    /// Compares the images and texts of the held-out studies.
    pub fn new(studies: &[Study]) -> Self {
        Self {
            image_of: Distinct::new(studies.iter().map(|study| study.image_content)).of_pair,
            text_of: Distinct::new(studies.iter().map(|study| &study.report.text)).of_pair,
        }
    }

    /// Ranks the images and texts of an evaluation; `None` without embeddings.
    pub fn retrieval(&self, embeddings: Embeddings) -> Option<Retrieval> {
        let Embeddings {
            studies,
            images,
            texts,
        } = embeddings;
        if studies.is_empty() {
            return None;
        }
        let number = |numbers: &[usize]| Distinct::new(studies.iter().map(|it| numbers[*it]));
        let (image_of, text_of) = (number(&self.image_of), number(&self.text_of));
        let first_rows = |rows: &[Vec<f32>], of: &Distinct| -> Vec<Vec<f32>> {
            of.first.iter().map(|row| rows[*row].clone()).collect()
        };
        let (images, texts) = (first_rows(&images, &image_of), first_rows(&texts, &text_of));
        let pairs: Vec<_> = image_of.of_pair.into_iter().zip(text_of.of_pair).collect();
        Some(Retrieval::evaluate(&images, &texts, &pairs))
    }
}

impl Embeddings {
    /// Adds the embeddings of a batch, not normalized, each `[batch, d_embedding]`. Embeddings that
    /// are not finite are left out: the loss of their batch is an error of its own.
    pub fn add(&mut self, studies: &[usize], [images, texts]: [Tensor<2>; 2]) {
        if self.studies.len() >= MAX_PAIRS {
            return;
        }
        let rows = |embeddings: Tensor<2>| -> Option<Vec<Vec<f32>>> {
            let width = embeddings.dims()[1];
            let rows = unit_rows(embeddings, |row| studies[row].to_string()).ok()?;
            Some(rows.chunks_exact(width).map(<[f32]>::to_vec).collect())
        };
        if let (Some(images), Some(texts)) = (rows(images), rows(texts)) {
            self.studies.extend(studies);
            self.images.extend(images);
            self.texts.extend(texts);
        }
    }
}
