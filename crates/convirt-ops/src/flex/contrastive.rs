//! A contrastive loss whose logits stay in the cache: each [strip](crate::contrastive) is a matrix
//! product, then one pass over its rows and one over its columns.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Int, Tensor, TensorData};
use rayon::prelude::*;

use super::buffer_pool::Buffer;
use super::element::Element;
use super::math::{LANES, exp, mul_add, sum};
use super::matmul::{Finish, Matrix, MatrixMut, Right};
use super::simd::vectorized;
use super::tensor::{contiguous, elements, new_tensor, new_vector};
use super::{FlexTensor, Operation, apply};
use crate::contrastive::strips;
use crate::{Contrast, ContrastiveOptions, Precision};

/// Columns of a strip that a thread takes at a time: 4 KiB of each row.
const COLUMNS: usize = 1 << 10;

pub(crate) fn contrastive_loss(
    rows: Tensor<2>,
    columns: Tensor<2>,
    scale: Tensor<1>,
    classes: Tensor<1, Int>,
    options: ContrastiveOptions,
) -> Contrast {
    let device = rows.device().without_autodiff();
    let operation = ContrastiveLoss {
        row_weight: options.row_weight as f32,
        positives: Positives::new(classes, options.excludes_diagonal),
    };
    let (rows, columns) = (rows.into_dispatch(), columns.into_dispatch());
    let (loss, saved) = apply(operation, [rows, columns, scale.into_dispatch()]);
    let indices = |indices: &[u32]| {
        let shape = [indices.len()];
        let indices = indices.iter().map(|index| i64::from(*index)).collect();
        Tensor::from_data(TensorData::new::<i64, _>(indices, shape), &device)
    };
    Contrast {
        loss,
        best_columns: indices(&saved.best_columns),
        best_rows: indices(&saved.best_rows),
    }
}

#[derive(Debug)]
struct ContrastiveLoss {
    row_weight: f32,
    positives: Positives,
}

/// The columns that are a row's targets.
#[derive(Debug)]
struct Positives {
    members: Vec<Vec<usize>>,
    /// Index of each row's class in `members`.
    class_of: Vec<usize>,
    excludes_diagonal: bool,
}

impl Positives {
    fn new(classes: Tensor<1, Int>, excludes_diagonal: bool) -> Self {
        let mut members: Vec<Vec<usize>> = Vec::new();
        let mut numbers = HashMap::new();
        let classes = classes.into_data();
        let class_of = classes.iter::<i64>().enumerate().map(|(row, class)| {
            let number = *numbers.entry(class).or_insert(members.len());
            members.resize(members.len().max(number + 1), Vec::new());
            members[number].push(row);
            number
        });
        Self {
            class_of: class_of.collect(),
            members,
            excludes_diagonal,
        }
    }

    fn of(&self, row: usize) -> impl Iterator<Item = usize> {
        let members = self.members[self.class_of[row]].iter().copied();
        members.filter(move |column| !self.excludes_diagonal || *column != row)
    }

    /// The target probability of each positive of a row.
    fn probability(&self, row: usize) -> f32 {
        let members = self.members[self.class_of[row]].len();
        1.0 / (members - usize::from(self.excludes_diagonal)) as f32
    }

    /// Σ_j P_ij x_j of row i.
    fn mean(&self, row: usize, products: &[f32]) -> f64 {
        let positives = self.of(row).map(|column| f64::from(products[column]));
        positives.sum::<f64>() * f64::from(self.probability(row))
    }
}

/// What the forward pass keeps.
#[derive(Clone, Debug)]
struct Saved {
    rows: FlexTensor,
    columns: FlexTensor,
    scale: f32,
    of_rows: Arc<LogSums>,
    of_columns: Arc<LogSums>,
    best_columns: Arc<[u32]>,
    best_rows: Arc<[u32]>,
}

/// Log-sum-exps of logits, in two parts, since their sum would be rounded where the logits are
/// large.
#[derive(Debug, Default)]
struct LogSums {
    /// The largest products.
    max: Vec<f32>,
    /// Σ exp(scale · (product − max)).
    sum: Vec<f64>,
}

