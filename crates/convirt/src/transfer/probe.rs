//! The linear probe: logistic regression on features, with a penalty chosen by validation.

use std::collections::BTreeSet;

use convirt_data::{LabelledImage, Labels, ManifestError, assign_folds};

use super::image_reader::EncodedImages;
use super::logistic::{Examples, Fit, LinearModel};
use crate::error::Error;
use crate::scores::{sigmoid, softmax};

/// Inverse strengths of the penalty to try (scikit-learn's `C`, for standardized features), the
/// strongest penalty first.
pub(super) const STRENGTHS: [f64; 7] = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];
/// Number of consecutive strengths without a lower loss after which the others are skipped: along
/// the strengths, the loss first falls and then rises.
const MAX_RISES: usize = 2;
/// Number of folds of the cross-validation.
const FOLDS: usize = 5;

/// Labelled images with their features.
#[derive(Clone, Copy)]
pub(crate) struct ProbeData<'a> {
    pub labels: &'a Labels,
    pub images: &'a [LabelledImage],
    pub encoded: &'a EncodedImages,
    /// Called with the number of further [`STRENGTHS`] that have been tried or skipped.
    pub progress: &'a (dyn Fn(usize) + Sync),
}

/// A fitted probe.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    /// The head, with one output for each label.
    pub model: LinearModel,
    /// Inverse strength of the penalty, one for each finding or one for all classes.
    pub strengths: Vec<f64>,
    /// Mean negative log-likelihood of the validation images, in nats; mean over findings.
    pub validation_loss: f64,
    /// Number of solutions that did not reach the tolerance.
    pub not_converged: usize,
}

/// Training and validation examples: the positions of images and their classes.
type Fold = [Vec<(usize, usize)>; 2];

/// A classification task: whether a finding is present, or which of the classes an image has.
struct Task<'a> {
    /// Positions of the training images, and the class of each.
    train: Vec<(usize, usize)>,
    /// Positions of the validation images, and the class of each.
    valid: Vec<(usize, usize)>,
    /// Names of the classes for errors; both classes of a finding have its name.
    names: Vec<&'a str>,
}

