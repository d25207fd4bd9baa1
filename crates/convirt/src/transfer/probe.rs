//! The linear probe: logistic regression on features, its penalty chosen by validation.

use std::collections::BTreeSet;

use convirt_data::{LabelledImage, Labels, ManifestError, assign_folds};

use super::image_reader::EncodedImages;
use super::logistic::{Examples, Fit, LinearModel};
use crate::error::Error;
use crate::scores::{sigmoid, softmax};

/// Inverse strengths of the penalty that are tried, the strongest penalty first; scikit-learn's
/// `C`, for standardized features.
pub(super) const STRENGTHS: [f64; 7] = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];
/// Weaker penalties in a row that may bring a higher loss before the rest is left out: along the
/// strengths the loss falls, and then climbs.
const RISES: usize = 2;
/// Parts of the training data that take turns in validation.
const FOLDS: usize = 5;

/// Labelled images with their features.
#[derive(Clone, Copy)]
pub(crate) struct ProbeData<'a> {
    pub labels: &'a Labels,
    pub images: &'a [LabelledImage],
    pub encoded: &'a EncodedImages,
    /// Hears how many more of a label's [`STRENGTHS`] have been tried, or left out.
    pub progress: &'a (dyn Fn(usize) + Sync),
}

/// A fitted probe.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    /// The head, an output for each label.
    pub model: LinearModel,
    /// Inverse strength of the penalty, of each label by itself for findings.
    pub strengths: Vec<f64>,
    /// Mean negative log-likelihood in validation, in nats; mean over labels.
    pub validation_loss: f64,
    /// Solutions that are not exact to the tolerance.
    pub not_converged: usize,
}

/// Places of images and their classes: those to fit, and those to validate by.
type Fold = [Vec<(usize, usize)>; 2];

/// One question: a finding, or which class it is.
struct Question<'a> {
    /// Images by their place, and the class of each.
    train: Vec<(usize, usize)>,
    valid: Vec<(usize, usize)>,
    /// Names of the classes for errors: of a finding its name twice.
    names: Vec<&'a str>,
}