impl LogSums {
    fn total(&self, scale: f32) -> f64 {
        let parts = self.max.iter().zip(&self.sum);
        let log_sums = parts.map(|(max, sum)| f64::from(scale) * f64::from(*max) + sum.ln());
        log_sums.sum()
    }
}

/// The products u_i·v_j of two matrices with the same number of rows.
struct Products<'a> {
    u: Matrix<'a>,
    right: Right<'a>,
    strip: Buffer,
}

impl<'a> Products<'a> {
    fn new([u, v]: [Matrix<'a>; 2]) -> Self {
        let right = Right::new(f32::factor(v.transposed()), Precision::Float32, u.rows());
        let longest = strips(u.rows()).map(|strip| strip.len()).max();
        Self {
            u,
            right,
            strip: Buffer::unspecified(longest.unwrap_or(0) * v.rows()),
        }
    }

    /// Computes the products of a strip of rows, one row after the other.
    fn strip(&mut self, rows: &Range<usize>) -> &mut [f32] {
        let columns = self.u.rows();
        let products = &mut self.strip[..rows.len() * columns];
        let output = MatrixMut::new(products, rows.len(), columns);
        let left = f32::factor(self.u.row_range(rows.clone()));
        self.right.parallel_multiply(output, &Finish::Replace, left);
        products
    }
}

fn matrix(tensor: &FlexTensor) -> Matrix<'_> {
    let [rows, columns] = std::array::from_fn(|axis| tensor.layout().shape()[axis]);
    Matrix::new(elements(tensor), rows, columns)
}

fn number(tensor: FlexTensor) -> f32 {
    elements::<f32>(&contiguous(tensor))[0]
}

/// Inputs: rows, columns and scale.
impl Operation<3> for ContrastiveLoss {
    type Saved = Saved;

    fn forward(&self, [rows, columns, scale]: [FlexTensor; 3]) -> (FlexTensor, Saved) {
        let (rows, columns) = (contiguous(rows), contiguous(columns));
        let (loss, saved) = self.loss(rows, columns, number(scale));
        (new_vector(vec![loss]), saved)
    }

    fn backward(
        self,
        saved: Saved,
        gradient: FlexTensor,
        needs_gradient: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let [u, v] = [&saved.rows, &saved.columns].map(matrix);
        let (size, width) = (u.rows(), u.columns());
        // Of the products, not of the logits.
        let factor = number(gradient) / size as f32 * saved.scale;
        let mut products = Products::new([u, v]);
        let right = Right::new(f32::factor(v), Precision::Float32, size);
        let mut row_gradient = needs_gradient[0].then(|| Buffer::unspecified(size * width));
        let mut column_gradient = needs_gradient[1].then(|| Buffer::zeros(size * width));
        let mut scale_gradient = 0.0;
        for strip in strips(size) {
            let products = products.strip(&strip);
            scale_gradient += self.to_gradients(products, &strip, &saved, factor);
            let gradients = Matrix::new(products, strip.len(), size);
            if let Some(row_gradient) = &mut row_gradient {
                let output = &mut row_gradient[strip.start * width..strip.end * width];
                let output = MatrixMut::new(output, strip.len(), width);
                right.parallel_multiply(output, &Finish::Replace, f32::factor(gradients));
            }
            if let Some(column_gradient) = &mut column_gradient {
                let rows = f32::factor(u.row_range(strip));
                let right = Right::new(rows, Precision::Float32, size);
                let output = MatrixMut::new(column_gradient, size, width);
                right.parallel_multiply(output, &Finish::Add, f32::factor(gradients.transposed()));
            }
        }
        let tensor = |elements: Buffer| new_tensor::<f32>(elements, [size, width]);
        let scale_gradient = (scale_gradient / f64::from(saved.scale)) as f32;
        [
            row_gradient.map(tensor),
            column_gradient.map(tensor),
            needs_gradient[2].then(|| new_vector(vec![scale_gradient])),
        ]
    }
}

