//! Held-out pairs, ranked for a look at single ones.

use std::collections::HashSet;

use convirt_data::{Distinct, Study};

use crate::inference::similarity;
use crate::retrieval::EmbeddedPairs;

/// Held-out images and their distinct texts, each image compared with each text.
pub(super) struct HeldOut<'a> {
    /// The study of each image, the first of several.
    studies: Vec<&'a Study>,
    /// The text of each image's study.
    distinct: Distinct,
    /// All texts of each image, of those that are compared.
    texts_of: Vec<HashSet<usize>>,
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
    /// Compares up to `max_pairs` of the images, evenly chosen, with all of their texts.
    pub(super) fn new(pairs: &EmbeddedPairs<'a>, max_pairs: usize) -> Self {
        let chosen: Vec<usize> = evenly(pairs.images.len(), max_pairs).collect();
        let first_pairs = chosen.iter().map(|&image| pairs.image_of.first[image]);
        let first_pairs: Vec<usize> = first_pairs.collect();
        let text_of = first_pairs.iter().map(|&pair| pairs.text_of.of_pair[pair]);
        let text_of: Vec<usize> = text_of.collect();
        let distinct = Distinct::new(&text_of);
        let compared: Vec<usize> = distinct.first.iter().map(|&it| text_of[it]).collect();
        let belongs: HashSet<(usize, usize)> = pairs.numbers().into_iter().collect();
        let texts_of = chosen.iter().map(|&image| {
            let texts = compared.iter().enumerate();
            let own = texts.filter(|(_, text)| belongs.contains(&(image, **text)));
            own.map(|(place, _)| place).collect()
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

    /// Number of distinct texts.
    pub(super) fn texts(&self) -> usize {
        self.distinct.first.len()
    }

    /// The text of a number.
    pub(super) fn text(&self, text: usize) -> &'a str {
        &self.study(self.distinct.first[text]).report.text
    }

    /// The number of an image's text.
    pub(super) fn text_of(&self, image: usize) -> usize {
        self.distinct.of_pair[image]
    }

    /// The first images of the first `max_pairs` texts, each with that text.
    pub(super) fn first_pairs(&self, max_pairs: usize) -> impl Iterator<Item = (usize, usize)> {
        let pairs = self.distinct.first.iter().copied().zip(0..);
        pairs.take(max_pairs)
    }

    /// The study of an image.
    pub(super) fn study(&self, image: usize) -> &'a Study {
        self.studies[image]
    }

    /// Number of images.
    pub(super) fn images(&self) -> usize {
        self.distinct.of_pair.len()
    }

    /// Cosine similarity of an image and a text.
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
                let text = self.text_of(ranking.image);
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

/// Up to `max_pairs` of the places before `count`, equally far apart.
pub(super) fn evenly(count: usize, max_pairs: usize) -> impl Iterator<Item = usize> {
    (0..count).step_by(count.div_ceil(max_pairs).max(1))
}

/// Row by row, an image each.
fn similarities(images: &[&[f32]], texts: &[&[f32]]) -> Vec<f32> {
    let of_image =
        |image: &&[f32]| -> Vec<f32> { texts.iter().map(|text| similarity(image, text)).collect() };
    images.iter().flat_map(of_image).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use convirt_data::Report;

    use super::*;

    /// Images and texts as directions in the plane, in degrees.
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
        assert_eq!(pairs.distinct.of_pair, [0, 0, 1]);
        assert_eq!(pairs.distinct.first, [0, 2]);
        assert_eq!(pairs.gallery(3).right.len(), 2, "one image of each text");
        assert!((pairs.similarity(2, 1) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn of_many_images_some_are_compared_evenly_chosen() {
        let chosen = |count, max_pairs| evenly(count, max_pairs).collect::<Vec<_>>();
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
