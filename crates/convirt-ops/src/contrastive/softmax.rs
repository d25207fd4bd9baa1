//! The cross-entropies of a softmax over all candidates.

use std::ops::Range;

use burn::tensor::{Bool, Int, Tensor};

use super::{Best, Contrast, Pairs, assert_fits, equal, strips, zero};

/// What [`contrastive_loss`] compares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ContrastiveOptions {
    /// The weight λ of the rows' cross-entropy, 0 to 1; that of the columns' is 1 − λ.
    pub row_weight: f64,
    /// Whether row i and column i are the same thing, which is then no candidate for itself.
    pub excludes_diagonal: bool,
}

/// Computes the contrastive loss of vectors with logits q_ij = scale · u_i·v_j,
///
/// L = −1/N Σ_i Σ_j P_ij ( λ log softmax_j(q_ij) + (1−λ) log softmax_j(q_ji) ),
///
/// in memory that grows linearly with the batch. P_ij is 1/n_i for each of the n_i candidates j of
/// row i's class, and 0 elsewhere; a row without such a candidate makes the loss NaN.
///
/// # Shapes
///
/// - rows, columns: `[batch, d_embedding]`
/// - scale: `[1]`, above 0
/// - classes: `[batch]`, of row i and of column i
///
/// # Panics
///
/// When the shapes do not fit.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use convirt_ops::{ContrastiveOptions, contrastive_loss};
///
/// let device = Device::flex();
/// let (images, texts) = (Tensor::<2>::eye(3, &device), Tensor::<2>::eye(3, &device));
/// let options = ContrastiveOptions { row_weight: 0.75, excludes_diagonal: false };
/// let classes = Tensor::<1, Int>::arange(0..3, &device);
/// let contrast = contrastive_loss(images, texts, Tensor::ones([1], &device), classes, options);
/// // The softmax of a row has e at its own text and 1 at the others.
/// let expected = (1f64.exp() + 2.0).ln() - 1.0;
/// assert!((contrast.loss.into_scalar::<f64>() - expected).abs() < 1e-6);
/// assert_eq!(contrast.best_columns.into_data(), [0, 1, 2].into());
/// ```
pub fn contrastive_loss(
    rows: Tensor<2>,
    columns: Tensor<2>,
    scale: Tensor<1>,
    classes: Tensor<1, Int>,
    options: ContrastiveOptions,
) -> Contrast {
    assert_fits(&rows, &columns, &[&scale], &classes);
    #[cfg(feature = "flex")]
    if super::runs_on_flex(&rows, &columns, &[&scale]) {
        return crate::flex::contrastive_loss(rows, columns, scale, classes, options);
    }
    Composed::new(&rows, &columns, &scale, classes, options).contrast(rows, columns, scale)
}

/// The loss by Burn's own operations.
struct Composed {
    pairs: Pairs,
    options: ContrastiveOptions,
}

impl Composed {
    fn new(
        rows: &Tensor<2>,
        columns: &Tensor<2>,
        scale: &Tensor<1>,
        classes: Tensor<1, Int>,
        options: ContrastiveOptions,
    ) -> Self {
        let pairs = Pairs::new(rows, columns, scale, classes);
        Self { pairs, options }
    }

    /// Computes the output for the tensors that this was made of.
    fn contrast(&self, rows: Tensor<2>, columns: Tensor<2>, scale: Tensor<1>) -> Contrast {
        let (contrast, log_sums) = self.forward();
        let is_trained = rows.is_autodiff() || columns.is_autodiff() || scale.is_autodiff();
        if !is_trained {
            return contrast;
        }
        let [row_gradient, column_gradient] = self.gradients(&log_sums);
        let scale_gradient = self.pairs.scale_gradient(&row_gradient);
        let zero =
            zero(rows, row_gradient) + zero(columns, column_gradient) + zero(scale, scale_gradient);
        Contrast {
            loss: zero + contrast.loss,
            ..contrast
        }
    }

    /// The logits of a strip of rows, without those that are excluded.
    fn logits(&self, strip: &Range<usize>) -> Tensor<2> {
        let logits = self.pairs.logits(strip);
        if self.options.excludes_diagonal {
            logits.mask_fill(self.diagonal(strip), f32::MIN)
        } else {
            logits
        }
    }