impl ContrastiveLoss {
    fn loss(&self, rows: FlexTensor, columns: FlexTensor, scale: f32) -> (f32, Saved) {
        let factors = [&rows, &columns].map(matrix);
        let size = factors[0].rows();
        let mut products = Products::new(factors);
        let mut of_rows: Vec<Row> = Vec::with_capacity(size);
        let mut of_columns = Columns::new(size);
        for strip in strips(size) {
            let products = products.strip(&strip);
            let rows = strip.clone().into_par_iter();
            let rows = rows.zip(products.par_chunks_mut(size));
            let rows = rows.map(|(row, products)| self.row(row, products, scale));
            of_rows.extend(rows.collect::<Vec<_>>());
            of_columns.add(products, &strip, scale);
        }
        let agreement: f64 = of_rows.iter().map(|row| row.agreement).sum();
        let best_columns = of_rows.iter().map(|row| row.best_column).collect();
        let (max, sum) = of_rows.iter().map(|row| (row.max, row.sum)).unzip();
        let of_rows = LogSums { max, sum };
        let weight = f64::from(self.row_weight);
        let total = weight * of_rows.total(scale) + (1.0 - weight) * of_columns.sums.total(scale);
        let saved = Saved {
            scale,
            of_rows: Arc::new(of_rows),
            best_columns,
            of_columns: Arc::new(of_columns.sums),
            best_rows: of_columns.best_row.into(),
            rows,
            columns,
        };
        (((total - agreement) / size as f64) as f32, saved)
    }

    /// Removes the diagonal from a row's candidates, if it is excluded.
    fn exclude(&self, row: usize, products: &mut [f32]) {
        if self.positives.excludes_diagonal {
            products[row] = f32::MIN;
        }
    }

    fn row(&self, row: usize, products: &mut [f32], scale: f32) -> Row {
        self.exclude(row, products);
        let max = largest(products);
        let best = products.iter().position(|product| *product == max);
        Row {
            max,
            sum: exponential_sum(products, max, scale).into(),
            best_column: best.unwrap_or(0) as u32,
            agreement: f64::from(scale) * self.positives.mean(row, products),
        }
    }

    /// Replaces the products of a strip by their gradients times `factor`; returns the sum of each
    /// times its product.
    fn to_gradients(
        &self,
        products: &mut [f32],
        strip: &Range<usize>,
        saved: &Saved,
        factor: f32,
    ) -> f64 {
        let Saved {
            of_rows,
            of_columns,
            scale,
            ..
        } = saved;
        let [row_weight, column_weight] = [self.row_weight, 1.0 - self.row_weight];
        let factors = of_columns.sum.iter();
        let factors = factors.map(|sum| (f64::from(column_weight * factor) / sum) as f32);
        let factors: Vec<f32> = factors.collect();
        let rows = strip.clone().into_par_iter();
        let rows = rows.zip(products.par_chunks_mut(factors.len()));
        let sums: Vec<f64> = rows
            .map(|(row, products)| {
                self.exclude(row, products);
                let agreement = self.positives.mean(row, products);
                let row_factor = f64::from(row_weight * factor) / of_rows.sum[row];
                let of_row = (of_rows.max[row], row_factor as f32);
                let sum = softmax_gradients(products, *scale, of_row, &of_columns.max, &factors);
                let target = factor * self.positives.probability(row);
                for column in self.positives.of(row) {
                    products[column] -= target;
                }
                f64::from(sum) - f64::from(factor) * agreement
            })
            .collect();
        sums.into_iter().sum()
    }
}

/// What the forward pass computes of a row.
struct Row {
    max: f32,
    sum: f64,
    best_column: u32,
    /// Σ_j P_j q_j.
    agreement: f64,
}

/// What is known of each column after some of the strips.
struct Columns {
    sums: LogSums,
    /// The row of the largest product.
    best_row: Vec<u32>,
}

impl Columns {
    fn new(size: usize) -> Self {
        let sums = LogSums {
            max: vec![f32::NEG_INFINITY; size],
            sum: vec![0.0; size],
        };
        let best_row = vec![0; size];
        Self { sums, best_row }
    }

