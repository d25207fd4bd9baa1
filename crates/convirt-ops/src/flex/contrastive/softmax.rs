//! The cross-entropies of a softmax over all candidates.

use std::ops::Range;
use std::sync::Arc;

use burn::backend::Flex;
use burn::tensor::{Int, Tensor};
use rayon::prelude::*;

use super::contrast;
use super::positives::Positives;
use super::strips::{
    COLUMNS, Products, best_column, factor_gradients, find_largest, matrix, number,
};
use crate::contrastive::strips;
use crate::flex::math::{LANES, exp, mul_add, sum};
use crate::flex::matmul::Matrix;
use crate::flex::simd::vectorized;
use crate::flex::tensor::{contiguous, new_vector};
use crate::flex::{FlexTensor, Operation, apply};
use crate::{Contrast, ContrastiveOptions};

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
    contrast(loss, &saved.best_columns, &saved.best_rows, &device)
}

#[derive(Debug)]
struct ContrastiveLoss {
    row_weight: f32,
    positives: Positives,
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

/// Inputs: rows, columns and scale.
impl Operation<Flex, 3> for ContrastiveLoss {
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
        let factors = [&saved.rows, &saved.columns].map(matrix);
        // Of the products, not of the logits.
        let factor = number(gradient) / factors[0].rows() as f32 * saved.scale;
        let mut scale_gradient = 0.0;
        let [rows, columns, needs_scale] = needs_gradient;
        let [row_gradient, column_gradient] =
            factor_gradients(factors, [rows, columns], |products, strip| {
                scale_gradient += self.to_gradients(products, strip, &saved, factor);
            });
        let scale_gradient = (scale_gradient / f64::from(saved.scale)) as f32;
        [
            row_gradient,
            column_gradient,
            needs_scale.then(|| new_vector(vec![scale_gradient])),
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
        let (max, best_column) = best_column(products);
        Row {
            max,
            sum: exponential_sum(products, max, scale).into(),
            best_column,
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
                for column in self.positives.columns(row) {
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
    /// Σ exp(scale · (value − max)).
    fn exponential_sum(values: &[f32], max: f32, scale: f32) -> f32 {
        sum(values, values, |value, _| exp::<FUSED>((value - max) * scale))
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
