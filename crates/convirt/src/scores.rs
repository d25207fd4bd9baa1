//! Scores of classifiers: AUROC, average precision, accuracy and calibration, with bootstrap
//! intervals over groups.

mod probabilities;
mod measures;
mod bootstrap;
mod table;

use convirt_data::{LabelledImage, Labels};
pub(crate) use probabilities::{sigmoid, softmax};
use serde::{Deserialize, Serialize};

pub use bootstrap::Bootstrap;
use bootstrap::Resamples;
use measures::{LabelPredictions, Measures, TopClass};
pub use measures::{auroc, average_precision};
pub(crate) use table::NAME_WIDTH;

/// The scores of one label, or of all labels together; `None` where a score is undefined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Area under the receiver operating characteristic; ties count half.
    pub auroc: Option<Estimate>,
    /// Area under the precision–recall curve: average precision, without interpolation.
    pub auprc: Option<Estimate>,
    /// Share of right predictions: of findings with a threshold of ½, of classes by the most
    /// probable class. A single class has no accuracy.
    pub accuracy: Option<Estimate>,
    /// Expected calibration error over 15 equal bins ([Guo et al.
    /// 2017](https://arxiv.org/abs/1706.04599)). It compares the probability of a finding with how
    /// often the finding is present, and the highest probability of the classes with how often that
    /// class is right. A single class has none.
    pub calibration_error: Option<Estimate>,
}

/// A score with its uncertainty.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Mean over runs.
    pub value: f64,
    /// Standard deviation over runs, if there are at least two.
    pub deviation: Option<f64>,
    /// Bounds of the 95 % bootstrap interval of `value`, from resampled groups of the test set.
    pub interval: Option<[f64; 2]>,
}

/// Scores of one label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelScores {
    /// Name of the label.
    pub label: String,
    /// Number of test images with a known target.
    pub images: usize,
    /// Number of these images that are positive.
    pub positives: usize,
    /// The scores. When all or none of the images are positive, AUROC and AUPRC are undefined.
    #[serde(flatten)]
    pub scores: Scores,
}

/// Scores of a classifier, or of several runs of one, on a test set.
///
/// # Examples
///
/// ```
/// use convirt::data::{LabelledImage, Labels};
/// use convirt::scores::{Bootstrap, ClassificationScores};
///
/// let image = |patient: &str, target: bool| LabelledImage {
///     row: 1,
///     image: "chest.png".into(),
///     image_content: 0,
///     group: patient.into(),
///     split: None,
///     targets: vec![Some(target)],
/// };
/// let images = [image("p1", true), image("p2", false), image("p3", false)];
/// let labels = Labels::Findings(vec!["Edema".into()]);
/// let run = vec![0.8, 0.3, 0.6];
/// let scores = ClassificationScores::evaluate(&labels, &images, &[run], &Bootstrap::default());
/// assert_eq!(scores.overall.auroc.unwrap().value, 1.0);
/// assert_eq!(scores.labels[0].positives, 1);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassificationScores {
    /// Mean over the labels with a defined score (macro average). The accuracy and calibration
    /// error of classes are computed over all classes together.
    #[serde(flatten)]
    pub overall: Scores,
    /// The scores of each label.
    pub labels: Vec<LabelScores>,
}

impl ClassificationScores {
    /// Scores the probabilities of one or more `runs` against the targets of `images`.
    ///
    /// # Shapes
    ///
    /// - each of runs: `[images, labels]`, flat
    ///
    /// # Panics
    ///
    /// When there are no runs, or a run does not have `images` · `labels` probabilities.
    pub fn evaluate(
        labels: &Labels,
        images: &[LabelledImage],
        runs: &[Vec<f32>],
        bootstrap: &Bootstrap,
    ) -> Self {
        let names = labels.names();
        assert!(!runs.is_empty(), "there is no run to score");
        for run in runs {
            let expected = images.len() * names.len();
            assert_eq!(
                run.len(),
                expected,
                "one probability for each image and label"
            );
        }
        let runs: Vec<RunPredictions> = runs
            .iter()
            .map(|run| RunPredictions::new(labels, images, run))
            .collect();
        let measure = |weights: &[u32]| -> Vec<Measures> {
            runs.iter().flat_map(|run| run.measure(weights)).collect()
        };
        let groups = images.iter().map(|image| image.group.as_str());
        let resamples = Resamples::draw(bootstrap, groups, measure);
        let test_set = measure(&vec![1; images.len()]);
        // `measure` returns the overall measures of a run, then those of its labels; then the next
        // run.
        let scores = |index: usize| {
            let stride = names.len() + 1;
            let select_runs = |all: &[Measures]| -> Vec<Measures> {
                all.iter().skip(index).step_by(stride).copied().collect()
            };
            resamples.scores(&select_runs(&test_set), select_runs)
        };
        Self {
            overall: scores(0),
            labels: names
                .iter()
                .enumerate()
                .map(|(label, name)| {
                    let known = images.iter().filter_map(|image| image.targets[label]);
                    LabelScores {
                        label: name.clone(),
                        images: known.clone().count(),
                        positives: known.filter(|target| *target).count(),
                        scores: scores(label + 1),
                    }
                })
                .collect(),
        }
    }