    fn add(&mut self, products: &[f32], strip: &Range<usize>, scale: f32) {
        let LogSums { max, sum } = &mut self.sums;
        let size = max.len();
        let (max, sum) = (max.par_chunks_mut(COLUMNS), sum.par_chunks_mut(COLUMNS));
        let best_row = self.best_row.par_chunks_mut(COLUMNS);
        let chunks = max.zip(best_row).zip(sum).enumerate();
        chunks.for_each(|(chunk, ((max, best_row), sum))| {
            let products = &products[chunk * COLUMNS..];
            let products = Matrix::strided(products, strip.len(), max.len(), size);
            let mut earlier_max = [0.0; COLUMNS];
            let earlier_max = &mut earlier_max[..max.len()];
            earlier_max.copy_from_slice(max);
            find_largest(products, strip.start as u32, max, best_row);
            add_exponentials(products, scale, [earlier_max, max], sum);
        });
    }
}

vectorized! {
    fn largest(values: &[f32]) -> f32 {
        let (chunks, rest) = values.as_chunks::<LANES>();
        let larger = |a: f32, b: f32| if b > a { b } else { a };
        let mut lanes = [f32::NEG_INFINITY; LANES];
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] = larger(lanes[lane], chunk[lane]);
            }
        }
        lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger)
    }
}

vectorized! {
    /// Σ exp(scale · (value − max)).
    fn exponential_sum(values: &[f32], max: f32, scale: f32) -> f32 {
        sum(values, values, |value, _| exp::<FUSED>((value - max) * scale))
    }
}

vectorized! {
    /// Updates the largest product of each column, and the row it is in.
    fn find_largest(products: Matrix, first: u32, max: &mut [f32], best_row: &mut [u32]) {
        for row in 0..products.rows() {
            let columns = max.iter_mut().zip(&mut *best_row).zip(products.row(row));
            columns.for_each(|((max, best), product)| {
                let is_larger = *product > *max;
                *best = if is_larger { first + row as u32 } else { *best };
                *max = if is_larger { *product } else { *max };
            });
        }
    }
}

vectorized! {
    /// Adds the exponentials of a strip to the sums of its columns, which are relative to the
    /// maximum before and after it. In float32 within the strip, in float64 from strip to strip.
    fn add_exponentials(
        products: Matrix,
        scale: f32,
        maxima: [&[f32]; 2],
        totals: &mut [f64],
    ) {
        let [earlier_max, max] = maxima;
        let mut sums = [0.0; COLUMNS];
        let sums = &mut sums[..max.len()];
        for row in 0..products.rows() {
            let columns = sums.iter_mut().zip(max).zip(products.row(row));
            columns.for_each(|((sum, max), product)| {
                *sum += exp::<FUSED>((product - max) * scale);
            });
        }
        let columns = totals.iter_mut().zip(sums).zip(earlier_max.iter().zip(max));
        columns.for_each(|((total, sum), (earlier, max))| {
            let correction = exp::<FUSED>((earlier - max) * scale);
            *total = *total * f64::from(correction) + f64::from(*sum);
        });
    }
}

vectorized! {
    /// Replaces the products of a row by the weighted sum of the row's and the columns' softmax;
    /// returns the sum of each times its product. Given are the largest product of the row and of
    /// each column, and the factor of their exponentials.
    fn softmax_gradients(
        products: &mut [f32],
        scale: f32,
        of_row: (f32, f32),
        column_max: &[f32],
        column_factors: &[f32],
    ) -> f32 {
        let (row_max, row_factor) = of_row;
        let gradient = |product: &mut f32, column_max: f32, column_factor: f32| {
            let of_row = exp::<FUSED>((*product - row_max) * scale);
            let of_column = exp::<FUSED>((*product - column_max) * scale);
            let gradient = mul_add::<FUSED>(of_row, row_factor, of_column * column_factor);
            let term = gradient * *product;
            *product = gradient;
            term
        };
        let mut lanes = [0.0; LANES];
        let (products, rest) = products.as_chunks_mut::<LANES>();
        let (max, last_max) = column_max.as_chunks::<LANES>();
        let (factors, last_factors) = column_factors.as_chunks::<LANES>();
        for ((products, max), factors) in products.iter_mut().zip(max).zip(factors) {
            for lane in 0..LANES {
                lanes[lane] += gradient(&mut products[lane], max[lane], factors[lane]);
            }
        }
        let columns = rest.iter_mut().zip(last_max).zip(last_factors);
        for (lane, ((product, max), factor)) in lanes.iter_mut().zip(columns) {
            *lane += gradient(product, *max, *factor);
        }
        lanes.iter().sum()
    }
}
