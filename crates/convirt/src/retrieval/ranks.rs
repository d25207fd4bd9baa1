//! Retrieval between all images and all texts of a split, scored by the rank of the first relevant
//! candidate.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::inference::similarity;

/// Retrieval scores of a set of queries. When a query has several relevant candidates, the one with
/// the best rank counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetrievalScores {
    /// Share of queries with a relevant candidate at rank 1.
    pub recall_at_1: f64,
    /// Share of queries with a relevant candidate among the first 5.
    pub recall_at_5: f64,
    /// Share of queries with a relevant candidate among the first 10.
    pub recall_at_10: f64,
    /// Median over queries of the rank (from 1) of the first relevant candidate.
    pub median_rank: f64,
}

/// Retrieval scores in one direction, compared with a random order.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Direction {
    /// Scores of the embeddings.
    pub scores: RetrievalScores,
    /// Expected scores of a random order.
    pub chance: RetrievalScores,
    /// Standard error of `chance.recall_at_10`: √(Σ pᵢ(1 − pᵢ)) / queries, where pᵢ is that of
    /// query i.
    pub chance_recall_at_10_error: f64,
}

/// Retrieval scores in both directions among the pairs of a split.
///
/// Each distinct image and each distinct text is one query and one candidate. All texts paired with
/// an image are relevant to it, and all images paired with a text.
///
/// # Examples
///
/// ```
/// use convirt::retrieval::Retrieval;
///
/// let images = [vec![1.0, 0.0], vec![0.0, 1.0]];
/// let texts = [vec![0.8, 0.6], vec![0.6, 0.8], vec![0.8, -0.6]];
/// // Image 0 has texts 0 and 2, image 1 has text 1.
/// let retrieval = Retrieval::evaluate(&images, &texts, &[(0, 0), (1, 1), (0, 2)]);
/// assert_eq!(retrieval.image_to_text.scores.recall_at_1, 1.0);
/// assert_eq!(retrieval.text_to_image.scores.median_rank, 1.0);
/// assert_eq!(retrieval.text_to_image.chance.recall_at_1, 0.5);
/// ```
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
    /// Ranks images and texts by the dot product of their embeddings, which have L2 norm 1.
    ///
    /// `pairs` holds the position of the image and of the text of each pair.
    ///
    /// # Shapes
    ///
    /// - images: `[distinct images, d_embedding]`
    /// - texts: `[distinct texts, d_embedding]`
    ///
    /// # Panics
    ///
    /// When the widths differ, or there is no image or text at a position.
    pub fn evaluate(images: &[Vec<f32>], texts: &[Vec<f32>], pairs: &[(usize, usize)]) -> Self {
        let mut texts_of = vec![BTreeSet::new(); images.len()];
        let mut images_of = vec![BTreeSet::new(); texts.len()];
        for (image, text) in pairs {
            texts_of[*image].insert(*text);
            images_of[*text].insert(*image);
        }
        Self {
            images: images.len(),
            texts: texts.len(),
            image_to_text: Direction::evaluate(images, texts, &texts_of),
            text_to_image: Direction::evaluate(texts, images, &images_of),
        }
    }
}

impl Direction {
    /// `relevant` holds the positions of each query's relevant candidates.
    fn evaluate(
        queries: &[Vec<f32>],
        candidates: &[Vec<f32>],
        relevant: &[BTreeSet<usize>],
    ) -> Self {
        let total = candidates.len();
        let relevant_counts: Vec<usize> = relevant.iter().map(BTreeSet::len).collect();
        let variance: f64 = relevant_counts
            .iter()
            .map(|count| hit_chance(total, *count, 10))
            .map(|chance| chance * (1.0 - chance))
            .sum();
        Self {
            scores: scores(&ranks(queries, candidates, relevant)),
            chance: chance(total, &relevant_counts),
            chance_recall_at_10_error: variance.sqrt() / queries.len().max(1) as f64,
        }
    }
}

