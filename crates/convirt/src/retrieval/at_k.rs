//! Precision and recall at k, for queries with several relevant candidates.

use std::fmt;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::ranks::hit_chance;
use crate::inference::similarity;

/// Precision and recall at several depths k, each from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoresAtK {
    /// Share of relevant candidates among the first k, mean over queries; one for each depth.
    pub precision: Vec<f64>,
    /// Share of queries with a relevant candidate among the first k; one for each depth.
    pub recall: Vec<f64>,
}

/// Scores of the queries of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// Name of the class.
    pub name: String,
    /// Number of its queries.
    pub queries: usize,
    /// Their scores.
    pub scores: ScoresAtK,
}

/// Precision and recall at k for each class of queries, compared with a random order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetrievalAtK {
    /// The depths k.
    pub k: Vec<usize>,
    /// The classes that have queries.
    pub classes: Vec<ClassScores>,
    /// Mean over the classes.
    pub mean: ScoresAtK,
    /// Expected scores of a random order, mean over the classes.
    pub chance: ScoresAtK,
}

/// Query vectors, each with a class.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queries<'a> {
    pub vectors: &'a [Vec<f32>],
    /// Class of each vector, as its position among `class_names`.
    pub classes: &'a [usize],
    pub class_names: &'a [String],
}

/// Whether a candidate is a right answer to a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relevance {
    Relevant,
    Irrelevant,
    /// The candidate is the query itself and is left out.
    Excluded,
}

/// The scores of one query.
struct QueryScores {
    scores: ScoresAtK,
    chance: ScoresAtK,
}

impl From<bool> for Relevance {
    fn from(is_relevant: bool) -> Self {
        if is_relevant {
            Self::Relevant
        } else {
            Self::Irrelevant
        }
    }
}

impl RetrievalAtK {
    /// Ranks `candidates` for every query by cosine similarity.
    ///
    /// `relevance` is that of a candidate to a query, by their positions. Queries without a
    /// relevant candidate are left out, and so are classes without queries.
    pub(crate) fn evaluate(
        queries: Queries<'_>,
        candidates: &[Vec<f32>],
        k: &[usize],
        relevance: impl Fn(usize, usize) -> Relevance + Sync,
    ) -> Self {
        let candidates: Vec<_> = candidates.par_iter().map(|vector| unit(vector)).collect();
        let query_scores: Vec<_> = queries
            .vectors
            .par_iter()
            .enumerate()
            .map(|(query, vector)| {
                let vector = unit(vector);
                let ranked = candidates
                    .iter()
                    .enumerate()
                    .filter_map(|(index, candidate)| {
                        let is_relevant = match relevance(query, index) {
                            Relevance::Excluded => return None,
                            relevance => relevance == Relevance::Relevant,
                        };
                        Some((similarity(&vector, candidate), is_relevant))
                    });
                QueryScores::new(&ranked.collect::<Vec<_>>(), k)
            })
            .collect();
        let classes = queries.class_names.iter().enumerate();
        let (classes, chances): (Vec<_>, Vec<_>) = classes
            .filter_map(|(class, name)| {
                let class_queries = queries.classes.iter().zip(&query_scores);
                let class_queries: Vec<&QueryScores> = class_queries
                    .filter(|(query_class, _)| **query_class == class)
                    .filter_map(|(_, scores)| scores.as_ref())
                    .collect();
                let scores = ScoresAtK::mean(class_queries.iter().map(|query| &query.scores))?;
                let chance = ScoresAtK::mean(class_queries.iter().map(|query| &query.chance))?;
                let class = ClassScores {
                    name: name.clone(),
                    queries: class_queries.len(),
                    scores,
                };
                Some((class, chance))
            })
            .unzip();
        let undefined = || ScoresAtK {
            precision: vec![f64::NAN; k.len()],
            recall: vec![f64::NAN; k.len()],
        };
        let mean = ScoresAtK::mean(classes.iter().map(|class| &class.scores));
        Self {
            k: k.to_vec(),
            mean: mean.unwrap_or_else(undefined),
            chance: ScoresAtK::mean(chances.iter()).unwrap_or_else(undefined),
            classes,
        }
    }

