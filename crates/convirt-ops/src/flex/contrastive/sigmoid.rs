//! The sigmoid loss.

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
use crate::Contrast;
use crate::contrastive::strips;
use crate::flex::math::{LANES, exp, mul_add, softplus, sum};
use crate::flex::matmul::Matrix;
use crate::flex::simd::vectorized;
use crate::flex::tensor::{contiguous, new_vector};
use crate::flex::{FlexTensor, Operation, apply};

pub(crate) fn sigmoid_loss(
    rows: Tensor<2>,
    columns: Tensor<2>,
    scale: Tensor<1>,
    bias: Tensor<1>,
    classes: Tensor<1, Int>,
) -> Contrast {
    let device = rows.device().without_autodiff();
    let operation = SigmoidLoss {
        positives: Positives::new(classes, false),
    };
    let (rows, columns) = (rows.into_dispatch(), columns.into_dispatch());
    let numbers = [scale.into_dispatch(), bias.into_dispatch()];
    let [scale, bias] = numbers;
    let (loss, saved) = apply(operation, [rows, columns, scale, bias]);
    contrast(loss, &saved.best_columns, &saved.best_rows, &device)
}

#[derive(Debug)]
struct SigmoidLoss {
    positives: Positives,
}

/// What the forward pass keeps.
#[derive(Clone, Debug)]
struct Saved {
    rows: FlexTensor,
    columns: FlexTensor,
    scale: f32,
    bias: f32,
    best_columns: Arc<[u32]>,
    best_rows: Arc<[u32]>,
}

/// Inputs: rows, columns, scale and bias.
impl Operation<Flex, 4> for SigmoidLoss {
    type Saved = Saved;

    fn forward(&self, inputs: [FlexTensor; 4]) -> (FlexTensor, Saved) {
        let [rows, columns, scale, bias] = inputs;
        let (rows, columns) = (contiguous(rows), contiguous(columns));
        let (scale, bias) = (number(scale), number(bias));
        let factors = [&rows, &columns].map(matrix);
        let size = factors[0].rows();
        let mut products = Products::new(factors);
        let mut best_columns = Vec::with_capacity(size);
        let (mut max, mut best_rows) = (vec![f32::NEG_INFINITY; size], vec![0; size]);
        let mut total = 0.0;
        for strip in strips(size) {
            let products = products.strip(&strip);
            let rows = strip.clone().into_par_iter().zip(products.par_chunks(size));
            let rows: Vec<(f64, u32)> = rows
                .map(|(row, products)| {
                    let terms = f64::from(softplus_sum(products, scale, bias));
                    // log(1 + exp(−q)) = log(1 + exp(q)) − q
                    let positives = self.positives.columns(row).map(|column| {
                        f64::from(products[column]) * f64::from(scale) + f64::from(bias)
                    });
                    (terms - positives.sum::<f64>(), best_column(products).1)
                })
                .collect();
            total += rows.iter().map(|(terms, _)| terms).sum::<f64>();
            best_columns.extend(rows.into_iter().map(|(_, column)| column));
            let columns = max
                .par_chunks_mut(COLUMNS)
                .zip(best_rows.par_chunks_mut(COLUMNS));
            columns.enumerate().for_each(|(chunk, (max, best_rows))| {
                let products = &products[chunk * COLUMNS..];
                let products = Matrix::strided(products, strip.len(), max.len(), size);
                find_largest(products, strip.start as u32, max, best_rows);
            });
        }
        let saved = Saved {
            scale,
            bias,
            best_columns: best_columns.into(),
            best_rows: best_rows.into(),
            rows,
            columns,
        };
        (new_vector(vec![(total / size as f64) as f32]), saved)
    }

    fn backward(
        self,
        saved: Saved,
        gradient: FlexTensor,
        needs_gradient: [bool; 4],
    ) -> [Option<FlexTensor>; 4] {
        let factors = [&saved.rows, &saved.columns].map(matrix);
        // Of the products, not of the logits.
        let factor = number(gradient) / factors[0].rows() as f32 * saved.scale;
        let mut sums = [0.0; 2];
        let [rows, columns, needs_scale, needs_bias] = needs_gradient;
        let [row_gradient, column_gradient] =
            factor_gradients(factors, [rows, columns], |products, strip| {
                let of_strip = self.to_gradients(products, strip, &saved, factor);
                sums.iter_mut()
                    .zip(of_strip)
                    .for_each(|(sum, of_strip)| *sum += of_strip);
            });
        let [scale, bias] = sums.map(|sum| (sum / f64::from(saved.scale)) as f32);
        [
            row_gradient,
            column_gradient,
            needs_scale.then(|| new_vector(vec![scale])),
            needs_bias.then(|| new_vector(vec![bias])),
        ]
    }
}

impl SigmoidLoss {
    /// Replaces the products of a strip by their gradients times `factor`; returns the sum of each
    /// times its product, and the sum of all.
    fn to_gradients(
        &self,
        products: &mut [f32],
        strip: &Range<usize>,
        saved: &Saved,
        factor: f32,
    ) -> [f64; 2] {
        let Saved { scale, bias, .. } = *saved;
        let size = self.positives.rows();
        let rows = strip
            .clone()
            .into_par_iter()
            .zip(products.par_chunks_mut(size));
        let sums: Vec<[f64; 2]> = rows
            .map(|(row, products)| {
                let positives = self.positives.columns(row);
                let positives: Vec<(usize, f32)> =
                    positives.map(|column| (column, products[column])).collect();
                let mut sums = sigmoid_gradients(products, scale, bias, factor).map(f64::from);
                for (column, product) in positives {
                    let logit = mul_add::<false>(product, scale, bias);
                    // σ(q) − 1 without cancellation.
                    let gradient = -factor / (1.0 + logit.exp());
                    let change = f64::from(gradient) - f64::from(products[column]);
                    sums[0] += change * f64::from(product);
                    sums[1] += change;
                    products[column] = gradient;
                }
                sums
            })
            .collect();
        let add = |total: [f64; 2], sums: &[f64; 2]| [total[0] + sums[0], total[1] + sums[1]];
        sums.iter().fold([0.0; 2], add)
    }
}

vectorized! {
    /// Σ log(1 + exp(scale · product + bias)).
    fn softplus_sum(products: &[f32], scale: f32, bias: f32) -> f32 {
        sum(products, products, |product, _| {
            softplus::<FUSED>(mul_add::<FUSED>(product, scale, bias))
        })
    }
}

vectorized! {
    /// Replaces products by `factor` · σ(logit); returns the sum of each times its product, and the
    /// sum of all.
    fn sigmoid_gradients(products: &mut [f32], scale: f32, bias: f32, factor: f32) -> [f32; 2] {
        let gradient = |product: &mut f32| {
            let logit = mul_add::<FUSED>(*product, scale, bias);
            let power = exp::<FUSED>(-logit.abs());
            let numerator = if logit < 0.0 { power } else { 1.0 };
            let gradient = factor * (numerator / (1.0 + power));
            let term = gradient * *product;
            *product = gradient;
            [term, gradient]
        };
        let mut lanes = [[0.0; LANES]; 2];
        let (chunks, rest) = products.as_chunks_mut::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                let [term, gradient] = gradient(&mut chunk[lane]);
                lanes[0][lane] += term;
                lanes[1][lane] += gradient;
            }
        }
        for (lane, product) in rest.iter_mut().enumerate() {
            let [term, gradient] = gradient(product);
            lanes[0][lane] += term;
            lanes[1][lane] += gradient;
        }
        lanes.map(|lanes| lanes.iter().sum())
    }
}
