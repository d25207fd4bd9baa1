//! Measures of predictions, with a weight for each image.

use convirt_data::LabelledImage;

/// Number of bins of the calibration error (Guo et al. 2017).
const BINS: usize = 15;

/// Returns the area under the receiver operating characteristic: the probability that a positive
/// image scores higher than a negative one, where ties count half.
///
/// `None` when all or none of `targets` are positive. A NaN score counts as the worst possible one.
///
/// # Panics
///
/// When the lengths differ.
///
/// # Examples
///
/// ```
/// use convirt::scores::auroc;
///
/// // Three of the four pairs of a positive and a negative image are in the right order.
/// let (scores, targets) = ([0.9, 0.7, 0.4, 0.1], [true, false, true, false]);
/// assert_eq!(auroc(&scores, &targets), Some(0.75));
/// assert_eq!(auroc(&scores, &[true; 4]), None);
/// ```
pub fn auroc(scores: &[f32], targets: &[bool]) -> Option<f64> {
    let predictions = LabelPredictions::from_slices(scores, targets);
    not_nan(predictions.auroc(&vec![1; scores.len()]))
}

/// Returns the average precision, Σ (recallₙ − recallₙ₋₁) · precisionₙ over the distinct scores,
/// like scikit-learn's `average_precision_score`.
///
/// `None` when all or none of `targets` are positive. A NaN score counts as the worst possible one.
///
/// # Panics
///
/// When the lengths differ.
///
/// # Examples
///
/// ```
/// use convirt::scores::average_precision;
///
/// // The positive images have ranks 1 and 3: the precisions there are 1 and 2/3.
/// let (scores, targets) = ([0.9, 0.7, 0.4, 0.1], [true, false, true, false]);
/// let precision = average_precision(&scores, &targets).unwrap();
/// assert!((precision - 5.0 / 6.0).abs() < 1e-12);
/// ```
pub fn average_precision(scores: &[f32], targets: &[bool]) -> Option<f64> {
    let predictions = LabelPredictions::from_slices(scores, targets);
    not_nan(predictions.average_precision(&vec![1; scores.len()]))
}

/// One value of each measure; NaN where it is undefined.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measures {
    pub auroc: f64,
    pub auprc: f64,
    pub accuracy: f64,
    pub calibration_error: f64,
}

impl Measures {
    /// Returns the mean of each measure over the values that are defined.
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

/// The predictions for one label, highest probability first, without images of unknown target.
pub(super) struct LabelPredictions {
    predictions: Vec<Prediction>,
}

struct Prediction {
    /// Position among the images.
    image: usize,
    probability: f32,
    target: bool,
}

impl LabelPredictions {
    /// Sorts the probability and target of each image.
    ///
    /// A NaN probability becomes the worst possible one: the lowest for a positive image, the
    /// highest for a negative one.
    pub fn new(images: impl Iterator<Item = (f32, Option<bool>)>) -> Self {
        let predictions = images
            .enumerate()
            .filter_map(|(image, (probability, target))| {
                let target = target?;
                Some(Prediction {
                    image,
                    probability: match (probability.is_nan(), target) {
                        (false, _) => probability,
                        (true, true) => f32::NEG_INFINITY,
                        (true, false) => f32::INFINITY,
                    },
                    target,
                })
            });
        let mut predictions: Vec<_> = predictions.collect();
        predictions.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        Self { predictions }
    }

    fn from_slices(scores: &[f32], targets: &[bool]) -> Self {
        assert_eq!(scores.len(), targets.len(), "one score for each target");
        let targets = targets.iter().map(|target| Some(*target));
        Self::new(scores.iter().copied().zip(targets))
    }

    /// Returns all measures; each image counts as often as its weight says.
    ///
    /// Accuracy and calibration error are only defined for findings.
    pub fn measure(&self, weights: &[u32], is_finding: bool) -> Measures {
        let if_finding = |measure: fn(&Self, &[u32]) -> f64| {
            if is_finding {
                measure(self, weights)
            } else {
                f64::NAN
            }
        };
        Measures {
            auroc: self.auroc(weights),
            auprc: self.average_precision(weights),
            accuracy: if_finding(Self::accuracy),
            calibration_error: if_finding(Self::calibration_error),
        }
    }