impl ProbeData<'_> {
    /// Returns the number of steps that `progress` is called with in each fit.
    pub fn steps(labels: &Labels) -> usize {
        let tasks = match labels {
            Labels::Classes(_) => 1,
            Labels::Findings(names) => names.len(),
        };
        tasks * STRENGTHS.len()
    }

    /// Fits a probe on the images at `train`.
    ///
    /// The penalty with the lowest loss on the images at `valid` is chosen. If there are none, it
    /// is chosen by a five-fold cross-validation on `train`, with folds of whole groups drawn with
    /// `seed`; then all of `train` is fitted with it. All images must be readable.
    ///
    /// # Errors
    ///
    /// [`ManifestError::TooFewWithLabel`] when a label is in one group only and cannot be split
    /// into folds.
    pub fn fit(&self, train: &[usize], valid: &[usize], seed: u64) -> Result<Probe, Error> {
        let mut probe = Probe {
            model: LinearModel {
                weights: Vec::new(),
                biases: Vec::new(),
            },
            strengths: Vec::new(),
            validation_loss: 0.0,
            not_converged: 0,
        };
        let tasks = self.tasks(train, valid);
        for task in &tasks {
            let (strength, loss) = self.choose(task, seed)?;
            let fit = self.fit_one(&task.train, task.names.len(), strength, None);
            probe.not_converged += usize::from(!fit.has_converged());
            probe.model.weights.extend(fit.model.weights);
            probe.model.biases.extend(fit.model.biases);
            probe.strengths.push(strength);
            probe.validation_loss += loss / tasks.len() as f64;
        }
        Ok(probe)
    }

    /// Predicts the probability of each label for the images at `indices`, which must be readable.
    ///
    /// # Shapes
    ///
    /// - output: `[indices, labels]`, flat
    pub fn predict(&self, model: &LinearModel, indices: &[usize]) -> Vec<f32> {
        let probabilities = |&index: &usize| {
            let scores = model.scores(self.row(index));
            match self.labels {
                Labels::Findings(_) => scores.into_iter().map(sigmoid).collect(),
                Labels::Classes(_) => softmax(&scores),
            }
        };
        let all = indices.iter().flat_map(probabilities);
        all.map(|probability| probability as f32).collect()
    }

    fn tasks(&self, train: &[usize], valid: &[usize]) -> Vec<Task<'_>> {
        let names = self.labels.names();
        let task = |class_of: &dyn Fn(usize) -> Option<usize>, names| {
            let known = |indices: &[usize]| {
                let indices = indices.iter();
                indices
                    .filter_map(|index| Some((*index, class_of(*index)?)))
                    .collect()
            };
            Task {
                train: known(train),
                valid: known(valid),
                names,
            }
        };
        match self.labels {
            Labels::Classes(_) => {
                let class_of = |index: usize| {
                    let targets = self.images[index].targets.iter();
                    targets.clone().position(|target| *target == Some(true))
                };
                let names = names.iter().map(String::as_str).collect();
                vec![task(&class_of, names)]
            }
            Labels::Findings(_) => names
                .iter()
                .enumerate()
                .map(|(label, name)| {
                    let class_of =
                        |index: usize| self.images[index].targets[label].map(usize::from);
                    task(&class_of, vec![name, name])
                })
                .collect(),
        }
    }

    /// Returns the strength with the lowest validation loss, and that loss.
    fn choose(&self, task: &Task, seed: u64) -> Result<(f64, f64), Error> {
        self.check(task)?;
        let count = task.names.len();
        let folds = if task.valid.is_empty() {
            self.folds(task, seed)
        } else {
            vec![[task.train.clone(), task.valid.clone()]]
        };
        let held_out: usize = folds.iter().map(|[_, valid]| valid.len()).sum();
        if held_out == 0 {
            return Err(self.too_few(task, 0));
        }
        let mut fits: Vec<Option<Fit>> = folds.iter().map(|_| None).collect();
        let mut best = (STRENGTHS[0], f64::INFINITY);
        let mut rises = 0;
        for (tried, strength) in STRENGTHS.into_iter().enumerate() {
            let mut loss = 0.0;
            for ([train, valid], fit) in folds.iter().zip(&mut fits) {
                let next = self.fit_one(train, count, strength, fit.as_ref());
                loss += self.with_examples(valid, count, |valid| valid.loss(&next.model));
                *fit = Some(next);
            }
            loss /= held_out as f64;
            rises = if loss < best.1 { 0 } else { rises + 1 };
            if loss < best.1 {
                best = (strength, loss);
            }
            if rises == MAX_RISES {
                (self.progress)(STRENGTHS.len() - tried);
                break;
            }
            (self.progress)(1);
        }
        Ok(best)
    }

    /// Checks that each class is in enough groups of the training images.
    fn check(&self, task: &Task) -> Result<(), Error> {
        let min_groups = if task.valid.is_empty() { 2 } else { 1 };
        for class in 0..task.names.len() {
            if self.groups_with(task, class) < min_groups {
                return Err(self.too_few(task, class));
            }
        }
        Ok(())
    }

    /// Returns the number of groups that the training images with a class belong to.
    fn groups_with(&self, task: &Task, class: usize) -> usize {
        let images = task.train.iter();
        let images = images.filter(|(_, image_class)| *image_class == class);
        let groups = images.map(|(index, _)| &self.images[*index].group);
        groups.collect::<BTreeSet<_>>().len()
    }

    fn too_few(&self, task: &Task, class: usize) -> Error {
        let error = ManifestError::TooFewWithLabel {
            label: task.names[class].to_string(),
            holds: task.names.len() > 2 || class == 1,
            groups: self.groups_with(task, class),
        };
        error.into()
    }

    /// Splits the training images into folds. Folds whose training part lacks a class are left out.
    fn folds(&self, task: &Task, seed: u64) -> Vec<Fold> {
        let groups: Vec<&str> = task
            .train
            .iter()
            .map(|&(index, _)| self.images[index].group.as_str())
            .collect();
        let classes: Vec<usize> = task.train.iter().map(|&(_, class)| class).collect();
        let image_folds = assign_folds(&groups, &classes, FOLDS, seed);
        let folds = (0..=image_folds.iter().copied().max().unwrap_or(0)).map(|fold| {
            [false, true].map(|is_held_out| {
                let images = task.train.iter().zip(&image_folds);
                let part = images.filter(|(_, image_fold)| (**image_fold == fold) == is_held_out);
                part.map(|(image, _)| *image).collect::<Vec<_>>()
            })
        });
        // When groups contain several classes, the images outside a fold may lack one of them.
        let has_all = |train: &[(usize, usize)]| {
            let classes: BTreeSet<usize> = train.iter().map(|&(_, class)| class).collect();
            classes.len() == task.names.len()
        };
        folds.filter(|[train, _]| has_all(train)).collect()
    }

    fn fit_one(
        &self,
        images: &[(usize, usize)],
        count: usize,
        strength: f64,
        start: Option<&Fit>,
    ) -> Fit {
        self.with_examples(images, count, |examples| examples.fit(strength, start))
    }

    fn with_examples<T>(
        &self,
        images: &[(usize, usize)],
        count: usize,
        use_examples: impl FnOnce(&Examples) -> T,
    ) -> T {
        let rows: Vec<usize> = images
            .iter()
            .map(|&(index, _)| self.encoded.rows[index].expect("the image is readable"))
            .collect();
        let classes: Vec<usize> = images.iter().map(|&(_, class)| class).collect();
        use_examples(&Examples {
            features: &self.encoded.features,
            rows: &rows,
            classes: &classes,
            count,
        })
    }

    /// Returns the features of an image.
    fn row(&self, index: usize) -> &[f32] {
        let row = self.encoded.rows[index].expect("the image is readable");
        self.encoded.features.row(row)
    }
}

