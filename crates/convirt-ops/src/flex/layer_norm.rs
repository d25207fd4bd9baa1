//! Layer normalization after a residual sum, one row at a time, and its gradient.
//!
//! ```text
//!               d_model
//!            ┌───────────┐
//!   token 0  │ row       │  dropout(input) + residual ─► mean, variance ─► normalized ─► γ, β
//!   token 1  │ row       │
//!    …       │ …         │  64 rows: one task of a thread
//!            ├───────────┤
//!   token 64 │ row       │  the next task
//!            └───────────┘
//! ```
//!
//! A row of float32, 3 KiB at BERT-base's width, stays in the first cache while it is summed,
//! normalized and scaled: memory is read once and written once.

use std::sync::Arc;

use burn::backend::Flex;
use burn::tensor::{Device, Tensor};
use rayon::prelude::*;

use super::buffer_pool::Buffer;
use super::element::{Element, with_element_type};
use super::math::{add_in_float64, moments, mul_add, sum};
use super::simd::vectorized;
use super::tensor::{contiguous, elements, elements_mut, new_tensor, new_vector};
use super::{FlexTensor, Operation, apply, optional, present};
use crate::dropout::{RowMask, TokenDropout, TokenMask};

/// Rows of a task. A float32 sum of 64 gradients keeps at least 18 of its 24 bits; the sums of all
/// tasks are added up in float64.
const BLOCK_ROWS: usize = 64;

pub(crate) fn layer_norm<const D: usize>(
    input: Tensor<D>,
    [gamma, beta]: [Tensor<1>; 2],
    epsilon: f64,
) -> Tensor<D> {
    normalize(input, None, [gamma, beta], epsilon, None)
}

pub(crate) fn add_layer_norm<const D: usize>(
    input: Tensor<D>,
    residual: Tensor<D>,
    [gamma, beta]: [Tensor<1>; 2],
    epsilon: f64,
    dropout: TokenDropout,
) -> Tensor<D> {
    let mask = TokenMask::draw(dropout, &input.dims(), &Device::flex());
    normalize(input, Some(residual), [gamma, beta], epsilon, mask)
}

fn normalize<const D: usize>(
    input: Tensor<D>,
    residual: Option<Tensor<D>>,
    [gamma, beta]: [Tensor<1>; 2],
    epsilon: f64,
    mask: Option<TokenMask>,
) -> Tensor<D> {
    let operation = LayerNorm {
        epsilon,
        mask,
        records: input.is_tracked()
            || residual.as_ref().is_some_and(Tensor::is_tracked)
            || gamma.is_tracked()
            || beta.is_tracked(),
    };
    let (input, gamma) = (input.into_dispatch(), gamma.into_dispatch());
    let beta = beta.into_dispatch();
    apply(operation, [input, gamma, beta, optional(residual)]).0
}

#[derive(Debug)]
struct LayerNorm {
    epsilon: f64,
    /// Dropout of the input.
    mask: Option<TokenMask>,
    /// Whether gradients are recorded.
    records: bool,
}

#[derive(Clone, Debug)]
struct Saved {
    /// (x − μ)/√(σ² + ε).
    normalized: FlexTensor,
    /// 1/√(σ² + ε) of each row.
    inverse_deviation: Arc<Vec<f32>>,
    gamma: FlexTensor,
}

/// Inputs: the feature map or token states, γ, β and, optionally, the residual.
impl Operation<Flex, 4> for LayerNorm {
    type Saved = Option<Saved>;

    fn forward(&self, inputs: [FlexTensor; 4]) -> (FlexTensor, Self::Saved) {
        let [input, gamma, beta, residual] = inputs;
        let residual = present(residual).map(contiguous);
        with_element_type!(input.dtype(), T => {
            self.forward_typed::<T>(input, residual, [gamma, beta])
        })
    }

    fn backward(
        self,
        saved: Self::Saved,
        gradient: FlexTensor,
        needs_gradient: [bool; 4],
    ) -> [Option<FlexTensor>; 4] {
        let saved = saved.expect("kept where gradients are recorded");
        with_element_type!(gradient.dtype(), T => {
            self.backward_typed::<T>(&saved, gradient, needs_gradient)
        })
    }
}

