//! Held-out retrieval: every image against every text of the split, and the other way round.

use std::collections::HashSet;
use std::fmt;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::inference::similarity;

/// Where the right answers stand among the candidates. A query may have several right answers; the
/// best-placed one counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetrievalScores {
    /// Share of queries with a right answer at rank 1.
    pub recall_at_1: f64,
    /// Share of queries with a right answer among the first 5.
    pub recall_at_5: f64,
    /// Share of queries with a right answer among the first 10.
    pub recall_at_10: f64,
    /// Median over queries of the rank (from 1) of the first right answer.
    pub median_rank: f64,
}

/// Retrieval in one direction, beside what a random order would reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Direction {
    /// What the embeddings reach.
    pub scores: RetrievalScores,
    /// Expectation of a random order.
    pub chance: RetrievalScores,
    /// Standard error of `chance.recall_at_10`: √(Σ pᵢ(1 − pᵢ)) / queries.
    pub chance_recall_at_10_error: f64,
}

/// Retrieval among the pairs of a split. Equal texts are one text, and rows of one image are one
/// image: one candidate, and one query that whatever it is paired with answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retrieval {
    /// Number of distinct images.
    pub images: usize,
    /// Number of distinct texts.
    pub texts: usize,
    /// Images as queries, texts as candidates.
    pub image_to_text: Direction,
    /// Texts as queries, images as candidates.
    pub text_to_image: Direction,
}

impl Retrieval {
    /// Ranks by dot product of L2-normalized embeddings.
    ///
    /// `pairs` has the number of the image and that of the text of each pair.
    ///
    /// # Shapes
    ///
    /// - images: distinct images, rows of `d_embedding` numbers
    /// - texts: distinct texts, rows of `d_embedding` numbers
    ///
    /// # Panics
    ///
    /// When the widths differ.
    pub fn evaluate(images: &[Vec<f32>], texts: &[Vec<f32>], pairs: &[(usize, usize)]) -> Self {
        let pairs: HashSet<(usize, usize)> = pairs.iter().copied().collect();
        let belongs = |image: usize, text: usize| pairs.contains(&(image, text));
        Self {
            images: images.len(),
            texts: texts.len(),
            image_to_text: Direction::evaluate(images, texts, belongs),
            text_to_image: Direction::evaluate(texts, images, |text, image| belongs(image, text)),
        }
    }
}

impl Direction {
    fn evaluate(
        queries: &[Vec<f32>],
        candidates: &[Vec<f32>],
        right: impl Fn(usize, usize) -> bool + Sync,
    ) -> Self {
        let total = candidates.len();
        let answers: Vec<usize> = (0..queries.len())
            .map(|query| (0..total).filter(|other| right(query, *other)).count())
            .collect();
        let variance: f64 = answers
            .iter()
            .map(|count| hit_chance(total, *count, 10))
            .map(|chance| chance * (1.0 - chance))
            .sum();
        Self {
            scores: scores(&ranks(queries, candidates, right)),
            chance: chance(total, &answers),
            chance_recall_at_10_error: variance.sqrt() / queries.len().max(1) as f64,
        }
    }
}

/// Rank (from 1) of each query's best-placed right answer; a tie counts half against it.
///
/// A similarity that is NaN is never right and always before: no damage makes a rank better.
fn ranks(
    queries: &[Vec<f32>],
    candidates: &[Vec<f32>],
    right: impl Fn(usize, usize) -> bool + Sync,
) -> Vec<f64> {
    let rank = |(index, query): (usize, &Vec<f32>)| {
        let found: Vec<f32> = candidates
            .iter()
            .map(|other| similarity(query, other))
            .collect();
        let is_right = |candidate: &usize| right(index, *candidate);
        let best = (0..candidates.len())
            .filter(is_right)
            .map(|candidate| found[candidate])
            .fold(f32::NEG_INFINITY, f32::max);
        let wrong = || (0..candidates.len()).filter(|candidate| !is_right(candidate));
        let is_above = |other: &usize| found[*other] > best || found[*other].is_nan();
        let above = wrong().filter(is_above).count();
        let ties = wrong().filter(|other| found[*other] == best).count();
        1.0 + above as f64 + ties as f64 / 2.0
    };
    queries.par_iter().enumerate().map(rank).collect()
}

