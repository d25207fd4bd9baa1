//! How well probabilities tell labels, with intervals that know of groups.

mod probabilities;
mod measures;
mod bootstrap;
mod table;

use convirt_data::{LabelledImage, Labels};
pub(crate) use probabilities::{sigmoid, softmax};
use serde::{Deserialize, Serialize};

pub use bootstrap::Bootstrap;
use bootstrap::Resamples;
use measures::{Judged, Measures, TopClass};
pub use measures::{auroc, average_precision};
pub(crate) use table::NAME_WIDTH;

/// What is measured of one label, or of all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Area under the receiver operating characteristic, ties counting half.
    pub auroc: Option<Estimate>,
    /// Area under the precision–recall curve: average precision, without interpolation.
    pub auprc: Option<Estimate>,
    /// Share of right answers: of findings at a probability of ½, of classes by the most probable.
    /// A class by itself has none.
    pub accuracy: Option<Estimate>,
    /// Expected calibration error over 15 equal bins ([Guo et al.
    /// 2017](https://arxiv.org/abs/1706.04599)): of findings between their probability and how
    /// often they hold, of classes between the highest probability and how often it is right.
    pub calibration_error: Option<Estimate>,
}

/// A number with what is known of its uncertainty.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Mean over runs.
    pub value: f64,
    /// Standard deviation over runs, of which there are two or more.
    pub deviation: Option<f64>,
    /// Bounds of the 95 % bootstrap interval of `value`, by resampling groups of the test.
    pub interval: Option<[f64; 2]>,
}

/// Scores of one label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelScores {
    /// Its name.
    pub label: String,
    /// Images of the test for which it is known.
    pub images: usize,
    /// Those for which it holds.
    pub positives: usize,
    /// What it reaches; without areas when it holds for all or for none.
    #[serde(flatten)]
    pub scores: Scores,
}

/// Scores of a classifier, or of several runs of one, on a test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassificationScores {
    /// Mean over labels (macro average) of those that are defined; of classes accuracy and
    /// calibration are those of all together.
    #[serde(flatten)]
    pub overall: Scores,
    /// Each label.
    pub labels: Vec<LabelScores>,
}

impl ClassificationScores {
    /// Scores the probabilities of `runs`, each for all `images` in their order.
    ///
    /// # Shapes
    ///
    /// - runs: of each `[images, labels]`, flat
    ///
    /// # Panics
    ///
    /// Without runs, and when a run has other than `images` · `labels` probabilities.
    pub fn evaluate(
        labels: &Labels,
        images: &[LabelledImage],
        runs: &[Vec<f32>],
        bootstrap: &Bootstrap,
    ) -> Self {
        let names = labels.names();
        assert!(!runs.is_empty(), "a run to score");
        for run in runs {
            assert_eq!(run.len(), images.len() * names.len(), "one for each label");
        }
        let tests: Vec<Test> = runs
            .iter()
            .map(|run| Test::new(labels, images, run))
            .collect();
        let measure = |weights: &[u32]| -> Vec<Measures> {
            tests
                .iter()
                .flat_map(|test| test.measure(weights))
                .collect()
        };
        let groups = images.iter().map(|image| image.group.as_str());
        let resamples = Resamples::draw(bootstrap, groups, measure);
        let whole = measure(&vec![1; images.len()]);
        // `measure` gives each run's overall measures, then those of its labels.
        let scores = |place: usize| {
            let stride = names.len() + 1;
            let of_runs = |all: &[Measures]| -> Vec<Measures> {
                all.iter().skip(place).step_by(stride).copied().collect()
            };
            resamples.scores(&of_runs(&whole), of_runs)
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
                        positives: known.filter(|holds| *holds).count(),
                        scores: scores(label + 1),
                    }
                })
                .collect(),
        }
    }

    /// Labels without areas: they hold for all images of the test for which they are known, or
    /// for none.
    pub fn undefined(&self) -> impl Iterator<Item = &str> {
        let labels = self.labels.iter();
        labels
            .filter(|label| label.scores.auroc.is_none())
            .map(|label| label.label.as_str())
    }
}

