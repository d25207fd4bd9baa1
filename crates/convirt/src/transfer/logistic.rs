//! Logistic regression on features, until convergence.

use rayon::prelude::*;

use super::features::Features;
use super::lbfgs::minimize;
use crate::scores::sigmoid;

/// Largest component of the gradient of the mean loss at a solution. The objective is then above
/// its minimum by less than its square times the inverse strength of the penalty.
const TOLERANCE: f64 = 1e-7;
const MAX_STEPS: usize = 5_000;
/// Number of rows that one task sums up. It is fixed, so that the result does not depend on the
/// number of threads.
const ROWS_PER_TASK: usize = 128;

/// Training examples: rows of features, each with a class.
///
/// With two classes, the model has one output, the score of class 1 against class 0; with more, it
/// has one output for each class.
pub(crate) struct Examples<'a> {
    pub features: &'a Features,
    /// Positions of the rows in the features.
    pub rows: &'a [usize],
    /// Class of each of these rows.
    pub classes: &'a [usize],
    /// Number of classes, at least 2.
    pub count: usize,
}

/// A linear model of features that are not standardized.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LinearModel {
    /// A row of the features' width for each output.
    pub weights: Vec<Vec<f64>>,
    /// A bias for each output.
    pub biases: Vec<f64>,
}

/// A fitted model.
#[derive(Clone, Debug)]
pub(crate) struct Fit {
    pub model: LinearModel,
    /// Largest absolute component of the gradient of the mean loss.
    pub gradient: f64,
    /// Weights and biases for standardized features, from which another fit can start.
    parameters: Vec<f64>,
}

/// The standardization of features: their mean and inverse standard deviation.
struct Scaling {
    means: Vec<f64>,
    /// 0 for a constant feature.
    inverse_deviations: Vec<f64>,
}

impl LinearModel {
    /// Returns the score of each output for a row of features.
    pub fn scores(&self, row: &[f32]) -> Vec<f64> {
        let outputs = self.weights.iter().zip(&self.biases);
        outputs
            .map(|(weights, bias)| {
                let products = weights.iter().zip(row).map(|(w, x)| w * f64::from(*x));
                bias + products.sum::<f64>()
            })
            .collect()
    }
}

impl Fit {
    /// Returns whether the solver reached the tolerance.
    pub fn has_converged(&self) -> bool {
        self.gradient <= TOLERANCE
    }
}

