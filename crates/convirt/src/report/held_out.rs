//! Held-out pairs, embedded and ranked for a look at single ones.

use std::collections::HashMap;

use crate::evaluation::Embedded;

/// Held-out images and their distinct texts, each image compared with each text.
pub(super) struct HeldOut {
    /// Place of each image's study in the data set.
    pub indices: Vec<usize>,
    /// For each image, the number of its text.
    pub text_of: Vec<usize>,
    /// For each text, an image of it.
    pub image_of: Vec<usize>,
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

impl HeldOut {
    /// Compares the pairs; `texts` are those of the studies embedded, in the same order.
    pub(super) fn new(embedded: &Embedded, texts: &[&str]) -> Self {
        let mut numbers = HashMap::new();
        let mut image_of = Vec::new();
        let text_of: Vec<usize> = texts
            .iter()
            .enumerate()
            .map(|(image, text)| {
                *numbers.entry(*text).or_insert_with(|| {
                    image_of.push(image);
                    image_of.len() - 1
                })
            })
            .collect();
        let similarity = embedded.images.iter().flat_map(|image| {
            let texts = image_of.iter().map(|&text| &embedded.texts[text]);
            texts.map(move |text| image.iter().zip(text).map(|(a, b)| a * b).sum())
        });
        Self {
            similarity: similarity.collect(),
            indices: embedded.indices.clone(),
            text_of,
            image_of,
        }
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
        let mut rankings: Vec<_> = (0..self.images()).filter_map(|it| self.ranking(it)).collect();
        rankings.sort_by(|a, b| b.lead.total_cmp(&a.lead));
        let mut shown = Vec::new();
        let mut choose = |candidates: &mut dyn Iterator<Item = &Ranking>| {
            let is_new = |ranking: &&Ranking| {
                let text = self.text_of[ranking.image];
                let is_new = !shown.contains(&text);
                if is_new {
                    shown.push(text);
                }
                is_new
            };
            candidates.filter(is_new).take(each).copied().collect()
        };
        let wrong = || rankings.iter().filter(|it| it.rank > 1);
        Gallery {
            right: choose(&mut rankings.iter().filter(|it| it.rank == 1)),
            surprising: choose(&mut wrong().rev()),
            wrong: choose(&mut wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images and texts as directions in the plane, in degrees.
    fn held_out(images: &[f32], texts: &[f32], names: &[&str]) -> HeldOut {
        let direction = |degrees: &f32| {
            let (sin, cos) = degrees.to_radians().sin_cos();
            vec![cos, sin]
        };
        let embedded = Embedded {
            images: images.iter().map(direction).collect(),
            texts: texts.iter().map(direction).collect(),
            indices: (0..images.len()).collect(),
        };
        HeldOut::new(&embedded, names)
    }

    #[test]
    fn right_wrong_and_surprising_are_told_apart() {
        // a: right; b: right, less clearly; c: d's text is nearer by little; d: a's text by far.
        let pairs = held_out(
            &[0.0, 60.0, 131.0, 10.0],
            &[0.0, 50.0, 120.0, 140.0],
            &["a", "b", "c", "d"],
        );
        let gallery = pairs.gallery(2);
        let images = |rankings: &[Ranking]| rankings.iter().map(|it| it.image).collect::<Vec<_>>();
        assert_eq!(images(&gallery.right), [0, 1]);
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
