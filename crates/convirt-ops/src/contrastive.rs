//! The cross-entropies of a contrastive loss, tile by tile.
//!
//! The logits of a batch are a square matrix, of which no more than a strip of rows is ever in
//! memory. One pass over the strips computes the loss, with a running log-sum-exp of each column; a
//! second one computes the strips again and their gradient:
//!
//! ```text
//!                 columns: texts v_0 … v_N
//!                ┌────────────────────────┐
//!   rows:        │ strip 0                │ → log-sum-exp of its rows, best column of each row
//!   images       ├────────────────────────┤
//!   u_0 … u_N    │ strip 1                │
//!                ├────────────────────────┤
//!                │ …                      │
//!                └────────────────────────┘
//!                  ↓ log-sum-exp so far of each column, its best row so far
//! ```

use std::ops::Range;

use burn::tensor::{Bool, Int, Tensor};

/// Logits of a strip: 16 MiB of float32, which fit into the last cache of a processor.
const STRIP: usize = 1 << 22;

/// Rows of a strip at least, since fewer would make slow matrix products, and at most, since more
/// would not make faster ones.
const STRIP_ROWS: [usize; 2] = [64, 512];

/// Divides the rows of a square matrix into strips. The division, and with it the order of sums,
/// depends on nothing but the size.
pub(crate) fn strips(size: usize) -> impl Iterator<Item = Range<usize>> {
    let [least, most] = STRIP_ROWS;
    let rows = (STRIP / size.max(1)).clamp(least, most);
    (0..size)
        .step_by(rows)
        .map(move |start| start..size.min(start + rows))
}

/// What [`contrastive_loss`] compares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ContrastiveOptions {
    /// The weight λ of the rows' cross-entropy, 0 to 1; that of the columns' is 1 − λ.
    pub row_weight: f64,
    /// Whether row i and column i are the same thing, which is then no candidate for itself.
    pub excludes_diagonal: bool,
}

/// Output of [`contrastive_loss`].
#[derive(Clone, Debug)]
pub struct Contrast {
    /// The loss, `[1]`, in nats.
    pub loss: Tensor<1>,
    /// For each row the column with the largest logit, `[batch]`, outside the autodiff graph.
    pub best_columns: Tensor<1, Int>,
    /// For each column the row with the largest logit, `[batch]`, outside the autodiff graph.
    pub best_rows: Tensor<1, Int>,
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
    let [batch, _] = rows.dims();
    assert_eq!(rows.dims(), columns.dims(), "a column for each row");
    assert_eq!(scale.dims(), [1], "one scale");
    assert_eq!(classes.dims(), [batch], "a class for each row");
    #[cfg(feature = "flex")]
    if [&rows, &columns].map(crate::flex::float32_here) == [true; 2]
        && crate::flex::float32_here(&scale)
    {
        return crate::flex::contrastive_loss(rows, columns, scale, classes, options);
    }
    Composed::new(&rows, &columns, &scale, classes, options).contrast(rows, columns, scale)
}