    fn diagonal(&self, strip: &Range<usize>) -> Tensor<2, Bool> {
        let device = self.pairs.rows.device();
        let numbers = |range: Range<usize>| {
            Tensor::<1, Int>::arange(range.start as i64..range.end as i64, &device)
        };
        equal(numbers(strip.clone()), numbers(0..self.pairs.size()))
    }

    /// The target distribution P of a strip of rows.
    fn targets(&self, strip: &Range<usize>) -> Tensor<2> {
        let mut is_positive = self.pairs.is_positive(strip);
        if self.options.excludes_diagonal {
            is_positive = is_positive.bool_and(self.diagonal(strip).bool_not());
        }
        let positives = is_positive.float().cast(self.pairs.rows.dtype());
        let counts = positives.clone().sum_dim(1);
        positives / counts
    }

    /// Computes the output, and the log-sum-exps of the rows, `[batch, 1]`, and of the columns,
    /// `[1, batch]`.
    fn forward(&self) -> (Contrast, [LogSums; 2]) {
        let size = self.pairs.size();
        let mut best = Best::new(&self.pairs);
        let (mut row_max, mut row_sum) = (Vec::new(), Vec::new());
        let mut column_sum = best.max.zeros_like();
        let mut agreement = Tensor::<1>::zeros_like(&self.pairs.scale.clone().reshape([1]));
        for strip in strips(size) {
            let logits = self.logits(&strip);
            agreement = agreement + (logits.clone() * self.targets(&strip)).sum_dim(1).sum();
            let max = logits.clone().max_dim(1);
            row_sum.push((logits.clone() - max.clone()).exp().sum_dim(1));
            row_max.push(max);

            let earlier_max = best.max.clone();
            best.add(&logits, &strip);
            let earlier = column_sum * (earlier_max - best.max.clone()).exp();
            column_sum = earlier + (logits - best.max.clone()).exp().sum_dim(0);
        }
        let log_sums = [
            LogSums::new(Tensor::cat(row_max, 0), Tensor::cat(row_sum, 0)),
            LogSums::new(best.max.clone(), column_sum),
        ];
        let weight = self.options.row_weight;
        let [of_rows, of_columns] = [0, 1].map(|side| log_sums[side].total());
        let sum = of_rows.mul_scalar(weight) + of_columns.mul_scalar(1.0 - weight) - agreement;
        (best.contrast(sum.div_scalar(size as f64)), log_sums)
    }

    /// Computes the gradients of rows and columns.
    fn gradients(&self, [of_rows, of_columns]: &[LogSums; 2]) -> [Tensor<2>; 2] {
        let (size, weight) = (self.pairs.size(), self.options.row_weight);
        self.pairs.gradients(|strip| {
            let logits = self.logits(strip);
            let by_rows = of_rows.rows(strip).softmax(logits.clone());
            let by_columns = of_columns.softmax(logits);
            let softmax = by_rows.mul_scalar(weight) + by_columns.mul_scalar(1.0 - weight);
            (softmax - self.targets(strip)).div_scalar(size as f64)
        })
    }
}

/// Log-sum-exps in two parts, whose sum would be rounded where the logits are large.
struct LogSums {
    max: Tensor<2>,
    /// log Σ exp(logit − max).
    log_sum: Tensor<2>,
}

impl LogSums {
    fn new(max: Tensor<2>, sum: Tensor<2>) -> Self {
        let log_sum = sum.log();
        Self { max, log_sum }
    }

    fn rows(&self, strip: &Range<usize>) -> Self {
        Self {
            max: self.max.clone().slice(strip.clone()),
            log_sum: self.log_sum.clone().slice(strip.clone()),
        }
    }

    fn softmax(&self, logits: Tensor<2>) -> Tensor<2> {
        (logits - self.max.clone() - self.log_sum.clone()).exp()
    }

    fn total(&self) -> Tensor<1> {
        self.max.clone().sum() + self.log_sum.clone().sum()
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device};

    use super::*;
    use crate::device::is_flex;
    use crate::kernel::tests::with_each_kernel;
    use crate::testing::{device, on_cpu, on_each_device, random, values};