/// The answers of one run, sorted once for all resamples.
struct Test {
    labels: Vec<Judged>,
    /// Where labels exclude each other.
    top: Option<TopClass>,
}

impl Test {
    fn new(labels: &Labels, images: &[LabelledImage], probabilities: &[f32]) -> Self {
        let count = labels.names().len();
        let judged = (0..count).map(|label| {
            let column = probabilities.iter().skip(label).step_by(count).copied();
            Judged::new(column.zip(images.iter().map(|image| image.targets[label])))
        });
        Self {
            labels: judged.collect(),
            top: match labels {
                Labels::Findings(_) => None,
                Labels::Classes(_) => Some(TopClass::new(images, probabilities, count)),
            },
        }
    }

    /// The overall measures, then those of each label.
    fn measure(&self, weights: &[u32]) -> Vec<Measures> {
        let of_label = |label: &Judged| label.measure(weights, self.top.is_none());
        let labels: Vec<Measures> = self.labels.iter().map(of_label).collect();
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

    /// One finding of `images` in groups of `group_size`, told with some noise.
    fn noisy(images: usize, group_size: usize) -> (Vec<LabelledImage>, Vec<f32>) {
        let numbers = (0..images).map(|i| {
            let group = i / group_size;
            let holds = group.is_multiple_of(3);
            let noise = ((group * 7919) % 101) as f32 / 101.0;
            (
                image(group, &[Some(holds)]),
                0.5 * noise + if holds { 0.3 } else { 0.1 },
            )
        });
        numbers.unzip()
    }

    fn value(estimate: Option<Estimate>) -> f64 {
        estimate.unwrap().value
    }

    // from sklearn.metrics import *   # scikit-learn 1.9.1
    // roc_auc_score(c, q, multi_class="ovr"), [roc_auc_score(c == k, q[:, k]) for k in range(3)],
    // accuracy_score(c, q.argmax(1))
    #[test]
    fn classes_are_averaged_one_against_the_rest_as_in_scikit_learn() {
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
        // Bins of the highest probability: .34 and .4 (6th) are wrong, .5 twice (8th) and .7 (11th)
        // right, .6 right and .6 wrong (9th), .8 (12th) right.
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
    fn unknown_targets_do_not_count_and_undefined_labels_stay_out_of_the_mean() {
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
        assert_eq!(value(scores.overall.auroc), 0.5, "of `a` alone");
        assert_eq!(scores.undefined().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn several_runs_are_averaged_and_their_spread_told() {
        let [no, yes] = [false, true].map(Some);
        let images = [image(0, &[yes]), image(1, &[no]), image(2, &[no])];
        let runs = [vec![0.9, 0.1, 0.2], vec![0.5, 0.9, 0.2]];
        let labels = findings(&["a"]);
        let scores = ClassificationScores::evaluate(&labels, &images, &runs, &Bootstrap::none());
        let auroc = scores.overall.auroc.unwrap();
        assert_eq!(auroc.value, 0.75);
        // Of 1 and ½: √(2 · ¼² / 1).
        assert!((auroc.deviation.unwrap() - 0.125_f64.sqrt()).abs() < 1e-12);
        let one = ClassificationScores::evaluate(&labels, &images, &runs[..1], &Bootstrap::none());
        assert_eq!(one.overall.auroc.unwrap().deviation, None);
    }

    #[test]
    fn intervals_enclose_the_value_repeat_and_know_of_groups() {
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
        // 600 images alone, or 30 patients with 20 equal ones each: √20 times as wide, and the
        // quantiles of 1,000 resamples are within some percent.
        let ratio = interval(20) / interval(1);
        assert!((3.0..6.5).contains(&ratio), "{ratio}");
    }

    #[test]
    fn the_interval_of_an_accuracy_is_that_of_the_binomial() {
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