fn scores(ranks: &[f64]) -> RetrievalScores {
    let recall = |k: f64| {
        let hits = ranks.iter().filter(|rank| **rank <= k).count();
        hits as f64 / ranks.len().max(1) as f64
    };
    let mut sorted = ranks.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median_rank = match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    };
    RetrievalScores {
        recall_at_1: recall(1.0),
        recall_at_5: recall(5.0),
        recall_at_10: recall(10.0),
        median_rank,
    }
}

/// Chance that at least one of `right` answers is among the first `k` of `total` in random order.
pub(crate) fn hit_chance(total: usize, right: usize, k: usize) -> f64 {
    let miss: f64 = (0..k.min(total))
        .map(|drawn| (total - right).saturating_sub(drawn) as f64 / (total - drawn) as f64)
        .product();
    1.0 - miss
}

/// What a random order of `total` candidates reaches, for queries with so many right answers each.
fn chance(total: usize, answers: &[usize]) -> RetrievalScores {
    let mean = |k: usize| {
        let hits: f64 = answers
            .iter()
            .map(|right| hit_chance(total, *right, k))
            .sum();
        hits / answers.len().max(1) as f64
    };
    let median_rank = (1..=total)
        .find(|k| mean(*k) >= 0.5)
        .map_or(f64::NAN, |k| k as f64);
    RetrievalScores {
        recall_at_1: mean(1),
        recall_at_5: mean(5),
        recall_at_10: mean(10),
        median_rank,
    }
}