impl LayerNorm {
    /// Normalizes in the input's memory. Where gradients are recorded, the normalized input stays
    /// there and the output gets memory of its own.
    fn forward_typed<T: Element>(
        &self,
        input: FlexTensor,
        residual: Option<FlexTensor>,
        [gamma, beta]: [FlexTensor; 2],
    ) -> (FlexTensor, Option<Saved>) {
        let (mut input, gamma, beta) = (contiguous(input), contiguous(gamma), contiguous(beta));
        let shape = input.layout().shape().clone();
        let parameters = Parameters {
            gamma: elements(&gamma),
            beta: elements(&beta),
            epsilon: self.epsilon as f32,
        };
        let width = parameters.gamma.len();
        let residual = residual.as_ref().map(elements::<T>);
        let values = elements_mut::<T>(&mut input);
        let block = BLOCK_ROWS * width.max(1);
        let residual_block = |index: usize, length: usize| {
            residual.map(|residual| &residual[index * block..index * block + length])
        };
        let block_mask = |index: usize| self.mask.as_ref().map(|mask| (mask, index * BLOCK_ROWS));
        if !self.records {
            let blocks = values.par_chunks_mut(block).enumerate();
            blocks.for_each(|(index, values)| {
                let residual = residual_block(index, values.len());
                normalize_in_place(values, residual, block_mask(index), &parameters);
            });
            return (input, None);
        }
        let mut output = Buffer::unspecified(values.len());
        let mut inverse_deviation = vec![0.0; values.len() / width.max(1)];
        output
            .par_chunks_mut(block)
            .zip(values.par_chunks_mut(block))
            .zip(inverse_deviation.par_chunks_mut(BLOCK_ROWS))
            .enumerate()
            .for_each(|(index, ((output, values), inverse_deviation))| {
                let residual = residual_block(index, values.len());
                normalize_rows(
                    values,
                    residual,
                    block_mask(index),
                    &parameters,
                    output,
                    inverse_deviation,
                );
            });
        let saved = Saved {
            normalized: input,
            inverse_deviation: inverse_deviation.into(),
            gamma,
        };
        (new_tensor(output, shape), Some(saved))
    }

    fn backward_typed<T: Element>(
        self,
        saved: &Saved,
        gradient: FlexTensor,
        needs_gradient: [bool; 4],
    ) -> [Option<FlexTensor>; 4] {
        let mut gradient = contiguous(gradient);
        let shape = gradient.layout().shape().clone();
        let (normalized, gamma) = (elements::<T>(&saved.normalized), elements(&saved.gamma));
        let width = gamma.len();
        let block = BLOCK_ROWS * width.max(1);
        let mask = self.mask.as_ref().filter(|_| needs_gradient[0]);
        let mut input_gradient =
            Buffer::<T>::unspecified(if mask.is_some() { normalized.len() } else { 0 });
        let compute_block = |index: usize, gradient: &mut [T], input_gradient: &mut [T]| {
            let rows = gradient.len() / width.max(1);
            let first = index * BLOCK_ROWS;
            let normalized = &normalized[first * width..][..gradient.len()];
            let inverse_deviation = &saved.inverse_deviation[first..first + rows];
            let mut sums = [vec![0.0; width], vec![0.0; width]];
            gradient_rows(normalized, inverse_deviation, gamma, gradient, &mut sums);
            if let Some(mask) = mask {
                drop_rows(gradient, width, mask, first, input_gradient);
            }
            sums
        };
        let gradients = elements_mut::<T>(&mut gradient).par_chunks_mut(block);
        let sums: Vec<[Vec<f32>; 2]> = match mask {
            None => gradients
                .enumerate()
                .map(|(index, gradient)| compute_block(index, gradient, &mut []))
                .collect(),
            Some(_) => gradients
                .zip(input_gradient.par_chunks_mut(block))
                .enumerate()
                .map(|(index, (gradient, input_gradient))| {
                    compute_block(index, gradient, input_gradient)
                })
                .collect(),
        };
        let total = |which: usize| {
            let mut total = vec![0.0f64; width];
            sums.iter()
                .for_each(|block| add_in_float64(&mut total, &block[which]));
            new_vector(total.iter().map(|t| *t as f32).collect())
        };
        let vectors = [0, 1].map(|which| needs_gradient[1 + which].then(|| total(which)));
        let residual = needs_gradient[3].then(|| gradient.clone());
        let input = match mask {
            Some(_) => new_tensor(input_gradient, shape),
            None => gradient,
        };
        let [gamma, beta] = vectors;
        [needs_gradient[0].then_some(input), gamma, beta, residual]
    }
}

/// The parameters of a normalization.
struct Parameters<'a> {
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f32,
}

/// Writes a row of the input plus the residual to `row`, normalizes it and returns 1/√(σ² + ε).
#[inline(always)]
fn normalize_row<const FUSED: bool, T: Element>(
    input: &[T],
    residual: Option<&[T]>,
    mask: Option<RowMask>,
    epsilon: f32,
    row: &mut [f32],
) -> f32 {
    let numbers = row.iter_mut().zip(input);
    match (residual, mask) {
        (None, None) => numbers.for_each(|(output, x)| *output = x.widen()),
        (None, Some(mask)) => {
            for (column, (output, x)) in numbers.enumerate() {
                *output = x.widen() * mask.factor(column);
            }
        }
        (Some(residual), None) => {
            let numbers = numbers.zip(residual);
            numbers.for_each(|((output, x), residual)| *output = x.widen() + residual.widen());
        }
        (Some(residual), Some(mask)) => {
            for (column, ((output, x), residual)) in numbers.zip(residual).enumerate() {
                *output = mul_add::<FUSED>(x.widen(), mask.factor(column), residual.widen());
            }
        }
    }
    let [mean, variance] = moments(row);
    let inverse_deviation = 1.0 / (variance + epsilon).sqrt();
    row.iter_mut()
        .for_each(|x| *x = (*x - mean) * inverse_deviation);
    inverse_deviation
}