    /// Returns the number of queries.
    pub fn queries(&self) -> usize {
        self.classes.iter().map(|class| class.queries).sum()
    }
}

impl QueryScores {
    /// Scores the candidates of a query; `None` when none is relevant.
    fn new(candidates: &[(f32, bool)], k: &[usize]) -> Option<Self> {
        let total = candidates.len();
        let relevant = candidates.iter().filter(|(_, relevant)| *relevant).count();
        (relevant > 0).then(|| Self {
            scores: ScoresAtK {
                precision: k.iter().map(|k| precision_at_k(candidates, *k)).collect(),
                recall: k.iter().map(|k| recall_at_k(candidates, *k)).collect(),
            },
            chance: ScoresAtK {
                precision: vec![relevant as f64 / total as f64; k.len()],
                recall: k.iter().map(|k| hit_chance(total, relevant, *k)).collect(),
            },
        })
    }
}

impl ScoresAtK {
    fn mean<'a>(scores: impl Iterator<Item = &'a Self> + Clone) -> Option<Self> {
        let count = scores.clone().count() as f64;
        let add = |sums: Vec<f64>, values: &[f64]| -> Vec<f64> {
            if sums.is_empty() {
                values.to_vec()
            } else {
                sums.iter().zip(values).map(|(a, b)| a + b).collect()
            }
        };
        let mean = |values: fn(&'a Self) -> &'a [f64]| -> Vec<f64> {
            let sums = scores.clone().map(values).fold(Vec::new(), add);
            sums.into_iter().map(|sum| sum / count).collect()
        };
        (count > 0.0).then(|| Self {
            precision: mean(|scores| &scores.precision),
            recall: mean(|scores| &scores.recall),
        })
    }
}

/// Returns the share of relevant candidates among the `k` with the highest scores, or among all
/// when there are fewer than `k`.
///
/// `candidates` holds the score of each candidate and whether it is relevant, in any order. Equal
/// scores count with the expected value over their random orders. A candidate with a NaN score
/// counts as irrelevant and as the last.
///
/// # Examples
///
/// ```
/// use convirt::retrieval::precision_at_k;
///
/// let candidates = [(0.9, true), (0.2, true), (0.7, false)];
/// assert_eq!(precision_at_k(&candidates, 1), 1.0);
/// assert_eq!(precision_at_k(&candidates, 2), 0.5);
/// ```
pub fn precision_at_k(candidates: &[(f32, bool)], k: usize) -> f64 {
    let cutoff = Cutoff::new(candidates, k);
    let expected_tied = if cutoff.tied == 0 {
        0.0
    } else {
        (cutoff.relevant_tied * cutoff.tied_within_k) as f64 / cutoff.tied as f64
    };
    (cutoff.relevant_above as f64 + expected_tied) / k.min(candidates.len()).max(1) as f64
}

/// Returns 1 when a relevant candidate is among the `k` with the highest scores, and 0 otherwise.
///
/// `candidates` are as for [`precision_at_k`]. When equal scores make the order ambiguous, it is
/// the probability over their random orders.
///
/// # Examples
///
/// ```
/// use convirt::retrieval::recall_at_k;
///
/// let candidates = [(0.9, false), (0.7, true), (0.2, false)];
/// assert_eq!(recall_at_k(&candidates, 1), 0.0);
/// assert_eq!(recall_at_k(&candidates, 2), 1.0);
/// // Either of the first two may come first.
/// assert_eq!(recall_at_k(&[(0.9, false), (0.9, true)], 1), 0.5);
/// ```
pub fn recall_at_k(candidates: &[(f32, bool)], k: usize) -> f64 {
    let cutoff = Cutoff::new(candidates, k);
    match cutoff.relevant_above {
        0 => hit_chance(cutoff.tied, cutoff.relevant_tied, cutoff.tied_within_k),
        _ => 1.0,
    }
}

/// Numbers of candidates above the k-th score, and at it.
struct Cutoff {
    relevant_above: usize,
    /// Candidates whose score is the k-th.
    tied: usize,
    relevant_tied: usize,
    /// How many of the tied candidates are among the first k.
    tied_within_k: usize,
}

