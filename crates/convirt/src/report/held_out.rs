//! Held-out pairs, ranked to choose examples for the report.

use std::collections::HashSet;

use convirt_data::{Distinct, Study};

use crate::inference::similarity;
use crate::retrieval::EmbeddedPairs;

/// Held-out images and their distinct texts, with the similarity of each image to each text.
pub(super) struct HeldOut<'a> {
    /// The first study of each image.
    studies: Vec<&'a Study>,
    /// The number of the text of each image's study.
    distinct: Distinct,
    /// The numbers of all texts that are paired with each image.
    texts_of: Vec<HashSet<usize>>,
    /// Cosine similarities, `[images, texts]`, flat.
    similarity: Vec<f32>,
}

/// How an image ranks its own text among all texts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ranking {
    pub image: usize,
    /// Rank of its own text, from 1, and the worst of tied ranks.
    pub rank: usize,
    /// The most similar other text.
    pub best_other: usize,
    /// Similarity of its own text minus that of the best other text.
    pub lead: f32,
}

/// The held-out images to show.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Gallery {
    /// Images whose own text comes first, by the widest margin.
    pub right: Vec<Ranking>,
    /// Images for which another text comes first, by the narrowest margin.
    pub wrong: Vec<Ranking>,
    /// Images for which another text comes first, by the widest margin.
    pub surprising: Vec<Ranking>,
}

impl Gallery {
    /// Returns why no image is shown as wrong by a narrow margin.
    pub(super) fn none_wrong(&self) -> &'static str {
        if self.surprising.is_empty() {
            "None."
        } else {
            "All of them are shown below."
        }
    }
}

impl<'a> HeldOut<'a> {
    /// Compares up to `max_pairs` evenly spaced images with all of their texts.
    pub(super) fn new(pairs: &EmbeddedPairs<'a>, max_pairs: usize) -> Self {
        let chosen: Vec<usize> = evenly_spaced(pairs.images.len(), max_pairs).collect();
        let first_pairs = chosen.iter().map(|&image| pairs.image_of.first[image]);
        let first_pairs: Vec<usize> = first_pairs.collect();
        let text_of = first_pairs.iter().map(|&pair| pairs.text_of.of_pair[pair]);
        let text_of: Vec<usize> = text_of.collect();
        let distinct = Distinct::new(&text_of);
        let compared = distinct.first.iter().map(|&image| text_of[image]);
        let compared: Vec<usize> = compared.collect();
        let image_text_pairs: HashSet<(usize, usize)> = pairs.numbers().into_iter().collect();
        let texts_of = chosen.iter().map(|&image| {
            let texts = compared.iter().enumerate();
            let own = texts.filter(|(_, text)| image_text_pairs.contains(&(image, **text)));
            own.map(|(number, _)| number).collect()
        });
        let texts: Vec<_> = compared.iter().map(|&text| &*pairs.texts[text]).collect();
        let images: Vec<_> = chosen.iter().map(|&image| &*pairs.images[image]).collect();
        Self {
            texts_of: texts_of.collect(),
            studies: first_pairs
                .iter()
                .map(|&pair| pairs.studies[pair])
                .collect(),
            similarity: similarities(&images, &texts),
            distinct,
        }
    }

    /// Returns the number of distinct texts.
    pub(super) fn texts(&self) -> usize {
        self.distinct.first.len()
    }

    /// Returns the text with a number.
    pub(super) fn text(&self, text: usize) -> &'a str {
        &self.study(self.distinct.first[text]).report.text
    }

    /// Returns the number of an image's text.
    pub(super) fn text_of(&self, image: usize) -> usize {
        self.distinct.of_pair[image]
    }

    /// Iterates over the first `max_pairs` texts, each with its first image: `(image, text)`.
    pub(super) fn first_pairs(&self, max_pairs: usize) -> impl Iterator<Item = (usize, usize)> {
        let pairs = self.distinct.first.iter().copied().zip(0..);
        pairs.take(max_pairs)
    }

    /// Returns the study of an image.
    pub(super) fn study(&self, image: usize) -> &'a Study {
        self.studies[image]
    }

    /// Returns the number of images.
    pub(super) fn images(&self) -> usize {
        self.distinct.of_pair.len()
    }

    /// Returns the cosine similarity of an image and a text.
    pub(super) fn similarity(&self, image: usize, text: usize) -> f32 {
        self.row(image)[text]
    }

    fn row(&self, image: usize) -> &[f32] {
        let texts = self.texts();
        &self.similarity[image * texts..(image + 1) * texts]
    }

    fn ranking(&self, image: usize) -> Option<Ranking> {
        let (row, own) = (self.row(image), self.text_of(image));
        let is_other = |text: &usize| !self.texts_of[image].contains(text);
        let others = || row.iter().enumerate().filter(|(text, _)| is_other(text));
        let (best_other, best) = others().max_by(|a, b| a.1.total_cmp(b.1))?;
        Some(Ranking {
            image,
            rank: 1 + others().filter(|(_, other)| **other >= row[own]).count(),
            best_other,
            lead: row[own] - best,
        })
    }

    /// Chooses up to `max_images` images of each kind, with at most one image of each text.
    pub(super) fn gallery(&self, max_images: usize) -> Gallery {
        let mut rankings: Vec<_> = (0..self.images())
            .filter_map(|image| self.ranking(image))
            .collect();
        rankings.sort_by(|a, b| b.lead.total_cmp(&a.lead));
        let mut shown_texts = Vec::new();
        let mut choose = |candidates: &mut dyn Iterator<Item = &Ranking>| {
            let mut chosen = Vec::new();
            for ranking in candidates {
                let text = self.text_of(ranking.image);
                if chosen.len() < max_images && !shown_texts.contains(&text) {
                    shown_texts.push(text);
                    chosen.push(*ranking);
                }
            }
            chosen
        };
        let wrong = || rankings.iter().filter(|ranking| ranking.rank > 1);
        Gallery {
            right: choose(&mut rankings.iter().filter(|ranking| ranking.rank == 1)),
            surprising: choose(&mut wrong().rev()),
            wrong: choose(&mut wrong()),
        }
    }
}

