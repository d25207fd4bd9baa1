//! Held-out pairs, embedded and ranked for a look at single ones.

use std::collections::HashMap;
use std::path::PathBuf;

use convirt_data::{LoaderConfig, Study};

use crate::embeddings::TowerOutput;
use crate::error::Error;
use crate::pretrained::{ConVirt, similarity};

/// Held-out images and their distinct texts, each image compared with each text.
pub(super) struct HeldOut<'a> {
    /// The study of each image.
    studies: Vec<&'a Study>,
    /// For each image, the number of its text.
    text_of: Vec<usize>,
    /// For each text, its first image.
    image_of: Vec<usize>,
    /// Cosine similarity, `images` rows of `texts`.
    similarity: Vec<f32>,
}

/// How an image stands to the texts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ranking {
    pub image: usize,
    /// Rank of its own text, from 1; a tie counts against it.
    pub rank: usize,
    /// The most similar other text.
    pub best_other: usize,
    /// Similarity of its own text less that of the best other.
    pub lead: f32,
}

/// What to show of the held-out images.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Gallery {
    /// Own text first, by a wide margin.
    pub right: Vec<Ranking>,
    /// Another text first, by a hair.
    pub wrong: Vec<Ranking>,
    /// Another text first, by a wide margin: what the model is sure of and wrong.
    pub surprising: Vec<Ranking>,
}

impl<'a> HeldOut<'a> {
    /// Embeds the images and reports of `studies`; images that cannot be read are left out.
    pub(super) fn embed(
        model: &ConVirt,
        studies: &[&'a Study],
        loader: &LoaderConfig,
    ) -> Result<Self, Error> {
        let paths: Vec<PathBuf> = studies.iter().map(|study| study.image.clone()).collect();
        let (mut seen, mut images) = (Vec::new(), Vec::new());
        for batch in model.embed_images(paths, loader, 1.0)? {
            let batch = batch?;
            images.extend(batch.rows(TowerOutput::Embedding).map(<[f32]>::to_vec));
            seen.extend(batch.indices.iter().map(|&index| studies[index]));
        }
        let reports: Vec<&str> = seen.iter().map(|study| &*study.report.text).collect();
        let (text_of, image_of) = numbered(&reports);
        let distinct: Vec<&str> = image_of.iter().map(|&image| reports[image]).collect();
        let mut texts = Vec::new();
        for batch in model.embed_texts(&distinct, loader)? {
            texts.extend(batch?.rows(TowerOutput::Embedding).map(<[f32]>::to_vec));
        }
        Ok(Self {
            similarity: similarities(&images, &texts),
            studies: seen,
            text_of,
            image_of,
        })
    }

    /// The distinct texts, in the order of their numbers.
    pub(super) fn texts(&self) -> impl Iterator<Item = &'a str> {
        (0..self.image_of.len()).map(|text| self.text(text))
    }

    /// The text of a number.
    pub(super) fn text(&self, text: usize) -> &'a str {
        &self.study(self.image_of[text]).report.text
    }

    /// The number of an image's text.
    pub(super) fn text_of(&self, image: usize) -> usize {
        self.text_of[image]
    }

    /// The first images of the first `most` texts, each with that text.
    pub(super) fn first_pairs(&self, most: usize) -> impl Iterator<Item = (usize, usize)> {
        let pairs = self.image_of.iter().copied().zip(0..);
        pairs.take(most)
    }

    /// The study of an image.
    pub(super) fn study(&self, image: usize) -> &'a Study {
        self.studies[image]
    }

    /// Number of images.
    pub(super) fn images(&self) -> usize {
        self.text_of.len()
    }

    /// Cosine similarity of an image and a text.
    pub(super) fn similarity(&self, image: usize, text: usize) -> f32 {
        self.row(image)[text]
    }

    fn row(&self, image: usize) -> &[f32] {
        let texts = self.image_of.len();
        &self.similarity[image * texts..(image + 1) * texts]
    }

    fn ranking(&self, image: usize) -> Option<Ranking> {
        let (row, own) = (self.row(image), self.text_of[image]);
        let others = || row.iter().enumerate().filter(|(text, _)| *text != own);
        let (best_other, best) = others().max_by(|a, b| a.1.total_cmp(b.1))?;
        Some(Ranking {
            image,
            rank: 1 + others().filter(|(_, other)| **other >= row[own]).count(),
            best_other,
            lead: row[own] - best,
        })
    }

    /// Chooses up to `each` images of each kind; none twice, and none of a text that is shown.
    pub(super) fn gallery(&self, each: usize) -> Gallery {
        let mut rankings: Vec<_> = (0..self.images())
            .filter_map(|it| self.ranking(it))
            .collect();
        rankings.sort_by(|a, b| b.lead.total_cmp(&a.lead));
        let mut shown = Vec::new();
        let mut choose = |candidates: &mut dyn Iterator<Item = &Ranking>| {
            let mut chosen = Vec::new();
            for ranking in candidates {
                let text = self.text_of[ranking.image];
                if chosen.len() < each && !shown.contains(&text) {
                    shown.push(text);
                    chosen.push(*ranking);
                }
            }
            chosen
        };
        let wrong = || rankings.iter().filter(|it| it.rank > 1);
        Gallery {
            right: choose(&mut rankings.iter().filter(|it| it.rank == 1)),
            surprising: choose(&mut wrong().rev()),
            wrong: choose(&mut wrong()),
        }
    }
}