    type Function =
        fn(Tensor<2>, Tensor<2>, Tensor<1>, Tensor<1, Int>, ContrastiveOptions) -> Contrast;

    fn composed(
        rows: Tensor<2>,
        columns: Tensor<2>,
        scale: Tensor<1>,
        classes: Tensor<1, Int>,
        options: ContrastiveOptions,
    ) -> Contrast {
        Composed::new(&rows, &columns, &scale, classes, options).contrast(rows, columns, scale)
    }

    /// The loss with all logits in memory, and Burn's gradient.
    fn dense(
        rows: Tensor<2>,
        columns: Tensor<2>,
        scale: Tensor<1>,
        classes: Tensor<1, Int>,
        options: ContrastiveOptions,
    ) -> Contrast {
        let ([batch, _], dtype) = (rows.dims(), rows.dtype());
        let parts = Composed::new(&rows, &columns, &scale, classes, options);
        let targets = parts.targets(&(0..batch));
        let mut logits = rows.matmul(columns.transpose()) * scale.unsqueeze::<2>();
        if options.excludes_diagonal {
            logits = logits.mask_fill(parts.diagonal(&(0..batch)), f32::MIN);
        }
        let cross_entropy = |logits: Tensor<2>| {
            let centred = logits.clone() - logits.detach().max_dim(1);
            let log_sum = centred.clone().exp().sum_dim(1).log();
            ((log_sum - centred) * targets.clone()).sum()
        };
        let of_rows = cross_entropy(logits.clone()).mul_scalar(options.row_weight);
        let of_columns = cross_entropy(logits.clone().transpose());
        let sum = of_rows + of_columns.mul_scalar(1.0 - options.row_weight);
        let best = |logits: Tensor<2>| logits.argmax(1).squeeze_dim::<1>(1);
        let logits = logits.without_autodiff();
        Contrast {
            // The gradient of Burn's `div_scalar` has the precision of float32.
            loss: sum / Tensor::from_data([batch as f64], (&Device::flex(), dtype)),
            best_columns: best(logits.clone()),
            best_rows: best(logits.transpose()),
        }
    }

    /// Vectors and classes of a batch, each class with two rows or more if there are enough.
    struct Batch {
        shape: [usize; 2],
        scale: f64,
        classes: i64,
        options: ContrastiveOptions,
    }

    impl Batch {
        fn new(shape: [usize; 2], classes: i64, row_weight: f64, excludes_diagonal: bool) -> Self {
            let options = ContrastiveOptions {
                row_weight,
                excludes_diagonal,
            };
            let scale = 7.0;
            Self {
                shape,
                scale,
                classes,
                options,
            }
        }

        /// Twice the loss and the best candidates, then the gradients of rows, columns and scale.
        fn evaluate(&self, function: Function, dtype: DType) -> Vec<Vec<f64>> {
            let device = device().autodiff();
            let vectors = |seed| random(self.shape, seed, &device).cast(dtype).require_grad();
            let (rows, columns) = (vectors(1), vectors(2));
            let scale = Tensor::<1>::from_data([self.scale], (&device, dtype)).require_grad();
            let numbers = Tensor::<1, Int>::arange(0..self.shape[0] as i64, &device);
            let classes = numbers.remainder_scalar(self.classes);
            let contrast = function(
                rows.clone(),
                columns.clone(),
                scale.clone(),
                classes.without_autodiff(),
                self.options,
            );
            let loss = contrast.loss.clone().mul_scalar(2.0);
            let gradients = loss.clone().backward();
            let doubles = |data: burn::tensor::TensorData| data.iter::<f64>().collect();
            vec![
                doubles(loss.into_data()),
                doubles(contrast.best_columns.into_data()),
                doubles(contrast.best_rows.into_data()),
                doubles(rows.grad(&gradients).unwrap().into_data()),
                doubles(columns.grad(&gradients).unwrap().into_data()),
                doubles(scale.grad(&gradients).unwrap().into_data()),
            ]
        }
    }

    const NAMES: [&str; 6] = ["loss", "columns", "rows", "du", "dv", "dscale"];