#[cfg(test)]
mod tests {
    use super::super::features::Features;
    use super::*;

    /// Returns images in groups of two with 20 features. The first feature depends on the first
    /// target, the others are noise.
    fn data(
        images: usize,
        targets: impl Fn(usize) -> Vec<Option<bool>>,
    ) -> (Vec<LabelledImage>, EncodedImages) {
        let labelled = (0..images).map(|i| LabelledImage {
            row: i + 1,
            image: format!("{i}.png").into(),
            image_content: i as u64,
            group: (i / 2).to_string(),
            split: None,
            targets: targets(i),
        });
        let noise = |i: usize, j: usize| {
            let wave = (12.9898 * i as f64 + 78.233 * j as f64).sin() * 43_758.545_3;
            wave.rem_euclid(1.0) as f32
        };
        let values = (0..images).flat_map(|i| {
            let signal = if targets(i)[0] == Some(true) {
                1.0
            } else {
                0.0
            };
            (0..20).map(move |j| {
                if j == 0 {
                    signal + 1.5 * noise(i, 0)
                } else {
                    100.0 * noise(i, j)
                }
            })
        });
        let encoded = EncodedImages {
            features: Features::new(20, values.collect()),
            rows: (0..images).map(Some).collect(),
            unreadable: Vec::new(),
        };
        (labelled.collect(), encoded)
    }

    fn one_finding() -> Labels {
        Labels::Findings(vec!["a".into()])
    }

