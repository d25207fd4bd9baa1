//! Measures of weighted answers.

use convirt_data::LabelledImage;

/// Bins of the calibration error (Guo et al. 2017).
const BINS: usize = 15;

/// Area under the receiver operating characteristic: the chance that an image for which the label
/// holds scores higher than one for which it does not, ties counting half.
///
/// A score that is NaN counts as wrong as can be. `None` when the label holds for all or for none.
///
/// # Panics
///
/// When the lengths differ.
pub fn auroc(scores: &[f32], holds: &[bool]) -> Option<f64> {
    defined(Judged::of(scores, holds).auroc(&vec![1; scores.len()]))
}

/// Average precision: Σ (recallₙ − recallₙ₋₁) · precisionₙ over the distinct scores, as
/// scikit-learn's `average_precision_score`.
///
/// A score that is NaN counts as wrong as can be. `None` when the label holds for all or for none.
///
/// # Panics
///
/// When the lengths differ.
pub fn average_precision(scores: &[f32], holds: &[bool]) -> Option<f64> {
    defined(Judged::of(scores, holds).average_precision(&vec![1; scores.len()]))
}

/// One number of each kind; NaN where it is not defined.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measures {
    pub auroc: f64,
    pub auprc: f64,
    pub accuracy: f64,
    pub calibration_error: f64,
}

impl Measures {
    /// Mean of each kind over those that are defined.
    pub fn mean(all: &[Self]) -> Self {
        let mean = |kind: fn(&Self) -> f64| {
            let defined = all.iter().map(kind).filter(|value| !value.is_nan());
            defined.clone().sum::<f64>() / defined.count() as f64
        };
        Self {
            auroc: mean(|measures| measures.auroc),
            auprc: mean(|measures| measures.auprc),
            accuracy: mean(|measures| measures.accuracy),
            calibration_error: mean(|measures| measures.calibration_error),
        }
    }
}

/// The answers to one label, highest probability first; unknown ones are absent.
pub(super) struct Judged {
    answers: Vec<Answer>,
}

struct Answer {
    /// Place among the images.
    image: usize,
    probability: f32,
    holds: bool,
}

impl Judged {
    /// Sorts a probability and a target of each image. One that is NaN is as wrong as can be: the
    /// lowest for an image of which the label holds, the highest for another.
    pub fn new(images: impl Iterator<Item = (f32, Option<bool>)>) -> Self {
        let answers = images
            .enumerate()
            .filter_map(|(image, (probability, holds))| {
                let holds = holds?;
                Some(Answer {
                    image,
                    probability: match (probability.is_nan(), holds) {
                        (false, _) => probability,
                        (true, true) => f32::NEG_INFINITY,
                        (true, false) => f32::INFINITY,
                    },
                    holds,
                })
            });
        let mut answers: Vec<_> = answers.collect();
        answers.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        Self { answers }
    }

    fn of(scores: &[f32], holds: &[bool]) -> Self {
        assert_eq!(scores.len(), holds.len(), "a score for each image");
        let holds = holds.iter().map(|holds| Some(*holds));
        Self::new(scores.iter().copied().zip(holds))
    }

    /// All measures, each image counting as often as its weight says.
    pub fn measure(&self, weights: &[u32], is_finding: bool) -> Measures {
        let by_itself = |measure: fn(&Self, &[u32]) -> f64| {
            if is_finding {
                measure(self, weights)
            } else {
                f64::NAN
            }
        };
        Measures {
            auroc: self.auroc(weights),
            auprc: self.average_precision(weights),
            accuracy: by_itself(Self::accuracy),
            calibration_error: by_itself(Self::calibration_error),
        }
    }

    fn auroc(&self, weights: &[u32]) -> f64 {
        let (mut above, mut below, mut area) = (0.0, 0.0, 0.0);
        for (positives, negatives) in self.levels(weights) {
            area += negatives * (above + positives / 2.0);
            above += positives;
            below += negatives;
        }
        area / (above * below)
    }

    fn average_precision(&self, weights: &[u32]) -> f64 {
        let (mut positives, mut all, mut area) = (0.0, 0.0, 0.0);
        for (more_positives, more_negatives) in self.levels(weights) {
            positives += more_positives;
            all += more_positives + more_negatives;
            if more_positives > 0.0 {
                area += more_positives * positives / all;
            }
        }
        if positives < all {
            area / positives
        } else {
            f64::NAN
        }
    }

