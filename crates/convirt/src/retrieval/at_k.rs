//! Retrieval where many answers are right: how many of the first are.

use std::fmt;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::ranks::hit_chance;
use crate::inference::similarity;

/// Scores at several depths k.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoresAtK {
    /// Share of the first k answers that are right, mean over queries.
    pub precision: Vec<f64>,
    /// Share of queries with a right answer among the first k.
    pub recall: Vec<f64>,
}

/// Scores of the queries of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// Name of the class.
    pub name: String,
    /// Its queries.
    pub queries: usize,
    /// What they reach.
    pub scores: ScoresAtK,
}

/// Retrieval by class, beside what a random order would reach.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetrievalAtK {
    /// The depths.
    pub k: Vec<usize>,
    /// Classes with queries, in the order of their names given.
    pub classes: Vec<ClassScores>,
    /// Mean over the classes.
    pub mean: ScoresAtK,
    /// Expectation of a random order, mean over the classes.
    pub chance: ScoresAtK,
}

/// Vectors that ask, each of a class.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queries<'a> {
    pub vectors: &'a [Vec<f32>],
    /// Positions among `class_names`, one for each vector.
    pub classes: &'a [usize],
    pub class_names: &'a [String],
}

/// What a candidate is to a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Right,
    Wrong,
    /// Neither: the query itself, which is no candidate.
    LeftOut,
}

/// What became of a query.
struct Outcome {
    scores: ScoresAtK,
    chance: ScoresAtK,
}

impl RetrievalAtK {
    /// Ranks `candidates` for every query by cosine similarity. Queries that no candidate answers
    /// are left out, and classes without queries with them.
    pub(crate) fn evaluate(
        queries: Queries<'_>,
        candidates: &[Vec<f32>],
        k: &[usize],
        answer: impl Fn(usize, usize) -> Answer + Sync,
    ) -> Self {
        let candidates: Vec<_> = candidates.par_iter().map(|vector| unit(vector)).collect();
        let outcomes: Vec<_> = queries
            .vectors
            .par_iter()
            .enumerate()
            .map(|(query, vector)| {
                let vector = unit(vector);
                let scored = candidates.iter().enumerate().filter_map(|(place, other)| {
                    let right = match answer(query, place) {
                        Answer::LeftOut => return None,
                        answer => answer == Answer::Right,
                    };
                    Some((similarity(&vector, other), right))
                });
                Outcome::new(&scored.collect::<Vec<_>>(), k)
            })
            .collect();
        let classes = queries.class_names.iter().enumerate();
        let (classes, chances): (Vec<_>, Vec<_>) = classes
            .filter_map(|(class, name)| {
                let of_class = queries.classes.iter().zip(&outcomes);
                let of_class = of_class.filter(|(of, _)| **of == class);
                let of_class: Vec<&Outcome> = of_class.filter_map(|(_, o)| o.as_ref()).collect();
                let scores = ScoresAtK::mean(of_class.iter().map(|outcome| &outcome.scores))?;
                let chance = ScoresAtK::mean(of_class.iter().map(|outcome| &outcome.chance))?;
                let class = ClassScores {
                    name: name.clone(),
                    queries: of_class.len(),
                    scores,
                };
                Some((class, chance))
            })
            .unzip();
        let none = || ScoresAtK {
            precision: vec![f64::NAN; k.len()],
            recall: vec![f64::NAN; k.len()],
        };
        let mean = ScoresAtK::mean(classes.iter().map(|class| &class.scores));
        Self {
            k: k.to_vec(),
            mean: mean.unwrap_or_else(none),
            chance: ScoresAtK::mean(chances.iter()).unwrap_or_else(none),
            classes,
        }
    }

    /// Number of queries.
    pub fn queries(&self) -> usize {
        self.classes.iter().map(|class| class.queries).sum()
    }
}

impl Outcome {
    /// `None` when no answer is right.
    fn new(scored: &[(f32, bool)], k: &[usize]) -> Option<Self> {
        let right = scored.iter().filter(|(_, right)| *right).count();
        (right > 0).then(|| Self {
            scores: ScoresAtK {
                precision: k.iter().map(|k| precision_at_k(scored, *k)).collect(),
                recall: k.iter().map(|k| recall_at_k(scored, *k)).collect(),
            },
            chance: ScoresAtK {
                precision: vec![right as f64 / scored.len() as f64; k.len()],
                recall: k
                    .iter()
                    .map(|k| hit_chance(scored.len(), right, *k))
                    .collect(),
            },
        })
    }
}