/// The number of each text among the distinct ones, and where each of these comes first.
fn numbered(texts: &[&str]) -> (Vec<usize>, Vec<usize>) {
    let mut numbers = HashMap::new();
    let mut first = Vec::new();
    let number = texts.iter().enumerate().map(|(place, text)| {
        *numbers.entry(*text).or_insert_with(|| {
            first.push(place);
            first.len() - 1
        })
    });
    let number = number.collect();
    (number, first)
}

fn similarities(images: &[Vec<f32>], texts: &[Vec<f32>]) -> Vec<f32> {
    let of_image = |image: &Vec<f32>| -> Vec<f32> {
        texts.iter().map(|text| similarity(image, text)).collect()
    };
    images.iter().flat_map(of_image).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images and texts as directions in the plane, in degrees.
    fn held_out(images: &[f32], texts: &[f32], names: &[&str]) -> HeldOut<'static> {
        let direction = |degrees: &f32| {
            let (sin, cos) = degrees.to_radians().sin_cos();
            vec![cos, sin]
        };
        let (text_of, image_of) = numbered(names);
        let images: Vec<_> = images.iter().map(direction).collect();
        let texts: Vec<_> = image_of
            .iter()
            .map(|&image| direction(&texts[image]))
            .collect();
        HeldOut {
            studies: Vec::new(),
            similarity: similarities(&images, &texts),
            text_of,
            image_of,
        }
    }

    #[test]
    fn right_wrong_and_surprising_are_told_apart() {
        // b: right; a: right, less clearly; c: d's text is nearer by little; d: a's text by far.
        let pairs = held_out(
            &[0.0, 60.0, 131.0, 10.0],
            &[0.0, 50.0, 120.0, 140.0],
            &["a", "b", "c", "d"],
        );
        let gallery = pairs.gallery(2);
        let images = |rankings: &[Ranking]| rankings.iter().map(|it| it.image).collect::<Vec<_>>();
        assert_eq!(images(&gallery.right), [1, 0]);
        assert_eq!(images(&gallery.surprising), [3, 2]);
        assert_eq!(gallery.surprising[0].best_other, 0);
        assert_eq!(gallery.surprising[0].rank, 4);
        assert!(gallery.wrong.is_empty(), "none is shown twice");
        assert_eq!(images(&pairs.gallery(1).wrong), [2]);
    }

    #[test]
    fn equal_texts_are_one_text() {
        let pairs = held_out(&[0.0, 5.0, 90.0], &[0.0, 0.0, 90.0], &["a", "a", "b"]);
        assert_eq!(pairs.text_of, [0, 0, 1]);
        assert_eq!(pairs.image_of, [0, 2]);
        assert_eq!(pairs.gallery(3).right.len(), 2, "one image of each text");
        assert!((pairs.similarity(2, 1) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_single_text_has_no_other() {
        let pairs = held_out(&[0.0, 5.0], &[0.0, 0.0], &["a", "a"]);
        assert_eq!(pairs.gallery(3), Gallery::default());
    }
}
