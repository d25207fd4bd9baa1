//! Layer normalization with the residual sum before it, a row at a time, and its gradient.

use std::sync::Arc;

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::buffer::{contiguous, elements, elements_mut, tensor, vector};
use super::dropout::{Mask, RowMask};
use super::math::{add_wide, moments, mul_add, sum};
use super::memory::Buffer;
use super::simd::vectorized;
use super::{FlexTensor, Operation, apply};

/// Rows whose sums float32 holds without loss that counts.
const BLOCK_ROWS: usize = 64;

pub(crate) fn layer_norm<const D: usize>(
    input: Tensor<D>,
    [gamma, beta]: [Tensor<1>; 2],
    epsilon: f64,
) -> Tensor<D> {
    let operation = LayerNorm {
        epsilon,
        mask: None,
        records: input.is_tracked() || gamma.is_tracked() || beta.is_tracked(),
    };
    let (input, gamma) = (input.into_dispatch(), gamma.into_dispatch());
    apply(operation, [input, gamma, beta.into_dispatch()]).0
}

pub(crate) fn add_layer_norm<const D: usize>(
    input: Tensor<D>,
    residual: Tensor<D>,
    [gamma, beta]: [Tensor<1>; 2],
    epsilon: f64,
    dropout: f64,
) -> Tensor<D> {
    let of_sum = input.is_tracked() || residual.is_tracked();
    let operation = LayerNorm {
        epsilon,
        mask: Mask::draw(dropout),
        records: of_sum || gamma.is_tracked() || beta.is_tracked(),
    };
    let (input, residual) = (input.into_dispatch(), residual.into_dispatch());
    let (gamma, beta) = (gamma.into_dispatch(), beta.into_dispatch());
    apply(operation, [input, gamma, beta, residual]).0
}

#[derive(Debug)]
struct LayerNorm {
    epsilon: f64,
    /// Dropout of the input.
    mask: Option<Mask>,
    /// Whether a gradient may be asked for.
    records: bool,
}

#[derive(Clone, Debug)]
struct Saved {
    normal: FlexTensor,
    /// 1/√(σ² + ε) of each row.
    sharpness: Arc<Vec<f32>>,
    gamma: FlexTensor,
}

/// Input, γ and β.
impl Operation<3> for LayerNorm {
    type Saved = Option<Saved>;

    fn forward(&self, [input, gamma, beta]: [FlexTensor; 3]) -> (FlexTensor, Self::Saved) {
        self.normalize(input, None, gamma, beta)
    }

    fn backward(
        self,
        saved: Self::Saved,
        gradient: FlexTensor,
        wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let [input, gamma, beta] = wanted;
        let [input, gamma, beta, _] = self.turn(saved, gradient, [input, gamma, beta, false]);
        [input, gamma, beta]
    }
}

/// Input, γ, β and residual.
impl Operation<4> for LayerNorm {
    type Saved = Option<Saved>;

    fn forward(&self, inputs: [FlexTensor; 4]) -> (FlexTensor, Self::Saved) {
        let [input, gamma, beta, residual] = inputs;
        self.normalize(input, Some(contiguous(residual)), gamma, beta)
    }

    fn backward(
        self,
        saved: Self::Saved,
        gradient: FlexTensor,
        wanted: [bool; 4],
    ) -> [Option<FlexTensor>; 4] {
        self.turn(saved, gradient, wanted)
    }
}