impl ScoresAtK {
    fn mean<'a>(scores: impl Iterator<Item = &'a Self> + Clone) -> Option<Self> {
        let count = scores.clone().count() as f64;
        let add = |sums: Vec<f64>, values: &[f64]| -> Vec<f64> {
            match sums.is_empty() {
                true => values.to_vec(),
                false => sums.iter().zip(values).map(|(a, b)| a + b).collect(),
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

/// Share of right answers among the `k` with the highest scores, or among all where there are
/// fewer; of answers with equal scores, what a random order of them would give.
///
/// `answers` has the score of each answer and whether it is right; one whose score is NaN counts as
/// wrong, and as the last.
pub fn precision_at_k(answers: &[(f32, bool)], k: usize) -> f64 {
    let cut = Cut::at(answers, k);
    let of_tied = match cut.tied {
        0 => 0.0,
        tied => (cut.right_tied * cut.tied_taken) as f64 / tied as f64,
    };
    (cut.right_above as f64 + of_tied) / k.min(answers.len()).max(1) as f64
}

/// Chance, 1 or 0 but for answers with equal scores, that one of the `k` answers with the highest
/// scores is right.
///
/// `answers` are as for [`precision_at_k`].
pub fn recall_at_k(answers: &[(f32, bool)], k: usize) -> f64 {
    let cut = Cut::at(answers, k);
    match cut.right_above {
        0 => hit_chance(cut.tied, cut.right_tied, cut.tied_taken),
        _ => 1.0,
    }
}

/// Answers above the k-th score, and those that share it.
struct Cut {
    right_above: usize,
    tied: usize,
    right_tied: usize,
    /// Places that those of equal scores fill.
    tied_taken: usize,
}

impl Cut {
    fn at(answers: &[(f32, bool)], k: usize) -> Self {
        let k = k.min(answers.len());
        if k == 0 {
            return Self {
                right_above: 0,
                tied: 0,
                right_tied: 0,
                tied_taken: 0,
            };
        }
        let sound = |&(score, is_right): &(f32, bool)| match score.is_nan() {
            true => (f32::NEG_INFINITY, false),
            false => (score, is_right),
        };
        let answers: Vec<(f32, bool)> = answers.iter().map(sound).collect();
        let mut scores: Vec<f32> = answers.iter().map(|(score, _)| *score).collect();
        let (_, threshold, _) = scores.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
        let threshold = *threshold;
        let right = |answers: &mut dyn Iterator<Item = &(f32, bool)>| {
            answers.filter(|(_, right)| *right).count()
        };
        let above = || answers.iter().filter(|(score, _)| *score > threshold);
        let tied = || answers.iter().filter(|(score, _)| *score == threshold);
        Self {
            right_above: right(&mut above()),
            tied: tied().count(),
            right_tied: right(&mut tied()),
            tied_taken: k - above().count(),
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

    /// Answers in the order of their scores, 1 for the right ones.
    fn ranked(right: &[u8]) -> Vec<(f32, bool)> {
        let scored = right.iter().enumerate();
        scored
            .map(|(rank, right)| (-(rank as f32), *right == 1))
            .collect()
    }

    #[test]
    fn precision_counts_the_right_among_the_first() {
        let answers = ranked(&[1, 0, 1, 1, 0, 0]);
        for (k, expected) in [
            (1, 1.0),
            (2, 0.5),
            (3, 2.0 / 3.0),
            (4, 0.75),
            (6, 0.5),
            (9, 0.5),
        ] {
            assert_eq!(precision_at_k(&answers, k), expected, "{k}");
        }
        assert_eq!(precision_at_k(&answers, 0), 0.0);
        assert_eq!(precision_at_k(&[], 5), 0.0);
    }

    #[test]
    fn recall_asks_for_one_right_among_the_first() {
        let answers = ranked(&[0, 0, 1, 1]);
        let recalls = [1, 2, 3, 4, 9].map(|k| recall_at_k(&answers, k));
        assert_eq!(recalls, [0.0, 0.0, 1.0, 1.0, 1.0]);
        assert_eq!(recall_at_k(&ranked(&[0, 0]), 2), 0.0);
    }

    // The first is right and above; one of the three that follow with one score is right: of the
    // second and third place it takes 2/3 of one.
    #[test]
    fn equal_scores_count_as_in_a_random_order_of_them() {
        let answers = [
            (9.0, true),
            (5.0, false),
            (5.0, true),
            (5.0, false),
            (1.0, true),
        ];
        assert!((precision_at_k(&answers, 3) - (1.0 + 2.0 / 3.0) / 3.0).abs() < 1e-12);
        assert!((recall_at_k(&answers[1..], 2) - 2.0 / 3.0).abs() < 1e-12);
        let same: Vec<_> = (0..40).map(|place| (0.5, place < 5)).collect();
        for k in [1, 5, 10] {
            assert!((precision_at_k(&same, k) - 0.125).abs() < 1e-12, "{k}");
        }
    }

    #[test]
    fn a_right_answer_whose_score_is_not_a_number_is_not_found() {
        let answers = [
            (f32::NAN, true),
            (-f32::NAN, true),
            (0.5, false),
            (0.1, true),
        ];
        for (k, precision, recall) in [(1, 0.0, 0.0), (2, 0.5, 1.0), (4, 0.25, 1.0)] {
            assert_eq!(precision_at_k(&answers, k), precision, "{k}");
            assert_eq!(recall_at_k(&answers, k), recall, "{k}");
        }
        let damaged = [(f32::NAN, true); 3];
        assert_eq!(
            (precision_at_k(&damaged, 1), recall_at_k(&damaged, 3)),
            (0.0, 0.0)
        );
    }

    /// Directions on a circle, in degrees.
    fn at(angles: &[f32]) -> Vec<Vec<f32>> {
        let vectors = angles.iter().map(|angle| angle.to_radians().sin_cos());
        vectors.map(|(y, x)| vec![3.0 * x, 3.0 * y]).collect()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    // Class a at 0° and 20°, b at 90° and 30°. The query of a at 5° finds a, a, b, b; that of b at
    // 28° finds b, a, a, b: precision@2 is 1 and 1/2.
    #[test]
    fn classes_are_averaged_and_then_their_means() {
        let of = [0, 0, 1, 1];
        let queries = at(&[5.0, 5.0, 28.0]);
        let classes = [0, 0, 1];
        let retrieval = RetrievalAtK::evaluate(
            Queries {
                vectors: &queries,
                classes: &classes,
                class_names: &names(&["a", "b"]),
            },
            &at(&[0.0, 20.0, 90.0, 30.0]),
            &[1, 2],
            |query, candidate| match classes[query] == of[candidate] {
                true => Answer::Right,
                false => Answer::Wrong,
            },
        );
        assert_eq!(retrieval.classes[0].queries, 2);
        assert_eq!(retrieval.classes[0].scores.precision, [1.0, 1.0]);
        assert_eq!(retrieval.classes[1].scores.precision, [1.0, 0.5]);
        // Of classes, not of queries: that would be 5/6.
        assert_eq!(retrieval.mean.precision, [1.0, 0.75]);
        assert_eq!(retrieval.chance.precision, [0.5, 0.5]);
        // Two right of four, two drawn: 1 − 1/6.
        assert!((retrieval.chance.recall[1] - 5.0 / 6.0).abs() < 1e-12);
        let table = retrieval.to_string();
        for part in ["precision@2", "recall@1", "by chance", "75.0 %", "50.0 %"] {
            assert!(table.contains(part), "no `{part}` in:\n{table}");
        }
    }

    #[test]
    fn the_query_itself_and_queries_without_an_answer_do_not_count() {
        let vectors = at(&[0.0, 10.0, 80.0]);
        let texts = ["a", "a", "b"];
        let retrieval = RetrievalAtK::evaluate(
            Queries {
                vectors: &vectors,
                classes: &[0, 0, 0],
                class_names: &names(&["all"]),
            },
            &vectors,
            &[1],
            |query, candidate| match (query == candidate, texts[query] == texts[candidate]) {
                (true, _) => Answer::LeftOut,
                (_, true) => Answer::Right,
                _ => Answer::Wrong,
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
        let retrieval = RetrievalAtK::evaluate(none, &at(&[0.0]), &[1], |_, _| Answer::Right);
        assert!(retrieval.mean.precision[0].is_nan() && retrieval.classes.is_empty());
    }
}