    fn accuracy(&self, weights: &[u32]) -> f64 {
        share(self.answers.iter().map(|answer| {
            let is_right = (answer.probability >= 0.5) == answer.holds;
            (weights[answer.image], is_right)
        }))
    }

    fn calibration_error(&self, weights: &[u32]) -> f64 {
        calibration_error(self.answers.iter().map(|answer| {
            let weight = weights[answer.image];
            (weight, answer.probability, answer.holds)
        }))
    }

    /// Weight of the positives and of the negatives at each distinct probability, highest first.
    fn levels<'a>(&'a self, weights: &'a [u32]) -> impl Iterator<Item = (f64, f64)> + 'a {
        let levels = self.answers.chunk_by(|a, b| a.probability == b.probability);
        levels.map(|level| {
            let weight = |holds: bool| {
                let of_kind = level.iter().filter(|answer| answer.holds == holds);
                of_kind.map(|answer| f64::from(weights[answer.image])).sum()
            };
            (weight(true), weight(false))
        })
    }
}

/// The most probable class of each image.
pub(super) struct TopClass {
    /// Its probability, and whether it is right.
    answers: Vec<(f32, bool)>,
}

impl TopClass {
    pub fn new(images: &[LabelledImage], probabilities: &[f32], classes: usize) -> Self {
        let rows = images.iter().zip(probabilities.chunks_exact(classes));
        let answers = rows.map(|(image, row)| {
            if row.iter().any(|probability| probability.is_nan()) {
                // As wrong as can be.
                return (1.0, false);
            }
            // The first of equal ones.
            let best = (1..classes).fold(
                0,
                |best, class| if row[class] > row[best] { class } else { best },
            );
            (row[best], image.targets[best] == Some(true))
        });
        Self {
            answers: answers.collect(),
        }
    }

    /// Accuracy and calibration error.
    pub fn measure(&self, weights: &[u32]) -> (f64, f64) {
        let answers = weights.iter().zip(&self.answers);
        let accuracy = share(
            answers
                .clone()
                .map(|(&weight, &(_, right))| (weight, right)),
        );
        let calibration =
            calibration_error(answers.map(|(&weight, &(sure, right))| (weight, sure, right)));
        (accuracy, calibration)
    }
}

/// Weighted share of what is so.
fn share(answers: impl Iterator<Item = (u32, bool)>) -> f64 {
    let (so, all) = answers.fold((0, 0), |(so, all), (weight, is_so)| {
        (so + weight * u32::from(is_so), all + weight)
    });
    f64::from(so) / f64::from(all)
}

/// Mean distance between what was said and how often it was so, over bins (m−1)/15 < p ≤ m/15.
fn calibration_error(answers: impl Iterator<Item = (u32, f32, bool)>) -> f64 {
    let mut gaps = [0.0; BINS];
    let mut all = 0.0;
    for (weight, probability, is_so) in answers {
        let (weight, probability) = (f64::from(weight), f64::from(probability.clamp(0.0, 1.0)));
        let bin = (probability * BINS as f64).ceil() as usize;
        gaps[bin.clamp(1, BINS) - 1] += weight * (probability - f64::from(u8::from(is_so)));
        all += weight;
    }
    gaps.iter().map(|gap| gap.abs()).sum::<f64>() / all
}