/// The loss by Burn's own operations.
///
/// Everything here is outside the autodiff graph. The gradient is computed at once, if there is
/// one, because Burn's own would keep the logits.
struct Composed {
    rows: Tensor<2>,
    columns: Tensor<2>,
    scale: Tensor<2>,
    classes: Tensor<1, Int>,
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
        let classes = classes.without_autodiff();
        Self {
            rows: rows.clone().without_autodiff(),
            columns: columns.clone().without_autodiff(),
            scale: scale.clone().without_autodiff().unsqueeze(),
            classes,
            options,
        }
    }

    /// Computes the output for the tensors that this was made of.
    fn contrast(&self, rows: Tensor<2>, columns: Tensor<2>, scale: Tensor<1>) -> Contrast {
        let (contrast, log_sums) = self.forward();
        let inputs_train = rows.is_autodiff() || columns.is_autodiff() || scale.is_autodiff();
        if !inputs_train {
            return contrast;
        }
        // A sum that is zero, with the gradients of the loss.
        let [row_gradient, column_gradient] = self.gradients(&log_sums);
        let scale_gradient = (row_gradient.clone() * self.rows.clone()).sum() / self.scale();
        let linear = (rows * row_gradient).sum()
            + (columns * column_gradient).sum()
            + (scale * scale_gradient).sum();
        let zero = linear.clone() - linear.detach();
        Contrast {
            loss: zero + contrast.loss,
            ..contrast
        }
    }

    fn scale(&self) -> Tensor<1> {
        self.scale.clone().reshape([1])
    }

    /// The logits of a strip of rows.
    fn logits(&self, strip: &Range<usize>) -> Tensor<2> {
        let rows = self.rows.clone().slice(strip.clone());
        let logits = rows.matmul(self.columns.clone().transpose()) * self.scale.clone();
        if !self.options.excludes_diagonal {
            return logits;
        }
        logits.mask_fill(self.diagonal(strip), f32::MIN)
    }

    fn diagonal(&self, strip: &Range<usize>) -> Tensor<2, Bool> {
        let numbers = |range: Range<usize>| {
            Tensor::<1, Int>::arange(range.start as i64..range.end as i64, &self.rows.device())
        };
        self.equal(numbers(strip.clone()), numbers(0..self.rows.dims()[0]))
    }

    fn equal(&self, rows: Tensor<1, Int>, columns: Tensor<1, Int>) -> Tensor<2, Bool> {
        let shape = [rows.dims()[0], columns.dims()[0]];
        let rows = rows.unsqueeze_dim::<2>(1).expand(shape);
        rows.equal(columns.unsqueeze_dim::<2>(0).expand(shape))
    }

    /// The target distribution P of a strip of rows.
    fn targets(&self, strip: &Range<usize>) -> Tensor<2> {
        let classes = self.classes.clone().slice(strip.clone());
        let mut equal = self.equal(classes, self.classes.clone());
        if self.options.excludes_diagonal {
            equal = equal.bool_and(self.diagonal(strip).bool_not());
        }
        let equal = equal.float().cast(self.rows.dtype());
        let counts = equal.clone().sum_dim(1);
        equal / counts
    }

    /// Computes the output, and the log-sum-exps of the rows, `[batch, 1]`, and of the columns,
    /// `[1, batch]`.
    fn forward(&self) -> (Contrast, [LogSums; 2]) {
        let [batch, _] = self.rows.dims();
        let device = self.rows.device();
        let lowest = Tensor::<2>::full([1, batch], f32::MIN, &device).cast(self.rows.dtype());
        let mut column_max = lowest.clone();
        let mut column_sum = lowest.zeros_like();
        let mut best_rows = Tensor::<1, Int>::zeros([batch], &device);
        let (mut row_max, mut row_sum) = (Vec::new(), Vec::new());
        let mut best_columns = Vec::new();
        let mut agreement = Tensor::zeros_like(&self.scale());
        for strip in strips(batch) {
            let logits = self.logits(&strip);
            agreement = agreement + (logits.clone() * self.targets(&strip)).sum_dim(1).sum();
            let max = logits.clone().max_dim(1);
            let sum = (logits.clone() - max.clone()).exp().sum_dim(1);
            row_max.push(max);
            row_sum.push(sum);
            best_columns.push(logits.clone().argmax(1).squeeze_dim::<1>(1));

            let (max, best) = logits.clone().max_dim_with_indices(0);
            let is_better = max.clone().greater(column_max.clone());
            let best = best.squeeze_dim::<1>(0).add_scalar(strip.start as i64);
            best_rows = best_rows.mask_where(is_better.squeeze_dim::<1>(0), best);
            let max = max.max_pair(column_max.clone());
            let earlier = column_sum * (column_max - max.clone()).exp();
            column_sum = earlier + (logits - max.clone()).exp().sum_dim(0);
            column_max = max;
        }
        let row_max = Tensor::cat(row_max, 0);
        let log_sums = [
            LogSums::new(row_max, Tensor::cat(row_sum, 0)),
            LogSums::new(column_max, column_sum),
        ];
        let weight = self.options.row_weight;
        let [of_rows, of_columns] = [0, 1].map(|side| log_sums[side].total());
        let sum = of_rows.mul_scalar(weight) + of_columns.mul_scalar(1.0 - weight) - agreement;
        let contrast = Contrast {
            loss: sum.div_scalar(batch as f64),
            best_columns: Tensor::cat(best_columns, 0),
            best_rows,
        };
        (contrast, log_sums)
    }

    /// Computes the gradients of rows and columns.
    fn gradients(&self, [of_rows, of_columns]: &[LogSums; 2]) -> [Tensor<2>; 2] {
        let [batch, _] = self.rows.dims();
        let weight = self.options.row_weight;
        let mut row_gradient = Vec::new();
        let mut column_gradient = self.columns.zeros_like();
        for strip in strips(batch) {
            let logits = self.logits(&strip);
            let by_rows = of_rows.rows(&strip).softmax(logits.clone());
            let by_columns = of_columns.softmax(logits);
            let softmax = by_rows.mul_scalar(weight) + by_columns.mul_scalar(1.0 - weight);
            let gradient = (softmax - self.targets(&strip)).div_scalar(batch as f64);
            let gradient = gradient * self.scale.clone();
            row_gradient.push(gradient.clone().matmul(self.columns.clone()));
            let rows = self.rows.clone().slice(strip);
            column_gradient = column_gradient + gradient.transpose().matmul(rows);
        }
        [Tensor::cat(row_gradient, 0), column_gradient]
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
    use crate::kernel::tests::with_each_kernel;
    use crate::testing::{device, on_each_device, random, values};

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
        fn of(shape: [usize; 2], classes: i64, row_weight: f64, excludes_diagonal: bool) -> Self {
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
        let expected = Batch::evaluate(batch, dense, DType::F64);
        let ways: [(Function, DType, f64); 3] = [
            (composed, DType::F64, 1e-11),
            (composed, DType::F32, 1e-5),
            (contrastive_loss, DType::F32, 2e-6),
        ];
        for (way, dtype, tolerance) in ways {
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
                    check(&Batch::of(shape, classes, row_weight, false));
                }
            }
            for (shape, classes) in [([2, 3], 1), ([38, 20], 19), ([40, 6], 10)] {
                check(&Batch::of(shape, classes, 1.0, true));
                check(&Batch::of(shape, classes, 0.75, true));
            }
        });
    }

    /// Three strips of rows, and two chunks of columns.
    #[test]
    fn several_strips_are_one_matrix() {
        let size = 1_100;
        assert_eq!(strips(size).count(), 3);
        check(&Batch::of([size, 8], 800, 0.75, false));
        check(&Batch::of([size, 8], 550, 1.0, true));
    }

    #[test]
    fn each_kernel_computes_the_loss() {
        let batch = Batch::of([70, 12], 50, 0.75, false);
        with_each_kernel(|| check(&batch));
    }

    #[test]
    fn logits_of_any_size_do_not_overflow() {
        for scale in [1e-4, 1e4] {
            check(&Batch {
                scale,
                ..Batch::of([33, 4], 20, 0.75, false)
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