/// Returns the rank (from 1) of each query's best relevant candidate. Each irrelevant candidate
/// with the same similarity adds a half.
///
/// A NaN similarity never counts as relevant, and ranks before all others when irrelevant: damaged
/// embeddings cannot improve a rank.
fn ranks(queries: &[Vec<f32>], candidates: &[Vec<f32>], relevant: &[BTreeSet<usize>]) -> Vec<f64> {
    let rank = |(query, relevant): (&Vec<f32>, &BTreeSet<usize>)| {
        let similarities: Vec<f32> = candidates
            .iter()
            .map(|candidate| similarity(query, candidate))
            .collect();
        let of_relevant = || relevant.iter().map(|candidate| &similarities[*candidate]);
        let best = of_relevant().copied().fold(f32::NEG_INFINITY, f32::max);
        let above = |score: &&f32| **score > best || score.is_nan();
        let tied = |score: &&f32| **score == best;
        // Of all but the relevant ones.
        let above = similarities.iter().filter(above).count() - of_relevant().filter(above).count();
        let tied = similarities.iter().filter(tied).count() - of_relevant().filter(tied).count();
        1.0 + above as f64 + tied as f64 / 2.0
    };
    queries.par_iter().zip(relevant).map(rank).collect()
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

/// Returns the probability that at least one of `relevant` candidates is among the first `k` of
/// `total` in random order.
pub(crate) fn hit_chance(total: usize, relevant: usize, k: usize) -> f64 {
    let miss: f64 = (0..k.min(total))
        .map(|drawn| (total - relevant).saturating_sub(drawn) as f64 / (total - drawn) as f64)
        .product();
    1.0 - miss
}

/// Returns the expected scores of a random order of `total` candidates, given the number of
/// relevant candidates of each query.
fn chance(total: usize, relevant_counts: &[usize]) -> RetrievalScores {
    let mut queries = BTreeMap::<usize, f64>::new();
    for relevant in relevant_counts {
        *queries.entry(*relevant).or_default() += 1.0;
    }
    let mean = |k: usize| {
        let hits = queries
            .iter()
            .map(|(relevant, queries)| queries * hit_chance(total, *relevant, k));
        hits.sum::<f64>() / relevant_counts.len().max(1) as f64
    };
    // A half, up to rounding.
    let is_half = |k| mean(k) >= 0.5 - 1e-9;
    // The smallest k with a half, by bisection.
    let (mut below, mut reached) = (0, total);
    while below + 1 < reached {
        let middle = usize::midpoint(below, reached);
        if is_half(middle) {
            reached = middle;
        } else {
            below = middle;
        }
    }
    let median_rank = if is_half(reached) {
        reached as f64
    } else {
        f64::NAN
    };
    RetrievalScores {
        recall_at_1: mean(1),
        recall_at_5: mean(5),
        recall_at_10: mean(10),
        median_rank,
    }
}

impl Retrieval {
    /// Writes both directions as a table, under a title that ends in `suffix`.
    pub(crate) fn write_table(&self, f: &mut fmt::Formatter<'_>, suffix: &str) -> fmt::Result {
        let title = format!("{} images, {} texts{suffix}", self.images, self.texts);
        writeln!(
            f,
            "{title:<34}{:>9}{:>11}{:>11}{:>13}",
            "recall@1", "recall@5", "recall@10", "median rank"
        )?;
        if self.images < 2 || self.texts < 2 {
            writeln!(
                f,
                "warning: with only one image or one text, retrieval is always right"
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
    fn ranks_follow_the_similarities_in_each_direction() {
        let images = [unit(0.0), unit(1.0), unit(2.0)];
        let texts = [unit(0.1), unit(0.2), unit(2.1)];
        let retrieval = Retrieval::evaluate(&images, &texts, &[(0, 0), (1, 1), (2, 2)]);
        // Image 1 (at 1.0) is nearest to text 1 (0.2) at 0.8, then text 0 (0.9), text 2 (1.1).
        assert_eq!(retrieval.image_to_text.scores.recall_at_1, 1.0);
        // Text 1 (at 0.2) is nearer to image 0 than to image 1.
        let text_to_image = retrieval.text_to_image.scores;
        assert!((text_to_image.recall_at_1 - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(text_to_image.median_rank, 1.0);
        assert!((retrieval.text_to_image.chance.recall_at_1 - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn every_image_of_a_text_is_relevant_to_it() {
        let images = [unit(0.0), unit(1.0), unit(2.0)];
        let texts = [unit(0.9), unit(0.2)];
        let retrieval = Retrieval::evaluate(&images, &texts, &[(0, 0), (1, 0), (2, 1)]);
        assert_eq!((retrieval.images, retrieval.texts), (3, 2));
        // Image 0 is nearest to text 1, image 1 to text 0, and image 2, of text 1, to text 0.
        assert!((retrieval.image_to_text.scores.recall_at_1 - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(retrieval.image_to_text.chance.recall_at_1, 0.5);
        // Text 0 is nearest to image 1, one of its two; text 1 (at 0.2) to image 0.
        assert_eq!(retrieval.text_to_image.scores.recall_at_1, 0.5);
        let chance = (2.0 / 3.0 + 1.0 / 3.0) / 2.0;
        assert!((retrieval.text_to_image.chance.recall_at_1 - chance).abs() < 1e-12);
        assert_eq!(retrieval.text_to_image.chance_recall_at_10_error, 0.0);
    }

    #[test]
    fn every_text_of_an_image_is_relevant_to_it() {
        let images = [unit(0.0), unit(1.0)];
        let texts = [unit(0.9), unit(0.1), unit(1.2)];
        // Image 0 is nearest to text 1, its second text; image 1 to text 0, which is not its text.
        let retrieval = Retrieval::evaluate(&images, &texts, &[(0, 0), (0, 1), (1, 2)]);
        let Direction { scores, chance, .. } = retrieval.image_to_text;
        assert_eq!(scores.recall_at_1, 0.5);
        assert_eq!(chance.recall_at_1, (2.0 / 3.0 + 1.0 / 3.0) / 2.0);
    }

    #[test]
    fn nan_similarities_rank_last() {
        let nan = vec![f32::NAN; 2];
        let (valid, pairs) = ([unit(0.0), unit(1.0), unit(2.0)], [(0, 0), (1, 1), (2, 2)]);
        let damaged = [nan.clone(), nan.clone(), nan];
        for (images, texts) in [(&valid, &damaged), (&damaged, &valid), (&damaged, &damaged)] {
            let Retrieval {
                image_to_text,
                text_to_image,
                ..
            } = Retrieval::evaluate(images, texts, &pairs);
            for Direction { scores, .. } in [image_to_text, text_to_image] {
                assert_eq!((scores.recall_at_1, scores.median_rank), (0.0, 3.0));
            }
        }
        // The damaged text ranks before the relevant text of the other images, and last for its
        // own image.
        let texts = [unit(0.0), vec![f32::NAN; 2], unit(2.0)];
        let scores = Retrieval::evaluate(&valid, &texts, &pairs)
            .image_to_text
            .scores;
        assert_eq!((scores.recall_at_1, scores.median_rank), (0.0, 2.0));
    }

    #[test]
    fn equal_embeddings_do_not_beat_chance() {
        let same = vec![unit(0.3); 40];
        let pairs: Vec<(usize, usize)> = (0..40).map(|pair| (pair, pair)).collect();
        let direction = Retrieval::evaluate(&same, &same, &pairs).image_to_text;
        assert_eq!(direction.scores.recall_at_10, 0.0);
        assert_eq!(direction.scores.median_rank, 20.5);
        let error = (0.25 * 0.75_f64 / 40.0).sqrt();
        assert!((direction.chance_recall_at_10_error - error).abs() < 1e-12);
    }

    #[test]
    fn chance_is_the_hypergeometric_expectation() {
        assert!((hit_chance(197, 1, 10) - 10.0 / 197.0).abs() < 1e-12);
        // 2 relevant of 4, 2 drawn: 1 − (2/4)(1/3) = 5/6.
        assert!((hit_chance(4, 2, 2) - 5.0 / 6.0).abs() < 1e-12);
        assert_eq!(hit_chance(3, 3, 1), 1.0);
    }

    #[test]
    fn the_median_rank_by_chance_is_the_first_at_which_half_of_the_queries_have_a_hit() {
        for (total, relevant_counts) in [
            (1, vec![1]),
            (2, vec![1, 1]),
            (7, vec![1, 1, 3]),
            (40, vec![2; 40]),
            (41, (1..=41).collect()),
        ] {
            let mean = |k| {
                let hits = relevant_counts.iter().map(|it| hit_chance(total, *it, k));
                hits.sum::<f64>() / relevant_counts.len() as f64
            };
            let expected = (1..=total).find(|k| mean(*k) >= 0.5 - 1e-9).unwrap() as f64;
            let actual = chance(total, &relevant_counts).median_rank;
            assert_eq!(actual, expected, "{relevant_counts:?}");
        }
        // The ranks of one relevant candidate are equally likely.
        assert_eq!(chance(20_000, &[1; 20_000]).median_rank, 10_000.0);
        // More than half of the queries have no relevant candidate.
        assert!(chance(9, &[0, 0, 1]).median_rank.is_nan());
        assert!(chance(0, &[]).median_rank.is_nan());
    }
}