/// The mask of a row of a block, given the mask and the block's first row.
#[inline(always)]
fn row_mask(mask_block: Option<(&TokenMask, usize)>, row: usize) -> Option<RowMask> {
    mask_block.map(|(mask, first)| mask.row(first + row))
}

vectorized! {
    /// Replaces the input by the output.
    fn normalize_in_place<T: Element>(
        values: &mut [T],
        residual: Option<&[T]>,
        mask_block: Option<(&TokenMask, usize)>,
        parameters: &Parameters,
    ) {
        let width = parameters.gamma.len();
        let float32_row = &mut vec![0.0; width][..];
        for (index, row) in values.chunks_exact_mut(width).enumerate() {
            let residual = residual.map(|residual| &residual[index * width..][..width]);
            let mask = row_mask(mask_block, index);
            normalize_row::<FUSED, T>(row, residual, mask, parameters.epsilon, float32_row);
            let vectors = parameters.gamma.iter().zip(parameters.beta);
            for ((output, x), (gamma, beta)) in row.iter_mut().zip(&*float32_row).zip(vectors) {
                *output = T::round(mul_add::<FUSED>(*x, *gamma, *beta));
            }
        }
    }
}

vectorized! {
    /// Replaces the input by the normalized rows and writes the output elsewhere.
    fn normalize_rows<T: Element>(
        values: &mut [T],
        residual: Option<&[T]>,
        mask_block: Option<(&TokenMask, usize)>,
        parameters: &Parameters,
        output: &mut [T],
        inverse_deviation: &mut [f32],
    ) {
        let width = parameters.gamma.len();
        let float32_row = &mut vec![0.0; width][..];
        let rows = values.chunks_exact_mut(width).zip(output.chunks_exact_mut(width));
        for (index, ((row, output), inverse_deviation)) in rows.zip(inverse_deviation).enumerate() {
            let residual = residual.map(|residual| &residual[index * width..][..width]);
            let mask = row_mask(mask_block, index);
            let epsilon = parameters.epsilon;
            *inverse_deviation =
                normalize_row::<FUSED, T>(row, residual, mask, epsilon, float32_row);
            let vectors = parameters.gamma.iter().zip(parameters.beta);
            let numbers = output.iter_mut().zip(row).zip(&*float32_row);
            for (((output, normalized), x), (gamma, beta)) in numbers.zip(vectors) {
                *normalized = T::round(*x);
                *output = T::round(mul_add::<FUSED>(*x, *gamma, *beta));
            }
        }
    }
}

vectorized! {
    /// Replaces gradients of the output by those of the sum that is normalized, and adds the
    /// gradients of γ and β to `sums`.
    fn gradient_rows<T: Element>(
        normalized: &[T],
        inverse_deviation: &[f32],
        gamma: &[f32],
        gradient: &mut [T],
        sums: &mut [Vec<f32>; 2],
    ) {
        let width = gamma.len();
        let inverse_width = 1.0 / width as f32;
        let [gamma_sums, beta_sums] = sums;
        let [scaled, float32_row] = &mut [vec![0.0; width], vec![0.0; width]];
        let rows = normalized.chunks_exact(width).zip(gradient.chunks_exact_mut(width));
        for ((normalized, gradient), inverse_deviation) in rows.zip(inverse_deviation) {
            let sums = gamma_sums.iter_mut().zip(beta_sums.iter_mut());
            let float32_rows = scaled.iter_mut().zip(float32_row.iter_mut());
            let row = gradient.iter().zip(normalized).zip(gamma).zip(float32_rows);
            for ((((gradient, x), gamma), (scaled, normalized)), (gamma_sum, beta_sum)) in
                row.zip(sums)
            {
                let (gradient, x) = (gradient.widen(), x.widen());
                *gamma_sum = mul_add::<FUSED>(gradient, x, *gamma_sum);
                *beta_sum += gradient;
                *scaled = gradient * gamma;
                *normalized = x;
            }
            let mean = sum(scaled, float32_row, |gradient, _| gradient) * inverse_width;
            let projection = sum(scaled, float32_row, |gradient, x| gradient * x) * inverse_width;
            for ((output, gradient), x) in gradient.iter_mut().zip(&*scaled).zip(&*float32_row) {
                *output = T::round((gradient - mean - x * projection) * inverse_deviation);
            }
        }
    }
}

vectorized! {
    fn drop_rows<T: Element>(
        gradient: &[T],
        width: usize,
        mask: &TokenMask,
        first: usize,
        output: &mut [T],
    ) {
        let rows = gradient.chunks_exact(width).zip(output.chunks_exact_mut(width));
        for (index, (gradient, output)) in rows.enumerate() {
            let mask = mask.row(first + index);
            mask.multiply_to(gradient, output);
        }
    }
}