impl LayerNorm {
    /// Normalizes in the input's memory, and where that is to be kept, writes the output elsewhere.
    fn normalize(
        &self,
        input: FlexTensor,
        residual: Option<FlexTensor>,
        gamma: FlexTensor,
        beta: FlexTensor,
    ) -> (FlexTensor, Option<Saved>) {
        let (mut input, gamma, beta) = (contiguous(input), contiguous(gamma), contiguous(beta));
        let shape = input.layout().shape().clone();
        let by = Affine {
            gamma: elements(&gamma),
            beta: elements(&beta),
            epsilon: self.epsilon as f32,
        };
        let width = by.gamma.len();
        let residual = residual.as_ref().map(elements);
        let values = elements_mut(&mut input);
        let block = BLOCK_ROWS * width.max(1);
        let part = |index: usize, length: usize| {
            residual.map(|residual| &residual[index * block..index * block + length])
        };
        let dropped = |index: usize| self.mask.map(|mask| (mask, index * BLOCK_ROWS));
        if !self.records {
            let blocks = values.par_chunks_mut(block).enumerate();
            blocks.for_each(|(index, values)| {
                let residual = part(index, values.len());
                normalize_in_place(values, residual, dropped(index), &by);
            });
            return (input, None);
        }
        let mut output = Buffer::any(values.len());
        let mut sharpness = vec![0.0; values.len() / width.max(1)];
        output
            .par_chunks_mut(block)
            .zip(values.par_chunks_mut(block))
            .zip(sharpness.par_chunks_mut(BLOCK_ROWS))
            .enumerate()
            .for_each(|(index, ((to, values), sharpness))| {
                let residual = part(index, values.len());
                normalize_rows(values, residual, dropped(index), &by, to, sharpness);
            });
        let saved = Saved {
            normal: input,
            sharpness: sharpness.into(),
            gamma,
        };
        (tensor(output, shape), Some(saved))
    }

    fn turn(
        self,
        saved: Option<Saved>,
        gradient: FlexTensor,
        wanted: [bool; 4],
    ) -> [Option<FlexTensor>; 4] {
        let saved = saved.expect("kept where gradients are recorded");
        let mut gradient = contiguous(gradient);
        let shape = gradient.layout().shape().clone();
        let (normal, gamma) = (elements(&saved.normal), elements(&saved.gamma));
        let width = gamma.len();
        let block = BLOCK_ROWS * width.max(1);
        let mask = self.mask.filter(|_| wanted[0]);
        let mut dropped = Buffer::any(if mask.is_some() { normal.len() } else { 0 });
        let of_block = |index: usize, gradient: &mut [f32], dropped: &mut [f32]| {
            let rows = gradient.len() / width.max(1);
            let first = index * BLOCK_ROWS;
            let normal = &normal[first * width..][..gradient.len()];
            let sharpness = &saved.sharpness[first..first + rows];
            let mut sums = [vec![0.0; width], vec![0.0; width]];
            turn_rows(normal, sharpness, gamma, gradient, &mut sums);
            if let Some(mask) = mask {
                drop_rows(gradient, width, mask, first, dropped);
            }
            sums
        };
        let gradients = elements_mut(&mut gradient).par_chunks_mut(block);
        let sums: Vec<[Vec<f32>; 2]> = match mask {
            None => gradients
                .enumerate()
                .map(|(index, gradient)| of_block(index, gradient, &mut []))
                .collect(),
            Some(_) => gradients
                .zip(dropped.par_chunks_mut(block))
                .enumerate()
                .map(|(index, (gradient, dropped))| of_block(index, gradient, dropped))
                .collect(),
        };
        let total = |which: usize| {
            let mut total = vec![0.0f64; width];
            sums.iter()
                .for_each(|part| add_wide(&mut total, &part[which]));
            vector(total.iter().map(|t| *t as f32).collect())
        };
        let vectors = [0, 1].map(|which| wanted[1 + which].then(|| total(which)));
        let residual = wanted[3].then(|| gradient.clone());
        let input = match mask {
            Some(_) => tensor(dropped, shape),
            None => gradient,
        };
        let [gamma, beta] = vectors;
        [wanted[0].then_some(input), gamma, beta, residual]
    }
}

/// What comes after normalization, and what is added to the variance.
struct Affine<'a> {
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f32,
}

/// Sums, then normalizes a row in place; returns 1/√(σ² + ε).
#[inline(always)]
fn normalize_row<const FUSED: bool>(
    row: &mut [f32],
    residual: Option<&[f32]>,
    mask: Option<RowMask>,
    epsilon: f32,
) -> f32 {
    match (residual, mask) {
        (None, None) => {}
        (None, Some(mask)) => {
            mask.multiply(row);
        }
        (Some(residual), None) => {
            let pairs = row.iter_mut().zip(residual);
            pairs.for_each(|(x, residual)| *x += residual);
        }
        (Some(residual), Some(mask)) => {
            for (column, (x, residual)) in row.iter_mut().zip(residual).enumerate() {
                *x = mul_add::<FUSED>(*x, mask.factor(column), *residual);
            }
        }
    }
    let [mean, variance] = moments(row);
    let sharpness = 1.0 / (variance + epsilon).sqrt();
    row.iter_mut().for_each(|x| *x = (*x - mean) * sharpness);
    sharpness
}

