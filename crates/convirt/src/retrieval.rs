//! Held-out retrieval: every image against every text of the split, and the other way round.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Ranks of the right answers among all candidates, in one direction.
///
/// Equal texts count as correct: a query's rank is that of its best-placed right answer.
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

/// Retrieval in both directions, beside what a random order would reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retrieval {
    /// Pairs in the split: queries and candidates of each direction.
    pub pairs: usize,
    /// Images as queries, texts as candidates.
    pub image_to_text: RetrievalScores,
    /// Texts as queries, images as candidates.
    pub text_to_image: RetrievalScores,
    /// Expectation of a random order, with equal texts counted as correct; the same in both
    /// directions.
    pub chance: RetrievalScores,
    /// Standard error of `recall_at_10` under a random order: √(Σ pᵢ(1 − pᵢ)) / pairs.
    pub chance_recall_at_10_error: f64,
}

impl Retrieval {
    /// Ranks by dot product of L2-normalized embeddings.
    ///
    /// `texts` tells which pairs have equal texts.
    ///
    /// # Shapes
    ///
    /// - image_embeddings, text_embeddings: `pairs` rows of `d_embedding` numbers
    /// - texts: `pairs`
    ///
    /// # Panics
    ///
    /// When the lengths differ.
    pub fn of<T: PartialEq>(
        image_embeddings: &[Vec<f32>],
        text_embeddings: &[Vec<f32>],
        texts: &[T],
    ) -> Self {
        let pairs = texts.len();
        assert_eq!(image_embeddings.len(), pairs, "one image a text");
        assert_eq!(text_embeddings.len(), pairs, "one embedding a text");
        let right = |query: usize, candidate: usize| texts[query] == texts[candidate];
        let answers: Vec<usize> = (0..pairs)
            .map(|query| (0..pairs).filter(|other| right(query, *other)).count())
            .collect();
        let chances: Vec<f64> = answers.iter().map(|k| hit_chance(pairs, *k, 10)).collect();
        let variance: f64 = chances.iter().map(|p| p * (1.0 - p)).sum();
        Self {
            pairs,
            image_to_text: scores(&ranks(image_embeddings, text_embeddings, right)),
            text_to_image: scores(&ranks(text_embeddings, image_embeddings, right)),
            chance: chance(pairs, &answers),
            chance_recall_at_10_error: variance.sqrt() / pairs.max(1) as f64,
        }
    }
}

/// Rank (from 1) of each query's best-placed right answer; a tie counts half against it.
fn ranks(
    queries: &[Vec<f32>],
    candidates: &[Vec<f32>],
    right: impl Fn(usize, usize) -> bool,
) -> Vec<f64> {
    let rank = |(index, query): (usize, &Vec<f32>)| {
        let similarity: Vec<f32> = candidates.iter().map(|other| dot(query, other)).collect();
        let is_right = |candidate: &usize| right(index, *candidate);
        let best = (0..candidates.len())
            .filter(is_right)
            .map(|candidate| similarity[candidate])
            .fold(f32::NEG_INFINITY, f32::max);
        let wrong = || (0..candidates.len()).filter(|candidate| !is_right(candidate));
        let above = wrong().filter(|other| similarity[*other] > best).count();
        let ties = wrong().filter(|other| similarity[*other] == best).count();
        1.0 + above as f64 + ties as f64 / 2.0
    };
    queries.iter().enumerate().map(rank).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
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
fn hit_chance(total: usize, right: usize, k: usize) -> f64 {
    let miss: f64 = (0..k.min(total))
        .map(|drawn| (total - right).saturating_sub(drawn) as f64 / (total - drawn) as f64)
        .product();
    1.0 - miss
}

fn chance(pairs: usize, answers: &[usize]) -> RetrievalScores {
    let mean = |k: usize| {
        let sum: f64 = answers
            .iter()
            .map(|right| hit_chance(pairs, *right, k))
            .sum();
        sum / pairs.max(1) as f64
    };
    let median_rank = (1..=pairs)
        .find(|k| mean(*k) >= 0.5)
        .map_or(f64::NAN, |k| k as f64);
    RetrievalScores {
        recall_at_1: mean(1),
        recall_at_5: mean(5),
        recall_at_10: mean(10),
        median_rank,
    }
}

impl fmt::Display for Retrieval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<22}{:>10}{:>10}{:>10}{:>13}",
            format!("among {} held-out", self.pairs),
            "recall@1",
            "recall@5",
            "recall@10",
            "median rank"
        )?;
        let rows = [
            ("image → text", &self.image_to_text),
            ("text → image", &self.text_to_image),
            ("chance", &self.chance),
        ];
        for (name, scores) in rows {
            writeln!(
                f,
                "{name:<22}{:>8.1} %{:>8.1} %{:>8.1} %{:>13.1}",
                100.0 * scores.recall_at_1,
                100.0 * scores.recall_at_5,
                100.0 * scores.recall_at_10,
                scores.median_rank
            )?;
        }
        Ok(())
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
        let retrieval = Retrieval::of(&images, &texts, &["a", "b", "c"]);
        // Image 1 (at 1.0) is nearest to text 1 (0.2) at 0.8, then text 0 (0.9), text 2 (1.1).
        assert_eq!(retrieval.image_to_text.recall_at_1, 1.0);
        // Text 1 (at 0.2) is nearer to image 0 than to image 1.
        assert!((retrieval.text_to_image.recall_at_1 - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(retrieval.text_to_image.median_rank, 1.0);
    }

    #[test]
    fn equal_texts_count_as_correct_and_raise_chance() {
        let images = [unit(0.0), unit(1.0)];
        let texts = [unit(1.0), unit(0.0)];
        let swapped = Retrieval::of(&images, &texts, &["a", "b"]);
        assert_eq!(swapped.image_to_text.recall_at_1, 0.0);
        assert_eq!(swapped.chance.recall_at_1, 0.5);
        let equal = Retrieval::of(&images, &texts, &["a", "a"]);
        assert_eq!(equal.image_to_text.recall_at_1, 1.0);
        assert_eq!(equal.chance.recall_at_1, 1.0);
        assert_eq!(equal.chance_recall_at_10_error, 0.0);
    }

    #[test]
    fn embeddings_that_say_nothing_do_not_beat_chance() {
        let same = vec![unit(0.3); 40];
        let texts: Vec<usize> = (0..40).collect();
        let retrieval = Retrieval::of(&same, &same, &texts);
        assert_eq!(retrieval.image_to_text.recall_at_10, 0.0);
        assert_eq!(retrieval.image_to_text.median_rank, 20.5);
    }

    #[test]
    fn chance_is_the_hypergeometric_expectation() {
        assert!((hit_chance(197, 1, 10) - 10.0 / 197.0).abs() < 1e-12);
        // 2 right of 4, 2 drawn: 1 − (2/4)(1/3) = 5/6.
        assert!((hit_chance(4, 2, 2) - 5.0 / 6.0).abs() < 1e-12);
        assert_eq!(hit_chance(3, 3, 1), 1.0);
    }
}