    fn auroc(&self, weights: &[u32]) -> f64 {
        let (mut all_positives, mut all_negatives, mut area) = (0.0, 0.0, 0.0);
        for (positives, negatives) in self.levels(weights) {
            area += negatives * (all_positives + positives / 2.0);
            all_positives += positives;
            all_negatives += negatives;
        }
        area / (all_positives * all_negatives)
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
        weighted_share(self.predictions.iter().map(|prediction| {
            let is_right = (prediction.probability >= 0.5) == prediction.target;
            (weights[prediction.image], is_right)
        }))
    }

    fn calibration_error(&self, weights: &[u32]) -> f64 {
        calibration_error(self.predictions.iter().map(|prediction| {
            let weight = weights[prediction.image];
            (weight, prediction.probability, prediction.target)
        }))
    }

    /// Iterates over the distinct probabilities, highest first, with the weights of the positives
    /// and of the negatives.
    fn levels<'a>(&'a self, weights: &'a [u32]) -> impl Iterator<Item = (f64, f64)> + 'a {
        let predictions = &self.predictions;
        let levels = predictions.chunk_by(|a, b| a.probability == b.probability);
        levels.map(|level| {
            let weight = |target: bool| {
                let matching = level
                    .iter()
                    .filter(|prediction| prediction.target == target);
                matching
                    .map(|prediction| f64::from(weights[prediction.image]))
                    .sum()
            };
            (weight(true), weight(false))
        })
    }
}

/// The most probable class of each image.
pub(super) struct TopClass {
    /// The probability of the class, and whether it is right.
    predictions: Vec<(f32, bool)>,
}

impl TopClass {
    pub fn new(images: &[LabelledImage], probabilities: &[f32], classes: usize) -> Self {
        let rows = images.iter().zip(probabilities.chunks_exact(classes));
        let predictions = rows.map(|(image, row)| {
            if row.iter().any(|probability| probability.is_nan()) {
                // The worst possible prediction.
                return (1.0, false);
            }
            // Of equal probabilities, the first counts.
            let best = (1..classes).fold(
                0,
                |best, class| if row[class] > row[best] { class } else { best },
            );
            (row[best], image.targets[best] == Some(true))
        });
        Self {
            predictions: predictions.collect(),
        }
    }