impl Examples<'_> {
    /// Fits a model by maximum likelihood with an L2 penalty on the weights, but not on the biases.
    ///
    /// The features are standardized to mean 0 and standard deviation 1. `c` is scikit-learn's
    /// inverse strength: the fit minimizes ½ ‖w‖² + c · Σ loss. `start` is a fit of the same
    /// features with another `c`.
    pub fn fit(&self, c: f64, start: Option<&Fit>) -> Fit {
        let scaling = Scaling::fit(self.features, self.rows);
        let penalty = 1.0 / (c * self.rows.len() as f64);
        let start = match start {
            Some(fit) => fit.parameters.clone(),
            None => vec![0.0; self.outputs() * (self.features.width + 1)],
        };
        let minimum = minimize(start, TOLERANCE, MAX_STEPS, |parameters, gradient| {
            self.objective(&scaling, penalty, parameters, gradient)
        });
        Fit {
            model: self.unscaled(&scaling, &minimum.point),
            gradient: minimum.gradient,
            parameters: minimum.point,
        }
    }

    /// Returns the sum over the rows of the negative log-likelihood of their classes, in nats.
    pub fn loss(&self, model: &LinearModel) -> f64 {
        let rows = self.rows.iter().zip(self.classes);
        rows.map(|(&row, &class)| {
            loss_and_residuals(&mut model.scores(self.features.row(row)), class)
        })
        .sum()
    }

    /// Returns the number of the model's outputs.
    fn outputs(&self) -> usize {
        if self.count == 2 { 1 } else { self.count }
    }

    /// Returns the mean loss with the penalty, and adds its gradient to `gradient`.
    ///
    /// `parameters` holds the weights and the bias of each output, one output after the other.
    fn objective(
        &self,
        scaling: &Scaling,
        penalty: f64,
        parameters: &[f64],
        gradient: &mut [f64],
    ) -> f64 {
        let width = self.features.width;
        let chunks: Vec<(f64, Vec<f64>)> = self
            .rows
            .par_chunks(ROWS_PER_TASK)
            .zip(self.classes.par_chunks(ROWS_PER_TASK))
            .map(|(rows, classes)| self.sums(scaling, parameters, rows, classes))
            .collect();
        let mut loss = 0.0;
        for (chunk_loss, chunk_gradient) in chunks {
            loss += chunk_loss;
            gradient
                .iter_mut()
                .zip(chunk_gradient)
                .for_each(|(sum, component)| *sum += component);
        }
        let rows = self.rows.len() as f64;
        let mut value = loss / rows;
        let outputs = parameters.chunks_exact(width + 1);
        for (parameters, gradient) in outputs.zip(gradient.chunks_exact_mut(width + 1)) {
            gradient.iter_mut().for_each(|component| *component /= rows);
            for (weight, component) in parameters[..width].iter().zip(gradient) {
                value += 0.5 * penalty * weight * weight;
                *component += penalty * weight;
            }
        }
        value
    }

    /// Returns the sums of the loss and of its gradient over some rows.
    fn sums(
        &self,
        scaling: &Scaling,
        parameters: &[f64],
        rows: &[usize],
        classes: &[usize],
    ) -> (f64, Vec<f64>) {
        let width = self.features.width;
        let mut loss = 0.0;
        let mut gradient = vec![0.0; parameters.len()];
        let mut scaled = vec![0.0; width];
        for (&row, &class) in rows.iter().zip(classes) {
            let raw = self.features.row(row);
            for (i, scaled) in scaled.iter_mut().enumerate() {
                *scaled = (f64::from(raw[i]) - scaling.means[i]) * scaling.inverse_deviations[i];
            }
            let outputs = parameters.chunks_exact(width + 1);
            let mut scores: Vec<f64> = outputs
                .map(|output| {
                    let products = output.iter().zip(&scaled).map(|(w, x)| w * x);
                    output[width] + products.sum::<f64>()
                })
                .collect();
            loss += loss_and_residuals(&mut scores, class);
            for (residual, gradient) in scores.iter().zip(gradient.chunks_exact_mut(width + 1)) {
                for (component, x) in gradient.iter_mut().zip(&scaled) {
                    *component += residual * x;
                }
                gradient[width] += residual;
            }
        }
        (loss, gradient)
    }

    /// Converts parameters for standardized features into a model of the original features.
    fn unscaled(&self, scaling: &Scaling, parameters: &[f64]) -> LinearModel {
        let width = self.features.width;
        let mut model = LinearModel {
            weights: Vec::new(),
            biases: Vec::new(),
        };
        for output in parameters.chunks_exact(width + 1) {
            let weights = output.iter().zip(&scaling.inverse_deviations);
            let weights: Vec<f64> = weights.map(|(w, scale)| w * scale).collect();
            let shift: f64 = weights
                .iter()
                .zip(&scaling.means)
                .map(|(w, mean)| w * mean)
                .sum();
            model.weights.push(weights);
            model.biases.push(output[width] - shift);
        }
        model
    }
}

impl Scaling {
    fn fit(features: &Features, rows: &[usize]) -> Self {
        let count = rows.len() as f64;
        let mut means = vec![0.0; features.width];
        for &row in rows {
            let row = features.row(row).iter();
            means
                .iter_mut()
                .zip(row)
                .for_each(|(sum, x)| *sum += f64::from(*x));
        }
        means.iter_mut().for_each(|sum| *sum /= count);
        let mut squares = vec![0.0; features.width];
        for &row in rows {
            let row = features.row(row).iter().zip(&means);
            squares
                .iter_mut()
                .zip(row)
                .for_each(|(sum, (x, mean))| *sum += (f64::from(*x) - mean).powi(2));
        }
        let inverse = squares.iter().zip(&means).map(|(sum, mean)| {
            let deviation = (sum / count).sqrt();
            // A feature that varies only by rounding is constant.
            if deviation > 1e-6 * mean.abs() {
                1.0 / deviation
            } else {
                0.0
            }
        });
        Self {
            inverse_deviations: inverse.collect(),
            means,
        }
    }
}