impl Cutoff {
    fn new(candidates: &[(f32, bool)], k: usize) -> Self {
        let k = k.min(candidates.len());
        if k == 0 {
            return Self {
                relevant_above: 0,
                tied: 0,
                relevant_tied: 0,
                tied_within_k: 0,
            };
        }
        let nan_last = |&(score, is_relevant): &(f32, bool)| {
            if score.is_nan() {
                (f32::NEG_INFINITY, false)
            } else {
                (score, is_relevant)
            }
        };
        let candidates: Vec<(f32, bool)> = candidates.iter().map(nan_last).collect();
        let mut scores: Vec<f32> = candidates.iter().map(|(score, _)| *score).collect();
        let (_, threshold, _) = scores.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
        let threshold = *threshold;
        let count_relevant = |candidates: &mut dyn Iterator<Item = &(f32, bool)>| {
            candidates.filter(|(_, relevant)| *relevant).count()
        };
        let above = || candidates.iter().filter(|(score, _)| *score > threshold);
        let tied = || candidates.iter().filter(|(score, _)| *score == threshold);
        Self {
            relevant_above: count_relevant(&mut above()),
            tied: tied().count(),
            relevant_tied: count_relevant(&mut tied()),
            tied_within_k: k - above().count(),
        }
    }
}

fn unit(vector: &[f32]) -> Vec<f32> {
    let norm = similarity(vector, vector).sqrt().max(1e-12);
    vector.iter().map(|number| number / norm).collect()
}