impl ProbeData<'_> {
    /// Steps that `progress` hears of in each fit.
    pub fn steps(labels: &Labels) -> usize {
        let questions = match labels {
            Labels::Classes(_) => 1,
            Labels::Findings(names) => names.len(),
        };
        questions * STRENGTHS.len()
    }

    /// Fits a probe on the images at `train`. The penalty is chosen by those at `valid`, or where
    /// there are none by five folds of `train`, dealt by group and `seed`; then all of `train` is
    /// fitted with it. All of them can be read.
    ///
    /// # Errors
    ///
    /// [`ManifestError::TooFewWithLabel`] where a label has one group only, and thus no folds.
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
        let questions = self.questions(train, valid);
        for question in &questions {
            let (strength, loss) = self.choose(question, seed)?;
            let fit = self.fit_one(&question.train, question.names.len(), strength, None);
            probe.not_converged += usize::from(!fit.has_converged());
            probe.model.weights.extend(fit.model.weights);
            probe.model.biases.extend(fit.model.biases);
            probe.strengths.push(strength);
            probe.validation_loss += loss / questions.len() as f64;
        }
        Ok(probe)
    }

    /// Probabilities of each label for the images at `places`, which can all be read.
    ///
    /// # Shapes
    ///
    /// - output: `[places, labels]`, flat
    pub fn predict(&self, model: &LinearModel, places: &[usize]) -> Vec<f32> {
        let probabilities = |&place: &usize| {
            let scores = model.scores(self.row(place));
            match self.labels {
                Labels::Findings(_) => scores.into_iter().map(sigmoid).collect(),
                Labels::Classes(_) => softmax(&scores),
            }
        };
        let all = places.iter().flat_map(probabilities);
        all.map(|probability| probability as f32).collect()
    }

    fn questions(&self, train: &[usize], valid: &[usize]) -> Vec<Question<'_>> {
        let names = self.labels.names();
        let question = |class_of: &dyn Fn(usize) -> Option<usize>, names| {
            let known = |places: &[usize]| {
                let places = places.iter();
                places
                    .filter_map(|place| Some((*place, class_of(*place)?)))
                    .collect()
            };
            Question {
                train: known(train),
                valid: known(valid),
                names,
            }
        };
        match self.labels {
            Labels::Classes(_) => {
                let class_of = |place: usize| {
                    let targets = self.images[place].targets.iter();
                    targets.clone().position(|target| *target == Some(true))
                };
                let names = names.iter().map(String::as_str).collect();
                vec![question(&class_of, names)]
            }
            Labels::Findings(_) => names
                .iter()
                .enumerate()
                .map(|(label, name)| {
                    let class_of =
                        |place: usize| self.images[place].targets[label].map(usize::from);
                    question(&class_of, vec![name, name])
                })
                .collect(),
        }
    }

    /// The strength of the lowest loss in validation, and that loss.
    fn choose(&self, question: &Question, seed: u64) -> Result<(f64, f64), Error> {
        self.check(question)?;
        let count = question.names.len();
        let folds = if question.valid.is_empty() {
            self.folds(question, seed)
        } else {
            vec![[question.train.clone(), question.valid.clone()]]
        };
        let held_out: usize = folds.iter().map(|[_, valid]| valid.len()).sum();
        if held_out == 0 {
            return Err(self.too_few(question, 0));
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
            if rises == RISES {
                (self.progress)(STRENGTHS.len() - tried);
                break;
            }
            (self.progress)(1);
        }
        Ok(best)
    }

    /// Checks that each class is in as many groups of the training images as are needed.
    fn check(&self, question: &Question) -> Result<(), Error> {
        let least = if question.valid.is_empty() { 2 } else { 1 };
        for class in 0..question.names.len() {
            if self.groups_with(question, class) < least {
                return Err(self.too_few(question, class));
            }
        }
        Ok(())
    }

    /// Groups of the training images with a class.
    fn groups_with(&self, question: &Question, class: usize) -> usize {
        let images = question.train.iter().filter(|(_, of)| *of == class);
        let groups = images.map(|(place, _)| &self.images[*place].group);
        groups.collect::<BTreeSet<_>>().len()
    }

    fn too_few(&self, question: &Question, class: usize) -> Error {
        let error = ManifestError::TooFewWithLabel {
            label: question.names[class].to_string(),
            holds: question.names.len() > 2 || class == 1,
            groups: self.groups_with(question, class),
        };
        error.into()
    }

    /// The training images without, and with, each fold; every class is in the former.
    fn folds(&self, question: &Question, seed: u64) -> Vec<Fold> {
        let groups: Vec<&str> = question
            .train
            .iter()
            .map(|&(place, _)| self.images[place].group.as_str())
            .collect();
        let classes: Vec<usize> = question.train.iter().map(|&(_, class)| class).collect();
        let fold_of = assign_folds(&groups, &classes, FOLDS, seed);
        let folds = (0..=fold_of.iter().copied().max().unwrap_or(0)).map(|fold| {
            [false, true].map(|is_held_out| {
                let images = question.train.iter().zip(&fold_of);
                let side = images.filter(|(_, of)| (**of == fold) == is_held_out);
                side.map(|(image, _)| *image).collect::<Vec<_>>()
            })
        });
        // Groups of several classes can leave what is outside of a fold without one of them.
        let has_all = |train: &[(usize, usize)]| {
            let classes: BTreeSet<usize> = train.iter().map(|&(_, class)| class).collect();
            classes.len() == question.names.len()
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
        then: impl FnOnce(&Examples) -> T,
    ) -> T {
        let rows: Vec<usize> = images
            .iter()
            .map(|&(place, _)| self.encoded.rows[place].expect("a readable image"))
            .collect();
        let classes: Vec<usize> = images.iter().map(|&(_, class)| class).collect();
        then(&Examples {
            features: &self.encoded.features,
            rows: &rows,
            classes: &classes,
            count,
        })
    }

    fn row(&self, place: usize) -> &[f32] {
        let row = self.encoded.rows[place].expect("a readable image");
        self.encoded.features.row(row)
    }
}

#[cfg(test)]
mod tests {
    use super::super::features::Features;
    use super::*;

    /// Images `i` in groups of two, with features of which the first tells the finding, the rest
    /// nothing.
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
            let told = if targets(i)[0] == Some(true) {
                1.0
            } else {
                0.0
            };
            (0..20).map(move |j| {
                if j == 0 {
                    told + 1.5 * noise(i, 0)
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
    fn the_penalty_is_chosen_within_the_training_images_and_helps() {
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
        let known = |image: &usize| images[*image].targets[0] == Some(true);
        let holds: Vec<bool> = test.iter().map(known).collect();
        let auroc = |model: &LinearModel| {
            crate::scores::auroc(&data.predict(model, &test), &holds).unwrap()
        };
        let chosen = auroc(&probe.model);
        let pairs: Vec<_> = train.iter().map(|i| (*i, usize::from(known(i)))).collect();
        let weakest = auroc(&data.fit_one(&pairs, 2, 1e3, None).model);
        assert!(
            chosen > weakest + 0.02 && chosen > 0.85,
            "{chosen} {weakest}"
        );
        assert_eq!(data.fit(&train, &[], 0).unwrap().strengths, probe.strengths);
    }

    #[test]
    fn given_validation_images_choose_and_are_not_learned_from() {
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
        // `b` is known, and as `a`, for every fifth group only.
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
    fn a_label_of_a_single_group_is_an_error_that_names_it() {
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