    #[test]
    fn cross_validation_chooses_a_penalty_that_improves_the_auroc() {
        let (images, encoded) = data(300, |i| vec![Some(i / 2 % 3 == 0)]);
        let labels = one_finding();
        let data = ProbeData {
            labels: &labels,
            images: &images,
            encoded: &encoded,
            progress: &|_| (),
        };
        let train: Vec<usize> = (0..60).collect();
        let probe = data.fit(&train, &[], 0).unwrap();
        assert_eq!(probe.not_converged, 0);
        let test: Vec<usize> = (60..300).collect();
        let target = |image: &usize| images[*image].targets[0] == Some(true);
        let targets: Vec<bool> = test.iter().map(target).collect();
        let auroc = |model: &LinearModel| {
            crate::scores::auroc(&data.predict(model, &test), &targets).unwrap()
        };
        let chosen = auroc(&probe.model);
        let pairs: Vec<_> = train.iter().map(|i| (*i, usize::from(target(i)))).collect();
        let weakest = auroc(&data.fit_one(&pairs, 2, 1e3, None).model);
        assert!(
            chosen > weakest + 0.02 && chosen > 0.85,
            "{chosen} {weakest}"
        );
        assert_eq!(data.fit(&train, &[], 0).unwrap().strengths, probe.strengths);
    }

    #[test]
    fn validation_images_choose_the_penalty_and_are_not_trained_on() {
        let (images, encoded) = data(120, |i| vec![Some(i / 2 % 2 == 0)]);
        let labels = one_finding();
        let data = ProbeData {
            labels: &labels,
            images: &images,
            encoded: &encoded,
            progress: &|_| (),
        };
        let (train, valid): (Vec<usize>, Vec<usize>) = (0..120).partition(|i| *i < 40);
        let probe = data.fit(&train, &valid, 0).unwrap();
        let class = |i: &usize| (*i, usize::from(images[*i].targets[0] == Some(true)));
        let pairs: Vec<_> = train.iter().map(class).collect();
        let expected = data.fit_one(&pairs, 2, probe.strengths[0], None);
        assert_eq!(probe.model, expected.model);
    }

    #[test]
    fn each_finding_is_fitted_to_the_images_where_it_is_known() {
        // `b` equals `a`, but is known for every fifth group only.
        let targets = |i: usize| {
            let a = Some((i / 2).is_multiple_of(3));
            vec![a, a.filter(|_| (i / 2).is_multiple_of(5))]
        };
        let (images, encoded) = data(200, targets);
        let labels = Labels::Findings(vec!["a".into(), "b".into()]);
        let data = ProbeData {
            labels: &labels,
            images: &images,
            encoded: &encoded,
            progress: &|_| (),
        };
        let all: Vec<usize> = (0..200).collect();
        let probe = data.fit(&all, &[], 0).unwrap();
        assert_eq!((probe.model.weights.len(), probe.strengths.len()), (2, 2));
        let known: Vec<usize> = all.iter().copied().filter(|i| i / 2 % 5 == 0).collect();
        let alone = data.fit(&known, &[], 0).unwrap();
        assert_eq!(probe.model.weights[1], alone.model.weights[1]);
    }

    #[test]
    fn classes_share_one_model_whose_probabilities_sum_to_one() {
        let (images, encoded) = data(90, |i| {
            [0, 1, 2].map(|class| Some(i / 2 % 3 == class)).into()
        });
        let labels = Labels::Classes(["x", "y", "z"].map(String::from).into());
        let data = ProbeData {
            labels: &labels,
            images: &images,
            encoded: &encoded,
            progress: &|_| (),
        };
        let all: Vec<usize> = (0..90).collect();
        let probe = data.fit(&all, &[], 0).unwrap();
        assert_eq!((probe.model.biases.len(), probe.strengths.len()), (3, 1));
        for row in data.predict(&probe.model, &all).chunks(3) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn a_label_in_a_single_group_is_an_error_that_names_it() {
        let (images, encoded) = data(20, |i| vec![Some(i < 2)]);
        let labels = one_finding();
        let data = ProbeData {
            labels: &labels,
            images: &images,
            encoded: &encoded,
            progress: &|_| (),
        };
        let all: Vec<usize> = (0..20).collect();
        let error = data.fit(&all, &[], 0).unwrap_err().to_string();
        assert!(error.contains("`a` is positive in 1 group"), "{error}");
    }
}
