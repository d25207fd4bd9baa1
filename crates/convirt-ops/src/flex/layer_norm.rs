//! Layer normalization with the residual sum before it, a row at a time, and its gradient.

use std::sync::Arc;

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::buffer::{contiguous, elements, elements_mut, tensor, vector};
use super::dropout::{Mask, RowMask};
use super::element::{Element, of_element};
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
    /// The input less its mean, divided by its standard deviation.
    normalized: FlexTensor,
    /// 1/√(σ² + ε) of each row.
    inverse_deviation: Arc<Vec<f32>>,
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
        let [input, gamma, beta, _] = self.gradients(saved, gradient, [input, gamma, beta, false]);
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
        self.gradients(saved, gradient, wanted)
    }
}

impl LayerNorm {
    fn normalize(
        &self,
        input: FlexTensor,
        residual: Option<FlexTensor>,
        gamma: FlexTensor,
        beta: FlexTensor,
    ) -> (FlexTensor, Option<Saved>) {
        of_element!(input.dtype(), T => self.normalize_of::<T>(input, residual, gamma, beta))
    }

    /// Normalizes in the input's memory, and where that is to be kept, writes the output elsewhere.
    fn normalize_of<T: Element>(
        &self,
        input: FlexTensor,
        residual: Option<FlexTensor>,
        gamma: FlexTensor,
        beta: FlexTensor,
    ) -> (FlexTensor, Option<Saved>) {
        let (mut input, gamma, beta) = (contiguous(input), contiguous(gamma), contiguous(beta));
        let shape = input.layout().shape().clone();
        let by = Normalizer {
            gamma: elements(&gamma),
            beta: elements(&beta),
            epsilon: self.epsilon as f32,
        };
        let width = by.gamma.len();
        let residual = residual.as_ref().map(elements::<T>);
        let values = elements_mut::<T>(&mut input);
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
        let mut inverse_deviation = vec![0.0; values.len() / width.max(1)];
        output
            .par_chunks_mut(block)
            .zip(values.par_chunks_mut(block))
            .zip(inverse_deviation.par_chunks_mut(BLOCK_ROWS))
            .enumerate()
            .for_each(|(index, ((to, values), inverse_deviation))| {
                let residual = part(index, values.len());
                normalize_rows(values, residual, dropped(index), &by, to, inverse_deviation);
            });
        let saved = Saved {
            normalized: input,
            inverse_deviation: inverse_deviation.into(),
            gamma,
        };
        (tensor(output, shape), Some(saved))
    }

    fn gradients(
        self,
        saved: Option<Saved>,
        gradient: FlexTensor,
        wanted: [bool; 4],
    ) -> [Option<FlexTensor>; 4] {
        let saved = saved.expect("kept where gradients are recorded");
        let dtype = gradient.dtype();
        of_element!(dtype, T => self.gradients_of::<T>(&saved, gradient, wanted))
    }

    fn gradients_of<T: Element>(
        self,
        saved: &Saved,
        gradient: FlexTensor,
        wanted: [bool; 4],
    ) -> [Option<FlexTensor>; 4] {
        let mut gradient = contiguous(gradient);
        let shape = gradient.layout().shape().clone();
        let (normalized, gamma) = (elements::<T>(&saved.normalized), elements(&saved.gamma));
        let width = gamma.len();
        let block = BLOCK_ROWS * width.max(1);
        let mask = self.mask.filter(|_| wanted[0]);
        let mut dropped = Buffer::<T>::any(if mask.is_some() { normalized.len() } else { 0 });
        let of_block = |index: usize, gradient: &mut [T], dropped: &mut [T]| {
            let rows = gradient.len() / width.max(1);
            let first = index * BLOCK_ROWS;
            let normalized = &normalized[first * width..][..gradient.len()];
            let inverse_deviation = &saved.inverse_deviation[first..first + rows];
            let mut sums = [vec![0.0; width], vec![0.0; width]];
            gradient_rows(normalized, inverse_deviation, gamma, gradient, &mut sums);
            if let Some(mask) = mask {
                drop_rows(gradient, width, mask, first, dropped);
            }
            sums
        };
        let gradients = elements_mut::<T>(&mut gradient).par_chunks_mut(block);
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
struct Normalizer<'a> {
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f32,
}

/// Sums a row of the input and the residual into `row`, then normalizes it; returns 1/√(σ² + ε).
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
        (None, None) => numbers.for_each(|(to, x)| *to = x.widen()),
        (None, Some(mask)) => {
            for (column, (to, x)) in numbers.enumerate() {
                *to = x.widen() * mask.factor(column);
            }
        }
        (Some(residual), None) => {
            let numbers = numbers.zip(residual);
            numbers.for_each(|((to, x), residual)| *to = x.widen() + residual.widen());
        }
        (Some(residual), Some(mask)) => {
            for (column, ((to, x), residual)) in numbers.zip(residual).enumerate() {
                *to = mul_add::<FUSED>(x.widen(), mask.factor(column), residual.widen());
            }
        }
    }
    let [mean, variance] = moments(row);
    let inverse_deviation = 1.0 / (variance + epsilon).sqrt();
    row.iter_mut()
        .for_each(|x| *x = (*x - mean) * inverse_deviation);
    inverse_deviation
}