    /// Returns the accuracy and the calibration error.
    pub fn measure(&self, weights: &[u32]) -> (f64, f64) {
        let predictions = weights.iter().zip(&self.predictions);
        let accuracy = predictions
            .clone()
            .map(|(&weight, &(_, is_right))| (weight, is_right));
        let calibration =
            predictions.map(|(&weight, &(probability, is_right))| (weight, probability, is_right));
        (weighted_share(accuracy), calibration_error(calibration))
    }
}

/// Returns the weighted share of values that are true.
fn weighted_share(values: impl Iterator<Item = (u32, bool)>) -> f64 {
    let (positive, all) = values.fold((0, 0), |(positive, all), (weight, value)| {
        (positive + weight * u32::from(value), all + weight)
    });
    f64::from(positive) / f64::from(all)
}

/// Returns the mean absolute difference between the probability and the observed frequency, over
/// bins (m−1)/15 < p ≤ m/15.
fn calibration_error(predictions: impl Iterator<Item = (u32, f32, bool)>) -> f64 {
    let mut gaps = [0.0; BINS];
    let mut all = 0.0;
    for (weight, probability, target) in predictions {
        let (weight, probability) = (f64::from(weight), f64::from(probability.clamp(0.0, 1.0)));
        let bin = (probability * BINS as f64).ceil() as usize;
        gaps[bin.clamp(1, BINS) - 1] += weight * (probability - f64::from(u8::from(target)));
        all += weight;
    }
    gaps.iter().map(|gap| gap.abs()).sum::<f64>() / all
}

fn not_nan(value: f64) -> Option<f64> {
    (!value.is_nan()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f32; 12] = [0.9, 0.8, 0.8, 0.7, 0.6, 0.6, 0.6, 0.4, 0.3, 0.3, 0.2, 0.1];
    const TARGETS: [u8; 12] = [1, 1, 0, 1, 0, 1, 0, 0, 1, 0, 0, 0];

    fn targets() -> [bool; 12] {
        TARGETS.map(|target| target == 1)
    }

    // from sklearn.metrics import *   # scikit-learn 1.9.1
    // roc_auc_score(y, p), average_precision_score(y, p), accuracy_score(y, p >= .5)
    #[test]
    fn areas_and_accuracy_with_ties_are_those_of_scikit_learn() {
        let auroc = auroc(&SCORES, &targets()).unwrap();
        assert!((auroc - 0.771_428_571_428_571_5).abs() < 1e-15);
        let precision = average_precision(&SCORES, &targets()).unwrap();
        assert!((precision - 0.697_619_047_619_047_7).abs() < 1e-15);
        let accuracy = LabelPredictions::from_slices(&SCORES, &targets()).accuracy(&[1; 12]);
        assert!((accuracy - 0.666_666_666_666_666_6).abs() < 1e-15);
    }

    // The same with sample_weight=w.
    #[test]
    fn weighted_areas_are_those_of_scikit_learn() {
        let weights = [1, 0, 2, 1, 3, 1, 0, 2, 1, 1, 0, 2];
        let predictions = LabelPredictions::from_slices(&SCORES, &targets());
        assert!((predictions.auroc(&weights) - 0.675).abs() < 1e-15);
        let precision = predictions.average_precision(&weights);
        assert!((precision - 0.552_083_333_333_333_3).abs() < 1e-15);
    }

    #[test]
    fn a_nan_score_is_the_worst_possible_one() {
        let targets = [true, false, true, false];
        let nan = f32::NAN;
        for damaged in [[nan; 4], [-nan; 4]] {
            let predictions =
                LabelPredictions::from_slices(&damaged, &targets).measure(&[1; 4], true);
            assert_eq!(auroc(&damaged, &targets), Some(0.0));
            // Both positives are tied behind both negatives, which is a precision of 2/4.
            assert_eq!(predictions.auprc, 0.5);
            assert_eq!(
                (predictions.accuracy, predictions.calibration_error),
                (0.0, 1.0)
            );
        }
        // Only the pair of the last two images is in the right order, one of four.
        assert_eq!(auroc(&[nan, nan, 0.9, 0.1], &targets), Some(0.25));
    }

    #[test]
    fn a_prediction_with_a_nan_probability_is_wrong() {
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
    fn areas_are_undefined_when_all_or_no_images_are_positive() {
        for target in [true, false] {
            assert_eq!(auroc(&SCORES, &[target; 12]), None);
            assert_eq!(average_precision(&SCORES, &[target; 12]), None);
        }
        assert_eq!(auroc(&[], &[]), None);
    }

    #[test]
    fn calibration_is_the_mean_gap_over_fifteen_bins() {
        // Two of the three at 0.9 are positive, the one at 0.1 is not.
        let predictions = [
            (1, 0.9, true),
            (1, 0.9, true),
            (1, 0.9, false),
            (1, 0.1, false),
        ];
        let expected = (3.0 * (0.9 - 2.0 / 3.0) + 0.1) / 4.0;
        assert!((calibration_error(predictions.into_iter()) - expected).abs() < 1e-7);
        // Just below and above the bound 6/15 = 0.4: in one bin, the two would cancel out.
        let two_bins = [(1, 0.400_01, true), (1, 0.399_99, false)];
        assert!((calibration_error(two_bins.into_iter()) - 0.5).abs() < 1e-4);
        let perfect = [(1, 0.0, false), (1, 1.0, true)];
        assert_eq!(calibration_error(perfect.into_iter()), 0.0);
    }

    #[test]
    fn a_weight_is_the_same_as_repeating_the_image() {
        let weights = [1, 0, 2, 1, 3, 1, 0, 2, 1, 1, 0, 2];
        let repeated = |i: usize| std::iter::repeat_n(i, weights[i] as usize);
        let images: Vec<usize> = (0..12).flat_map(repeated).collect();
        let scores: Vec<f32> = images.iter().map(|&i| SCORES[i]).collect();
        let repeated: Vec<bool> = images.iter().map(|&i| targets()[i]).collect();
        let one = LabelPredictions::from_slices(&SCORES, &targets()).measure(&weights, true);
        let other =
            LabelPredictions::from_slices(&scores, &repeated).measure(&vec![1; images.len()], true);
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