fn defined(value: f64) -> Option<f64> {
    (!value.is_nan()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f32; 12] = [0.9, 0.8, 0.8, 0.7, 0.6, 0.6, 0.6, 0.4, 0.3, 0.3, 0.2, 0.1];
    const HOLDS: [u8; 12] = [1, 1, 0, 1, 0, 1, 0, 0, 1, 0, 0, 0];

    fn holds() -> [bool; 12] {
        HOLDS.map(|holds| holds == 1)
    }

    // from sklearn.metrics import *   # scikit-learn 1.9.1
    // roc_auc_score(y, p), average_precision_score(y, p), accuracy_score(y, p >= .5)
    #[test]
    fn areas_and_accuracy_with_ties_are_those_of_scikit_learn() {
        let auroc = auroc(&SCORES, &holds()).unwrap();
        assert!((auroc - 0.771_428_571_428_571_5).abs() < 1e-15);
        let precision = average_precision(&SCORES, &holds()).unwrap();
        assert!((precision - 0.697_619_047_619_047_7).abs() < 1e-15);
        let accuracy = Judged::of(&SCORES, &holds()).accuracy(&[1; 12]);
        assert!((accuracy - 0.666_666_666_666_666_6).abs() < 1e-15);
    }

    // The same with sample_weight=w.
    #[test]
    fn weighted_areas_are_those_of_scikit_learn() {
        let weights = [1, 0, 2, 1, 3, 1, 0, 2, 1, 1, 0, 2];
        let judged = Judged::of(&SCORES, &holds());
        assert!((judged.auroc(&weights) - 0.675).abs() < 1e-15);
        let precision = judged.average_precision(&weights);
        assert!((precision - 0.552_083_333_333_333_3).abs() < 1e-15);
    }

    #[test]
    fn a_score_that_is_not_a_number_is_wrong() {
        let holds = [true, false, true, false];
        let nan = f32::NAN;
        for damaged in [[nan; 4], [-nan; 4]] {
            let judged = Judged::of(&damaged, &holds).measure(&[1; 4], true);
            assert_eq!(auroc(&damaged, &holds), Some(0.0));
            // Both positives come, tied, behind both negatives: a precision of 2/4.
            assert_eq!(judged.auprc, 0.5);
            assert_eq!((judged.accuracy, judged.calibration_error), (0.0, 1.0));
        }
        // The sound ones are right: of four comparisons one remains.
        assert_eq!(auroc(&[nan, nan, 0.9, 0.1], &holds), Some(0.25));
    }

    #[test]
    fn a_class_whose_probability_is_not_a_number_is_not_the_answer() {
        let image = LabelledImage {
            row: 1,
            image: "a.png".into(),
            image_content: 0,
            group: "a".into(),
            split: None,
            targets: vec![Some(true), Some(false), Some(false)],
        };
        for row in [[f32::NAN; 3], [0.9, f32::NAN, 0.1], [f32::NAN, 0.1, 0.2]] {
            let top = TopClass::new(std::slice::from_ref(&image), &row, 3);
            assert_eq!(top.measure(&[1]), (0.0, 1.0));
        }
    }

    #[test]
    fn a_label_that_is_always_or_never_so_has_no_areas() {
        for holds in [true, false] {
            assert_eq!(auroc(&SCORES, &[holds; 12]), None);
            assert_eq!(average_precision(&SCORES, &[holds; 12]), None);
        }
        assert_eq!(auroc(&[], &[]), None);
    }

    #[test]
    fn calibration_is_the_mean_gap_over_fifteen_bins() {
        // Two of three at 0.9 hold, and 0.1 never does; a bin's upper bound belongs to it.
        let answers = [
            (1, 0.9, true),
            (1, 0.9, true),
            (1, 0.9, false),
            (1, 0.1, false),
        ];
        let expected = (3.0 * (0.9 - 2.0 / 3.0) + 0.1) / 4.0;
        assert!((calibration_error(answers.into_iter()) - expected).abs() < 1e-7);
        // 0.4 and 6/15 would cancel out in one bin; 0.4 + ε is in the next.
        let apart = [(1, 0.400_01, true), (1, 0.399_99, false)];
        assert!((calibration_error(apart.into_iter()) - 0.5).abs() < 1e-4);
        let sure = [(1, 0.0, false), (1, 1.0, true)];
        assert_eq!(calibration_error(sure.into_iter()), 0.0);
    }

    #[test]
    fn weights_are_as_if_images_stood_there_more_often() {
        let weights = [1, 0, 2, 1, 3, 1, 0, 2, 1, 1, 0, 2];
        let repeated = |i: usize| std::iter::repeat_n(i, weights[i] as usize);
        let places: Vec<usize> = (0..12).flat_map(repeated).collect();
        let scores: Vec<f32> = places.iter().map(|&i| SCORES[i]).collect();
        let told: Vec<bool> = places.iter().map(|&i| holds()[i]).collect();
        let one = Judged::of(&SCORES, &holds()).measure(&weights, true);
        let other = Judged::of(&scores, &told).measure(&vec![1; places.len()], true);
        for (a, b) in [
            (one.auroc, other.auroc),
            (one.auprc, other.auprc),
            (one.accuracy, other.accuracy),
            (one.calibration_error, other.calibration_error),
        ] {
            assert!((a - b).abs() < 1e-12, "{one:?} {other:?}");
        }
    }
}