/// Returns the negative log-likelihood of `class`, in nats, and replaces the scores by its
/// derivatives with respect to them.
///
/// A single score is that of class 1 against class 0 (logistic); several are those of the classes
/// (softmax).
fn loss_and_residuals(scores: &mut [f64], class: usize) -> f64 {
    if let [score] = scores {
        // ln(1 + eˢ) − s·class, without overflow.
        let target = class as f64;
        let loss = score.max(0.0) + (-score.abs()).exp().ln_1p() - *score * target;
        *score = sigmoid(*score) - target;
        return loss;
    }
    let class_score = scores[class];
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = largest
        + scores
            .iter()
            .map(|score| (score - largest).exp())
            .sum::<f64>()
            .ln();
    for score in scores.iter_mut() {
        *score = (*score - log_sum).exp();
    }
    scores[class] -= 1.0;
    log_sum - class_score
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scores::softmax;

    /// 40 rows of 4 features, one of them far from 0.
    ///
    /// i = np.arange(40)
    /// X = np.stack([np.sin(1.3*i), np.cos(0.7*i) + 0.01*i, (i*7 % 11)/5, 100 + 3*np.sin(2.1*i)], 1)
    fn features() -> Features {
        let rows = (0..40).flat_map(|i| {
            let x = f64::from(i);
            [
                (1.3 * x).sin(),
                (0.7 * x).cos() + 0.01 * x,
                f64::from(i * 7 % 11) / 5.0,
                100.0 + 3.0 * (2.1 * x).sin(),
            ]
        });
        Features::new(4, rows.map(|x| x as f32).collect())
    }

    const ROWS: [usize; 40] = {
        let mut rows = [0; 40];
        let mut i = 0;
        while i < 40 {
            rows[i] = i;
            i += 1;
        }
        rows
    };

    /// (X[:,0] + 0.5*X[:,2] + np.sin(5*i) > 0.9)
    fn two_classes() -> Vec<usize> {
        let features = features();
        let class = |i: usize| {
            let row = features.row(i);
            let wave = (5.0 * i as f64).sin();
            usize::from(f64::from(row[0]) + 0.5 * f64::from(row[2]) + wave > 0.9)
        };
        (0..40).map(class).collect()
    }

    /// (X[:,0] > 0.3).astype(int) + (X[:,2] + 0.5*np.sin(5*i) > 1.1)
    fn three_classes() -> Vec<usize> {
        let features = features();
        let class = |i: usize| {
            let row = features.row(i);
            let wave = 0.5 * (5.0 * i as f64).sin();
            usize::from(row[0] > 0.3) + usize::from(f64::from(row[2]) + wave > 1.1)
        };
        (0..40).map(class).collect()
    }

    fn assert_close(ours: f64, theirs: f64) {
        // Our features are rounded to float32, scikit-learn's are not.
        assert!((ours - theirs).abs() < 1e-4, "{ours} {theirs}");
    }

    /// Weights for standardized features.
    fn standardized(fit: &Fit) -> &[f64] {
        &fit.parameters
    }

    // Z = (X - X.mean(0)) / X.std(0)   # scikit-learn 1.9.1
    // m = LogisticRegression(C=C, tol=1e-10, max_iter=100000).fit(Z, t)
    // m.coef_, m.intercept_, m.predict_proba(Z)[:3, 1], log_loss(t, m.predict_proba(Z))
    #[test]
    fn two_classes_are_fitted_as_by_scikit_learn() {
        let (features, classes) = (features(), two_classes());
        assert_eq!(classes.iter().sum::<usize>(), 9);
        let examples = Examples {
            features: &features,
            rows: &ROWS,
            classes: &classes,
            count: 2,
        };
        for (c, weights, probabilities, loss) in [
            (
                0.1,
                [
                    0.076_515_72,
                    -0.092_652_97,
                    0.591_158_81,
                    -0.032_570_18,
                    -1.335_160_29,
                ],
                [0.085_975_94, 0.272_325_21, 0.166_524_6],
                0.412_702_556_251_208_2,
            ),
            (
                10.0,
                [
                    0.255_194_5,
                    -0.328_656_8,
                    2.373_884_63,
                    -0.201_868_4,
                    -2.455_767_49,
                ],
                [0.001_444_2, 0.237_476_62, 0.028_952_68],
                0.301_550_332_505_107_54,
            ),
        ] {
            let fit = examples.fit(c, None);
            assert!(fit.has_converged(), "{}", fit.gradient);
            for (ours, theirs) in standardized(&fit).iter().zip(weights) {
                assert_close(*ours, theirs);
            }
            for (row, theirs) in probabilities.into_iter().enumerate() {
                assert_close(sigmoid(fit.model.scores(features.row(row))[0]), theirs);
            }
            assert_close(examples.loss(&fit.model) / 40.0, loss);
        }
    }

    #[test]
    fn three_classes_are_fitted_as_by_scikit_learn() {
        let (features, classes) = (features(), three_classes());
        let examples = Examples {
            features: &features,
            rows: &ROWS,
            classes: &classes,
            count: 3,
        };
        let fit = examples.fit(1.0, None);
        assert!(fit.has_converged(), "{}", fit.gradient);
        let weights = [
            [
                -1.269_740_63,
                -0.149_521_31,
                -1.915_115_71,
                -0.138_232_51,
                -0.371_138_39,
            ],
            [
                0.030_758_38,
                0.210_942_51,
                0.170_248_02,
                0.000_062_07,
                1.583_932_83,
            ],
            [
                1.238_982_25,
                -0.061_421_2,
                1.744_867_69,
                0.138_170_44,
                -1.212_794_43,
            ],
        ];
        for (ours, theirs) in standardized(&fit).iter().zip(weights.as_flattened()) {
            assert_close(*ours, *theirs);
        }
        let first = softmax(&fit.model.scores(features.row(0)));
        for (ours, theirs) in first
            .into_iter()
            .zip([0.718_958_08, 0.279_980_24, 0.001_061_67])
        {
            assert_close(ours, theirs);
        }
        assert_close(examples.loss(&fit.model) / 40.0, 0.335_610_981_560_390_4);
    }

    #[test]
    fn the_solution_does_not_depend_on_the_start() {
        let (features, classes) = (features(), two_classes());
        let examples = Examples {
            features: &features,
            rows: &ROWS,
            classes: &classes,
            count: 2,
        };
        let cold = examples.fit(1.0, None);
        let warm = examples.fit(1.0, Some(&examples.fit(0.01, None)));
        for (cold, warm) in cold.parameters.iter().zip(&warm.parameters) {
            assert!((cold - warm).abs() < 1e-5, "{cold} {warm}");
        }
    }

    #[test]
    fn a_constant_feature_has_no_weight_and_separable_classes_converge() {
        let values = (0..10).flat_map(|i| [7.3, if i < 5 { -1.0 } else { 2.0 }]);
        let features = Features::new(2, values.collect());
        let classes: Vec<usize> = (0..10).map(|i| usize::from(i >= 5)).collect();
        let examples = Examples {
            features: &features,
            rows: &ROWS[..10],
            classes: &classes,
            count: 2,
        };
        let fit = examples.fit(1e4, None);
        assert!(fit.has_converged(), "{}", fit.gradient);
        assert_eq!(fit.model.weights[0][0], 0.0);
        assert!(fit.model.weights[0][1] > 1.0);
        assert!(examples.loss(&fit.model) < 1e-2);
    }

    #[test]
    fn extreme_scores_have_finite_losses() {
        for (mut scores, class, expected) in [
            (vec![800.0], 0, 800.0),
            (vec![-800.0], 0, 0.0),
            (vec![900.0, -900.0, 0.0], 1, 1_800.0),
        ] {
            let loss = loss_and_residuals(&mut scores, class);
            assert!((loss - expected).abs() < 1e-9, "{loss}");
            assert!(scores.iter().all(|derivative| derivative.is_finite()));
        }
        assert_eq!(softmax(&[1_000.0, 0.0]), [1.0, 0.0]);
    }
}