/// Returns up to `max` evenly spaced positions below `count`.
pub(crate) fn evenly_spaced(count: usize, max: usize) -> impl Iterator<Item = usize> {
    (0..count).step_by(count.div_ceil(max).max(1))
}

/// Returns the similarity of each image to each text, `[images, texts]`, flat.
fn similarities(images: &[&[f32]], texts: &[&[f32]]) -> Vec<f32> {
    let row =
        |image: &&[f32]| -> Vec<f32> { texts.iter().map(|text| similarity(image, text)).collect() };
    images.iter().flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use convirt_data::Report;

    use super::*;

    /// Creates pairs whose embeddings are directions in the plane, in degrees.
    fn held_out(images: &[f32], texts: &[f32], names: &[&str]) -> HeldOut<'static> {
        let direction = |degrees: &f32| {
            let (sin, cos) = degrees.to_radians().sin_cos();
            vec![cos, sin]
        };
        let images: Vec<_> = images.iter().map(direction).collect();
        let text_of = Distinct::new(names);
        let texts = text_of.first.iter().map(|&image| direction(&texts[image]));
        let pairs = EmbeddedPairs {
            studies: vec![&STUDY; names.len()],
            image_of: Distinct::new(0..names.len()),
            texts: texts.collect(),
            images,
            text_of,
        };
        HeldOut::new(&pairs, names.len())
    }

    static STUDY: LazyLock<Study> = LazyLock::new(|| Study {
        row: 1,
        image: "image.png".into(),
        image_size: [1, 1],
        image_content: 0,
        report: Report::default(),
        group: String::new(),
        split: None,
    });

    #[test]
    fn images_are_sorted_into_right_wrong_and_surprising() {
        // b is right by the widest margin and a by a smaller one. For c, the text of d is slightly
        // nearer; for d, the text of a is much nearer.
        let pairs = held_out(
            &[0.0, 60.0, 131.0, 10.0],
            &[0.0, 50.0, 120.0, 140.0],
            &["a", "b", "c", "d"],
        );
        let gallery = pairs.gallery(2);
        let images = |rankings: &[Ranking]| -> Vec<usize> {
            rankings.iter().map(|ranking| ranking.image).collect()
        };
        assert_eq!(images(&gallery.right), [1, 0]);
        assert_eq!(images(&gallery.surprising), [3, 2]);
        assert_eq!(gallery.surprising[0].best_other, 0);
        assert_eq!(gallery.surprising[0].rank, 4);
        assert!(gallery.wrong.is_empty(), "none is shown twice");
        assert_eq!(gallery.none_wrong(), "All of them are shown below.");
        assert_eq!(Gallery::default().none_wrong(), "None.");
        assert_eq!(images(&pairs.gallery(1).wrong), [2]);
    }

    #[test]
    fn equal_texts_are_one_text() {
        let pairs = held_out(&[0.0, 5.0, 90.0], &[0.0, 0.0, 90.0], &["a", "a", "b"]);
        assert_eq!(pairs.distinct.of_pair, [0, 0, 1]);
        assert_eq!(pairs.distinct.first, [0, 2]);
        assert_eq!(pairs.gallery(3).right.len(), 2, "one image of each text");
        assert!((pairs.similarity(2, 1) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_chosen_images_are_evenly_spaced() {
        let chosen = |count, max_pairs| evenly_spaced(count, max_pairs).collect::<Vec<_>>();
        assert_eq!(chosen(3, 400), [0, 1, 2]);
        assert_eq!(chosen(10, 4), [0, 3, 6, 9]);
        assert!(chosen(0, 4).is_empty());
    }

    #[test]
    fn a_single_text_has_no_other() {
        let pairs = held_out(&[0.0, 5.0], &[0.0, 0.0], &["a", "a"]);
        assert_eq!(pairs.gallery(3), Gallery::default());
    }
}