impl fmt::Display for RetrievalAtK {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<24}{:>8}", "", "queries")?;
        for measure in ["precision", "recall"] {
            for k in &self.k {
                write!(f, "{:>14}", format!("{measure}@{k}"))?;
            }
        }
        writeln!(f)?;
        let mut row = |name: &str, queries: Option<usize>, scores: &ScoresAtK| {
            let queries = queries.map_or_else(String::new, |queries| queries.to_string());
            write!(f, "{name:<24}{queries:>8}")?;
            for score in scores.precision.iter().chain(&scores.recall) {
                write!(f, "{:>12.1} %", 100.0 * score)?;
            }
            writeln!(f)
        };
        if self.classes.len() > 1 {
            for class in &self.classes {
                row(&class.name, Some(class.queries), &class.scores)?;
            }
        }
        row("mean", Some(self.queries()), &self.mean)?;
        row("by chance", None, &self.chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Candidates in the order of their scores; 1 marks a relevant one.
    fn ranked(relevant: &[u8]) -> Vec<(f32, bool)> {
        let ranks = relevant.iter().enumerate();
        ranks
            .map(|(rank, relevant)| (-(rank as f32), *relevant == 1))
            .collect()
    }

    #[test]
    fn precision_counts_the_relevant_candidates_among_the_first() {
        let candidates = ranked(&[1, 0, 1, 1, 0, 0]);
        for (k, expected) in [
            (1, 1.0),
            (2, 0.5),
            (3, 2.0 / 3.0),
            (4, 0.75),
            (6, 0.5),
            (9, 0.5),
        ] {
            assert_eq!(precision_at_k(&candidates, k), expected, "{k}");
        }
        assert_eq!(precision_at_k(&candidates, 0), 0.0);
        assert_eq!(precision_at_k(&[], 5), 0.0);
    }

    #[test]
    fn recall_is_one_when_a_relevant_candidate_is_among_the_first() {
        let candidates = ranked(&[0, 0, 1, 1]);
        let recalls = [1, 2, 3, 4, 9].map(|k| recall_at_k(&candidates, k));
        assert_eq!(recalls, [0.0, 0.0, 1.0, 1.0, 1.0]);
        assert_eq!(recall_at_k(&ranked(&[0, 0]), 2), 0.0);
    }

    // The first candidate is relevant. One of the next three, which have equal scores, is relevant:
    // the probability that it takes the second or third rank is 2/3.
    #[test]
    fn equal_scores_count_as_in_a_random_order() {
        let candidates = [
            (9.0, true),
            (5.0, false),
            (5.0, true),
            (5.0, false),
            (1.0, true),
        ];
        assert!((precision_at_k(&candidates, 3) - (1.0 + 2.0 / 3.0) / 3.0).abs() < 1e-12);
        assert!((recall_at_k(&candidates[1..], 2) - 2.0 / 3.0).abs() < 1e-12);
        let same: Vec<_> = (0..40).map(|index| (0.5, index < 5)).collect();
        for k in [1, 5, 10] {
            assert!((precision_at_k(&same, k) - 0.125).abs() < 1e-12, "{k}");
        }
    }

    #[test]
    fn a_relevant_candidate_with_a_nan_score_does_not_count() {
        let candidates = [
            (f32::NAN, true),
            (-f32::NAN, true),
            (0.5, false),
            (0.1, true),
        ];
        for (k, precision, recall) in [(1, 0.0, 0.0), (2, 0.5, 1.0), (4, 0.25, 1.0)] {
            assert_eq!(precision_at_k(&candidates, k), precision, "{k}");
            assert_eq!(recall_at_k(&candidates, k), recall, "{k}");
        }
        let all_nan = [(f32::NAN, true); 3];
        assert_eq!(
            (precision_at_k(&all_nan, 1), recall_at_k(&all_nan, 3)),
            (0.0, 0.0)
        );
    }

    /// Vectors of length 3 in the given directions, in degrees.
    fn vectors(angles: &[f32]) -> Vec<Vec<f32>> {
        let directions = angles.iter().map(|angle| angle.to_radians().sin_cos());
        directions.map(|(y, x)| vec![3.0 * x, 3.0 * y]).collect()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    // Class a is at 0° and 20°, b at 90° and 30°. The query of class a at 5° ranks a, a, b, b; the
    // query of class b at 28° ranks b, a, a, b. precision@2 is 1 and 1/2.
    #[test]
    fn the_mean_is_over_classes_and_not_over_queries() {
        let candidate_classes = [0, 0, 1, 1];
        let queries = vectors(&[5.0, 5.0, 28.0]);
        let classes = [0, 0, 1];
        let retrieval = RetrievalAtK::evaluate(
            Queries {
                vectors: &queries,
                classes: &classes,
                class_names: &names(&["a", "b"]),
            },
            &vectors(&[0.0, 20.0, 90.0, 30.0]),
            &[1, 2],
            |query, candidate| (classes[query] == candidate_classes[candidate]).into(),
        );
        assert_eq!(retrieval.classes[0].queries, 2);
        assert_eq!(retrieval.classes[0].scores.precision, [1.0, 1.0]);
        assert_eq!(retrieval.classes[1].scores.precision, [1.0, 0.5]);
        // A mean over queries would be 5/6.
        assert_eq!(retrieval.mean.precision, [1.0, 0.75]);
        assert_eq!(retrieval.chance.precision, [0.5, 0.5]);
        // Two of four candidates are relevant and two are drawn: 1 − 1/6.
        assert!((retrieval.chance.recall[1] - 5.0 / 6.0).abs() < 1e-12);
        let table = retrieval.to_string();
        for part in ["precision@2", "recall@1", "by chance", "75.0 %", "50.0 %"] {
            assert!(table.contains(part), "no `{part}` in:\n{table}");
        }
    }

    #[test]
    fn the_query_itself_and_queries_without_a_relevant_candidate_do_not_count() {
        let vectors = vectors(&[0.0, 10.0, 80.0]);
        let texts = ["a", "a", "b"];
        let retrieval = RetrievalAtK::evaluate(
            Queries {
                vectors: &vectors,
                classes: &[0, 0, 0],
                class_names: &names(&["all"]),
            },
            &vectors,
            &[1],
            |query, candidate| {
                if query == candidate {
                    Relevance::Excluded
                } else {
                    (texts[query] == texts[candidate]).into()
                }
            },
        );
        assert_eq!(retrieval.queries(), 2);
        assert_eq!(retrieval.mean.precision, [1.0]);
        assert_eq!(retrieval.chance.precision, [0.5]);
    }

    #[test]
    fn without_queries_there_is_no_score() {
        let none = Queries {
            vectors: &[],
            classes: &[],
            class_names: &names(&["a"]),
        };
        let retrieval = RetrievalAtK::evaluate(none, &[vec![1.0, 0.0]], &[1], |_, _| true.into());
        assert!(retrieval.mean.precision[0].is_nan() && retrieval.classes.is_empty());
    }
}