impl Retrieval {
    /// Writes both directions under what the images and texts are.
    pub(crate) fn write_table(&self, f: &mut fmt::Formatter<'_>, what: &str) -> fmt::Result {
        let title = format!("{} images, {} texts{what}", self.images, self.texts);
        writeln!(
            f,
            "{title:<34}{:>9}{:>11}{:>11}{:>13}",
            "recall@1", "recall@5", "recall@10", "median rank"
        )?;
        if self.images < 2 || self.texts < 2 {
            writeln!(
                f,
                "warning: one image or one text by itself: there is nothing to find"
            )?;
        }
        for (name, direction) in [
            ("image → text", &self.image_to_text),
            ("text → image", &self.text_to_image),
        ] {
            for (name, scores) in [(name, direction.scores), ("  by chance", direction.chance)] {
                writeln!(
                    f,
                    "{name:<34}{:>7.1} %{:>9.1} %{:>9.1} %{:>13.1}",
                    100.0 * scores.recall_at_1,
                    100.0 * scores.recall_at_5,
                    100.0 * scores.recall_at_10,
                    scores.median_rank
                )?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Retrieval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_table(f, " held out")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(angle: f32) -> Vec<f32> {
        vec![angle.cos(), angle.sin()]
    }

    #[test]
    fn ranks_are_those_of_the_similarities_in_each_direction() {
        let images = [unit(0.0), unit(1.0), unit(2.0)];
        let texts = [unit(0.1), unit(0.2), unit(2.1)];
        let retrieval = Retrieval::evaluate(&images, &texts, &[(0, 0), (1, 1), (2, 2)]);
        // Image 1 (at 1.0) is nearest to text 1 (0.2) at 0.8, then text 0 (0.9), text 2 (1.1).
        assert_eq!(retrieval.image_to_text.scores.recall_at_1, 1.0);
        // Text 1 (at 0.2) is nearer to image 0 than to image 1.
        let texts_found = retrieval.text_to_image.scores;
        assert!((texts_found.recall_at_1 - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(texts_found.median_rank, 1.0);
        assert!((retrieval.text_to_image.chance.recall_at_1 - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_text_is_answered_by_each_of_its_images() {
        let images = [unit(0.0), unit(1.0), unit(2.0)];
        let texts = [unit(0.9), unit(0.2)];
        let retrieval = Retrieval::evaluate(&images, &texts, &[(0, 0), (1, 0), (2, 1)]);
        assert_eq!((retrieval.images, retrieval.texts), (3, 2));
        // Image 0 is nearest to text 1; image 1 to 0; image 2 (of 1) to 0.
        assert!((retrieval.image_to_text.scores.recall_at_1 - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(retrieval.image_to_text.chance.recall_at_1, 0.5);
        // Text 0 finds image 1, one of its two; text 1 (at 0.2) finds image 0.
        assert_eq!(retrieval.text_to_image.scores.recall_at_1, 0.5);
        let chance = (2.0 / 3.0 + 1.0 / 3.0) / 2.0;
        assert!((retrieval.text_to_image.chance.recall_at_1 - chance).abs() < 1e-12);
        assert_eq!(retrieval.text_to_image.chance_recall_at_10_error, 0.0);
    }

    #[test]
    fn any_caption_of_an_image_is_right_for_it() {
        let images = [unit(0.0), unit(1.0)];
        let texts = [unit(0.9), unit(0.1), unit(1.2)];
        // Image 0 is nearest to text 1, its second caption; image 1 to text 0, which is not its.
        let retrieval = Retrieval::evaluate(&images, &texts, &[(0, 0), (0, 1), (1, 2)]);
        let found = retrieval.image_to_text;
        assert_eq!(found.scores.recall_at_1, 0.5);
        assert_eq!(found.chance.recall_at_1, (2.0 / 3.0 + 1.0 / 3.0) / 2.0);
    }

    #[test]
    fn what_is_not_a_number_ranks_last() {
        let nan = vec![f32::NAN; 2];
        let (sound, pairs) = ([unit(0.0), unit(1.0), unit(2.0)], [(0, 0), (1, 1), (2, 2)]);
        let damaged = [nan.clone(), nan.clone(), nan];
        for (images, texts) in [(&sound, &damaged), (&damaged, &sound), (&damaged, &damaged)] {
            let Retrieval {
                image_to_text,
                text_to_image,
                ..
            } = Retrieval::evaluate(images, texts, &pairs);
            for found in [image_to_text, text_to_image] {
                assert_eq!(
                    (found.scores.recall_at_1, found.scores.median_rank),
                    (0.0, 3.0)
                );
            }
        }
        // One damaged text stands before each right answer, and is found by no image.
        let texts = [unit(0.0), vec![f32::NAN; 2], unit(2.0)];
        let found = Retrieval::evaluate(&sound, &texts, &pairs).image_to_text;
        assert_eq!(
            (found.scores.recall_at_1, found.scores.median_rank),
            (0.0, 2.0)
        );
    }

    #[test]
    fn embeddings_that_say_nothing_do_not_beat_chance() {
        let same = vec![unit(0.3); 40];
        let pairs: Vec<(usize, usize)> = (0..40).map(|pair| (pair, pair)).collect();
        let found = Retrieval::evaluate(&same, &same, &pairs).image_to_text;
        assert_eq!(found.scores.recall_at_10, 0.0);
        assert_eq!(found.scores.median_rank, 20.5);
        let error = (0.25 * 0.75_f64 / 40.0).sqrt();
        assert!((found.chance_recall_at_10_error - error).abs() < 1e-12);
    }

    #[test]
    fn chance_is_the_hypergeometric_expectation() {
        assert!((hit_chance(197, 1, 10) - 10.0 / 197.0).abs() < 1e-12);
        // 2 right of 4, 2 drawn: 1 − (2/4)(1/3) = 5/6.
        assert!((hit_chance(4, 2, 2) - 5.0 / 6.0).abs() < 1e-12);
        assert_eq!(hit_chance(3, 3, 1), 1.0);
    }
}