/// A row of a mask of which a block's first row is `first`.
#[inline(always)]
fn row_mask(dropped: Option<(Mask, usize)>, row: usize) -> Option<RowMask> {
    dropped.map(|(mask, first)| mask.row(first + row))
}

vectorized! {
    /// Puts the output in the place of the input.
    fn normalize_in_place<T: Element>(
        values: &mut [T],
        residual: Option<&[T]>,
        dropped: Option<(Mask, usize)>,
        by: &Normalizer,
    ) {
        let width = by.gamma.len();
        let wide = &mut vec![0.0; width][..];
        for (index, row) in values.chunks_exact_mut(width).enumerate() {
            let residual = residual.map(|residual| &residual[index * width..][..width]);
            let mask = row_mask(dropped, index);
            normalize_row::<FUSED, T>(row, residual, mask, by.epsilon, wide);
            let vectors = by.gamma.iter().zip(by.beta);
            for ((to, x), (gamma, beta)) in row.iter_mut().zip(&*wide).zip(vectors) {
                *to = T::round(mul_add::<FUSED>(*x, *gamma, *beta));
            }
        }
    }
}

vectorized! {
    /// Puts the normalized rows in the place of the input, the output in `to`.
    fn normalize_rows<T: Element>(
        values: &mut [T],
        residual: Option<&[T]>,
        dropped: Option<(Mask, usize)>,
        by: &Normalizer,
        to: &mut [T],
        inverse_deviation: &mut [f32],
    ) {
        let width = by.gamma.len();
        let wide = &mut vec![0.0; width][..];
        let rows = values.chunks_exact_mut(width).zip(to.chunks_exact_mut(width));
        for (index, ((row, to), inverse_deviation)) in rows.zip(inverse_deviation).enumerate() {
            let residual = residual.map(|residual| &residual[index * width..][..width]);
            let mask = row_mask(dropped, index);
            *inverse_deviation = normalize_row::<FUSED, T>(row, residual, mask, by.epsilon, wide);
            let vectors = by.gamma.iter().zip(by.beta);
            let numbers = to.iter_mut().zip(row).zip(&*wide);
            for (((to, normalized), x), (gamma, beta)) in numbers.zip(vectors) {
                *normalized = T::round(*x);
                *to = T::round(mul_add::<FUSED>(*x, *gamma, *beta));
            }
        }
    }
}

vectorized! {
    /// Replaces gradients of the output by those of what is normalized, and adds to the sums that
    /// are γ's and β's.
    fn gradient_rows<T: Element>(
        normalized: &[T],
        inverse_deviation: &[f32],
        gamma: &[f32],
        gradient: &mut [T],
        sums: &mut [Vec<f32>; 2],
    ) {
        let width = gamma.len();
        let share = 1.0 / width as f32;
        let [of_gamma, of_beta] = sums;
        let [scaled, wide] = &mut [vec![0.0; width], vec![0.0; width]];
        let rows = normalized.chunks_exact(width).zip(gradient.chunks_exact_mut(width));
        for ((normalized, gradient), inverse_deviation) in rows.zip(inverse_deviation) {
            let sums = of_gamma.iter_mut().zip(of_beta.iter_mut());
            let to = scaled.iter_mut().zip(wide.iter_mut());
            let row = gradient.iter().zip(normalized).zip(gamma).zip(to);
            for ((((gradient, x), gamma), (scaled, wide)), (of_gamma, of_beta)) in row.zip(sums) {
                let (gradient, x) = (gradient.widen(), x.widen());
                *of_gamma = mul_add::<FUSED>(gradient, x, *of_gamma);
                *of_beta += gradient;
                *scaled = gradient * gamma;
                *wide = x;
            }
            let mean = sum(scaled, wide, |gradient, _| gradient) * share;
            let along = sum(scaled, wide, |gradient, x| gradient * x) * share;
            for ((to, gradient), x) in gradient.iter_mut().zip(&*scaled).zip(&*wide) {
                *to = T::round((gradient - mean - x * along) * inverse_deviation);
            }
        }
    }
}

vectorized! {
    fn drop_rows<T: Element>(
        gradient: &[T],
        width: usize,
        mask: Mask,
        first: usize,
        to: &mut [T],
    ) {
        let rows = gradient.chunks_exact(width).zip(to.chunks_exact_mut(width));
        for (index, (gradient, to)) in rows.enumerate() {
            let mask = mask.row(first + index);
            mask.multiply_to(gradient, to);
        }
    }
}