/// A row of a mask of which a block's first row is `first`.
#[inline(always)]
fn row_mask(dropped: Option<(Mask, usize)>, row: usize) -> Option<RowMask> {
    dropped.map(|(mask, first)| mask.row(first + row))
}

vectorized! {
    /// Puts the output in the place of the input.
    fn normalize_in_place(
        values: &mut [f32],
        residual: Option<&[f32]>,
        dropped: Option<(Mask, usize)>,
        by: &Affine,
    ) {
        let width = by.gamma.len();
        for (index, row) in values.chunks_exact_mut(width).enumerate() {
            let residual = residual.map(|residual| &residual[index * width..][..width]);
            normalize_row::<FUSED>(row, residual, row_mask(dropped, index), by.epsilon);
            for ((x, gamma), beta) in row.iter_mut().zip(by.gamma).zip(by.beta) {
                *x = mul_add::<FUSED>(*x, *gamma, *beta);
            }
        }
    }
}

vectorized! {
    /// Puts the normalized rows in the place of the input, the output in `to`.
    fn normalize_rows(
        values: &mut [f32],
        residual: Option<&[f32]>,
        dropped: Option<(Mask, usize)>,
        by: &Affine,
        to: &mut [f32],
        sharpness: &mut [f32],
    ) {
        let width = by.gamma.len();
        let rows = values.chunks_exact_mut(width).zip(to.chunks_exact_mut(width));
        for (index, ((row, to), sharpness)) in rows.zip(sharpness).enumerate() {
            let residual = residual.map(|residual| &residual[index * width..][..width]);
            *sharpness =
                normalize_row::<FUSED>(row, residual, row_mask(dropped, index), by.epsilon);
            let vectors = by.gamma.iter().zip(by.beta);
            for ((to, x), (gamma, beta)) in to.iter_mut().zip(row).zip(vectors) {
                *to = mul_add::<FUSED>(*x, *gamma, *beta);
            }
        }
    }
}

vectorized! {
    /// Turns gradients of the output into those of what is normalized, in place, and adds to the
    /// sums that are γ's and β's.
    fn turn_rows(
        normal: &[f32],
        sharpness: &[f32],
        gamma: &[f32],
        gradient: &mut [f32],
        sums: &mut [Vec<f32>; 2],
    ) {
        let width = gamma.len();
        let share = 1.0 / width as f32;
        let [of_gamma, of_beta] = sums;
        let rows = normal.chunks_exact(width).zip(gradient.chunks_exact_mut(width));
        for ((normal, gradient), sharpness) in rows.zip(sharpness) {
            let sums = of_gamma.iter_mut().zip(of_beta.iter_mut());
            let row = gradient.iter_mut().zip(normal).zip(gamma);
            for (((gradient, x), gamma), (of_gamma, of_beta)) in row.zip(sums) {
                *of_gamma = mul_add::<FUSED>(*gradient, *x, *of_gamma);
                *of_beta += *gradient;
                *gradient *= gamma;
            }
            let mean = sum(gradient, normal, |gradient, _| gradient) * share;
            let along = sum(gradient, normal, |gradient, x| gradient * x) * share;
            for (gradient, x) in gradient.iter_mut().zip(normal) {
                *gradient = (*gradient - mean - x * along) * sharpness;
            }
        }
    }
}

vectorized! {
    fn drop_rows(gradient: &[f32], width: usize, mask: Mask, first: usize, to: &mut [f32]) {
        let rows = gradient.chunks_exact(width).zip(to.chunks_exact_mut(width));
        for (index, (gradient, to)) in rows.enumerate() {
            let mask = mask.row(first + index);
            mask.multiply_to(gradient, to);
        }
    }
}