    /// Iterates over the names of the labels with undefined AUROC: all or none of their known test
    /// images are positive.
    pub fn undefined(&self) -> impl Iterator<Item = &str> {
        let labels = self.labels.iter();
        labels
            .filter(|label| label.scores.auroc.is_none())
            .map(|label| label.label.as_str())
    }
}

/// The predictions of one run, sorted once for all resamples.
struct RunPredictions {
    labels: Vec<LabelPredictions>,
    /// The most probable classes, if the labels are classes.
    top: Option<TopClass>,
}

impl RunPredictions {
    fn new(labels: &Labels, images: &[LabelledImage], probabilities: &[f32]) -> Self {
        let count = labels.names().len();
        let label_predictions = (0..count).map(|label| {
            let column = probabilities.iter().skip(label).step_by(count).copied();
            LabelPredictions::new(column.zip(images.iter().map(|image| image.targets[label])))
        });
        Self {
            labels: label_predictions.collect(),
            top: match labels {
                Labels::Findings(_) => None,
                Labels::Classes(_) => Some(TopClass::new(images, probabilities, count)),
            },
        }
    }

    /// Returns the overall measures, then those of each label; `weights` is how often each image
    /// counts.
    fn measure(&self, weights: &[u32]) -> Vec<Measures> {
        let is_finding = self.top.is_none();
        let labels = self.labels.iter();
        let labels: Vec<Measures> = labels
            .map(|label| label.measure(weights, is_finding))
            .collect();
        let mut overall = Measures::mean(&labels);
        if let Some(top) = &self.top {
            (overall.accuracy, overall.calibration_error) = top.measure(weights);
        }
        [vec![overall], labels].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(group: usize, targets: &[Option<bool>]) -> LabelledImage {
        LabelledImage {
            row: 1,
            image: "a.png".into(),
            image_content: 0,
            group: group.to_string(),
            split: None,
            targets: targets.into(),
        }
    }

    fn findings(names: &[&str]) -> Labels {
        Labels::Findings(names.iter().map(ToString::to_string).collect())
    }

    /// Returns `images` with one finding, in groups of `group_size`, and noisy probabilities.
    fn noisy(images: usize, group_size: usize) -> (Vec<LabelledImage>, Vec<f32>) {
        let examples = (0..images).map(|i| {
            let group = i / group_size;
            let positive = group.is_multiple_of(3);
            let noise = ((group * 7919) % 101) as f32 / 101.0;
            (
                image(group, &[Some(positive)]),
                0.5 * noise + if positive { 0.3 } else { 0.1 },
            )
        });
        examples.unzip()
    }

    fn value(estimate: Option<Estimate>) -> f64 {
        estimate.unwrap().value
    }

    // from sklearn.metrics import *   # scikit-learn 1.9.1
    // roc_auc_score(c, q, multi_class="ovr"), [roc_auc_score(c == k, q[:, k]) for k in range(3)],
    // accuracy_score(c, q.argmax(1))
    #[test]
    fn class_scores_are_averaged_one_vs_rest_as_in_scikit_learn() {
        let labels = Labels::Classes(["a", "b", "c"].map(String::from).into());
        let classes = [0, 1, 2, 0, 0, 1, 1, 2];
        let images: Vec<_> = classes
            .iter()
            .enumerate()
            .map(|(i, class)| image(i, &[0, 1, 2].map(|label| Some(label == *class))))
            .collect();
        let run = [
            [0.7, 0.2, 0.1],
            [0.4, 0.5, 0.1],
            [0.1, 0.3, 0.6],
            [0.3, 0.4, 0.3],
            [0.5, 0.25, 0.25],
            [0.2, 0.2, 0.6],
            [0.1, 0.8, 0.1],
            [0.34, 0.33, 0.33],
        ];
        let scores =
            ClassificationScores::evaluate(&labels, &images, &[run.concat()], &Bootstrap::none());
        assert!((value(scores.overall.auroc) - 0.813_888_888_888_888_8).abs() < 1e-12);
        for (label, expected) in scores
            .labels
            .iter()
            .zip([0.866_666_666_666_666_7, 0.7, 0.875])
        {
            assert!((value(label.scores.auroc) - expected).abs() < 1e-12);
            assert_eq!(label.scores.accuracy, None);
        }
        assert_eq!(value(scores.overall.accuracy), 0.625);
        // Bins of the highest probability: .34 and .4 (6th bin) are wrong; .5 twice (8th) and .7
        // (11th) are right; of .6 twice (9th) one is right; .8 (12th) is right.
        let gaps = [
            0.34 + 0.4,
            2.0 - 1.0,
            1.0 - 0.7,
            (1.2 - 1.0_f64).abs(),
            1.0 - 0.8,
        ];
        let expected = gaps.iter().sum::<f64>() / 8.0;
        assert!((value(scores.overall.calibration_error) - expected).abs() < 1e-7);
    }

    #[test]
    fn unknown_targets_and_undefined_labels_do_not_count_in_the_mean() {
        let [no, yes] = [false, true].map(Some);
        let images = [
            image(0, &[yes, yes]),
            image(1, &[no, yes]),
            image(2, &[None, yes]),
            image(3, &[yes, yes]),
        ];
        let run = vec![0.9, 0.5, 0.2, 0.5, 0.0, 0.5, 0.1, 0.5];
        let labels = findings(&["a", "b"]);
        let scores = ClassificationScores::evaluate(&labels, &images, &[run], &Bootstrap::none());
        let [a, b] = &scores.labels[..] else {
            panic!("{scores:?}");
        };
        assert_eq!((a.images, a.positives, b.images, b.positives), (3, 2, 4, 4));
        assert_eq!(value(a.scores.auroc), 0.5);
        assert_eq!((b.scores.auroc, b.scores.auprc), (None, None));
        assert_eq!(value(b.scores.accuracy), 1.0);
        assert_eq!(value(scores.overall.auroc), 0.5, "only `a` counts");
        assert_eq!(scores.undefined().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn several_runs_have_a_mean_and_a_standard_deviation() {
        let [no, yes] = [false, true].map(Some);
        let images = [image(0, &[yes]), image(1, &[no]), image(2, &[no])];
        let runs = [vec![0.9, 0.1, 0.2], vec![0.5, 0.9, 0.2]];
        let labels = findings(&["a"]);
        let scores = ClassificationScores::evaluate(&labels, &images, &runs, &Bootstrap::none());
        let auroc = scores.overall.auroc.unwrap();
        assert_eq!(auroc.value, 0.75);
        // The AUROCs are 1 and ½: √(2 · ¼² / 1).
        assert!((auroc.deviation.unwrap() - 0.125_f64.sqrt()).abs() < 1e-12);
        let one = ClassificationScores::evaluate(&labels, &images, &runs[..1], &Bootstrap::none());
        assert_eq!(one.overall.auroc.unwrap().deviation, None);
    }

    #[test]
    fn intervals_contain_the_value_are_reproducible_and_resample_groups() {
        let bootstrap = Bootstrap::default();
        let labels = findings(&["a"]);
        let interval = |group_size| {
            let (images, run) = noisy(600, group_size);
            let score = || {
                ClassificationScores::evaluate(
                    &labels,
                    &images,
                    std::slice::from_ref(&run),
                    &bootstrap,
                )
            };
            let scores = score();
            assert_eq!(score(), scores);
            let auroc = scores.overall.auroc.unwrap();
            let [low, high] = auroc.interval.unwrap();
            assert!(low < auroc.value && auroc.value < high);
            high - low
        };
        // With 30 patients of 20 equal images each, the interval is √20 times as wide as with 600
        // independent images; the quantiles of 1,000 resamples are accurate to a few percent.
        let ratio = interval(20) / interval(1);
        assert!((3.0..6.5).contains(&ratio), "{ratio}");
    }

    #[test]
    fn the_interval_of_an_accuracy_is_binomial() {
        // 100 images, 80 right: 1.96 · √(0.8 · 0.2 / 100) = 0.0784 on either side.
        let images: Vec<_> = (0..100).map(|i| image(i, &[Some(i % 2 == 0)])).collect();
        let run: Vec<f32> = (0..100)
            .map(|i| if (i % 2 == 0) == (i >= 20) { 0.9 } else { 0.1 })
            .collect();
        let labels = findings(&["a"]);
        let bootstrap = Bootstrap {
            resamples: 4_000,
            ..Bootstrap::default()
        };
        let scores = ClassificationScores::evaluate(&labels, &images, &[run], &bootstrap);
        let [low, high] = scores.overall.accuracy.unwrap().interval.unwrap();
        assert!(
            (low - 0.7216).abs() < 0.015 && (high - 0.8784).abs() < 0.015,
            "{low} {high}"
        );
    }
}