    fn check(batch: &Batch) {
        let expected = on_cpu(|| Batch::evaluate(batch, dense, DType::F64));
        // Elsewhere than on the CPU the loss is the composed one.
        let tolerance = if is_flex(&device()) { 2e-6 } else { 1e-5 };
        let ways: [(Function, DType, f64); 3] = [
            (composed, DType::F64, 1e-11),
            (composed, DType::F32, 1e-5),
            (contrastive_loss, DType::F32, tolerance),
        ];
        // Drivers in software compute wrong logarithms in float64.
        let can = |way: &(Function, DType, f64)| way.1 == DType::F32 || is_flex(&device());
        for (way, dtype, tolerance) in ways.into_iter().filter(can) {
            let actual = batch.evaluate(way, dtype);
            for (name, (actual, expected)) in NAMES.iter().zip(actual.iter().zip(&expected)) {
                let largest = expected.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
                for (actual, expected) in actual.iter().zip(expected) {
                    let error = (actual - expected).abs();
                    assert!(
                        error <= tolerance * largest.max(0.1),
                        "{name} of {:?} {:?}: {actual}, not {expected}",
                        batch.shape,
                        batch.options
                    );
                }
            }
        }
    }

    #[test]
    fn strips_give_the_loss_of_the_whole_matrix() {
        on_each_device(|| {
            for shape in [[1, 3], [2, 5], [37, 20], [130, 8]] {
                for (classes, row_weight) in [(1_000, 0.75), (9, 0.5), (9, 0.0), (1_000, 1.0)] {
                    check(&Batch::new(shape, classes, row_weight, false));
                }
            }
            for (shape, classes) in [([2, 3], 1), ([38, 20], 19), ([40, 6], 10)] {
                check(&Batch::new(shape, classes, 1.0, true));
                check(&Batch::new(shape, classes, 0.75, true));
            }
        });
    }

    /// Three strips of rows, and two chunks of columns.
    #[test]
    fn several_strips_are_one_matrix() {
        let size = 1_100;
        assert_eq!(strips(size).count(), 3);
        check(&Batch::new([size, 8], 800, 0.75, false));
        check(&Batch::new([size, 8], 550, 1.0, true));
    }

    #[test]
    fn each_kernel_computes_the_loss() {
        let batch = Batch::new([70, 12], 50, 0.75, false);
        with_each_kernel(|| check(&batch));
    }

    #[test]
    fn logits_of_any_size_do_not_overflow() {
        for scale in [1e-4, 1e4] {
            check(&Batch {
                scale,
                ..Batch::new([33, 4], 20, 0.75, false)
            });
        }
    }

    #[test]
    fn a_number_that_is_not_finite_is_seen() {
        for function in [contrastive_loss as Function, composed] {
            for place in [0, 69] {
                let mut numbers = values(&random([70 * 4], 1, &device()));
                numbers[place * 4] = f32::NAN;
                let rows = Tensor::<1>::from_floats(&*numbers, &device()).reshape([70, 4]);
                let classes = Tensor::arange(0..70, &device());
                let options = ContrastiveOptions {
                    row_weight: 0.75,
                    excludes_diagonal: false,
                };
                let columns = random([70, 4], 2, &device());
                let contrast = function(
                    rows,
                    columns,
                    Tensor::ones([1], &device()),
                    classes,
                    options,
                );
                assert!(contrast.loss.into_scalar::<f32>().is_nan());
            }
        }
    }

    #[test]
    fn tensors_outside_autodiff_get_no_gradient() {
        let device = Device::flex().autodiff();
        for function in [contrastive_loss as Function, composed] {
            let rows = random([5, 4], 1, &device).require_grad();
            let columns = random([5, 4], 2, &device);
            let options = ContrastiveOptions {
                row_weight: 0.75,
                excludes_diagonal: false,
            };
            let classes = Tensor::arange(0..5, &device);
            let scale = Tensor::ones([1], &device);
            let contrast = function(rows.clone(), columns.clone(), scale, classes, options);
            let gradients = contrast.loss.backward();
            assert!(rows.grad(&gradients).is_some() && columns.grad(&gradients).is_none());
        }
    }
}
