//! Batch normalization in two passes over memory, and its gradient in two more.
//!
//! A channels-last feature map is a matrix with a row per pixel and a column per channel. It is
//! divided into blocks of whole rows, and the blocks among up to [`PARTS`] parts:
//!
//! ```text
//!            channels
//!          ┌──────────┐
//!   pixels │ block 0  │ ─┐ part 0: sums of its columns in float32 for each block,
//!          │ block 1  │ ─┘         added up over its blocks in float64
//!          ├──────────┤
//!          │ block 2  │ ─┐ part 1
//!          │ block 3  │ ─┘
//!          └──────────┘
//! ```
//!
//! The threads divide the parts among them, and the parts' sums are added in their order: the
//! result does not depend on the number of threads.
//!
//! The first forward pass computes each channel's mean and variance, the second normalizes. The
//! first backward pass sums the gradients of γ and β, the second computes the input's gradient.

mod statistics;
mod normalizer;
mod gradients;

use std::ops::Range;
use std::sync::Arc;

use burn::backend::Flex;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::buffer_pool::Buffer;
use super::conv2d::conv2d_with_epilogue;
use super::element::{Element, with_element_type};
use super::matmul::{Matrix, MatrixMut};
use super::tensor::{contiguous, elements, new_tensor, new_vector};
use super::{FlexTensor, Operation, apply, optional, plain, present};
use crate::{BatchNormalized, Epilogue, Normalization, Window};
use normalizer::{Normalizer, add_rows, normalize_rows, normalize_sums};
use statistics::Statistics;

/// Elements of a block: 64 KiB of float32, which stay in a core's second cache between the two
/// loops that compute a block's mean and variance.
const BLOCK: usize = 1 << 14;

/// Rows of a block at most: a float32 sum of 256 numbers keeps at least 16 of its 24 bits. Longer
/// sums are added up in float64.
const BLOCK_ROWS: usize = 256;

/// Parts at most, and the blocks of a part at least: enough for the threads of a large machine, and
/// few enough that adding the parts' sums takes no time.
const PARTS: usize = 16;
const PART_BLOCKS: usize = 4;

/// Rows of a block.
fn block_rows(channels: usize) -> usize {
    (BLOCK / channels.max(1)).clamp(1, BLOCK_ROWS)
}

/// Divides elements into parts, at multiples of a block.
fn parts(length: usize, block: usize) -> Vec<Range<usize>> {
    let blocks = length.div_ceil(block.max(1));
    let part = blocks.div_ceil(PARTS).max(PART_BLOCKS) * block;
    let starts = (0..length).step_by(part.max(1));
    starts
        .map(|start| start..length.min(start + part))
        .collect()
}

pub(crate) fn batch_norm_train(
    input: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
    epilogue: Epilogue,
) -> BatchNormalized {
    let operation = BatchNorm {
        epsilon,
        relu: epilogue.has_relu(),
        fixed_statistics: None,
    };
    let (output, saved) = normalize(operation, input, [gamma, beta], epilogue);
    let vector = |values| Tensor::from_primitive::<Flex>(new_vector(values));
    BatchNormalized {
        output,
        mean: vector(saved.statistics.mean),
        variance: vector(saved.statistics.variance),
    }
}

pub(crate) fn batch_norm(
    input: Tensor<4>,
    normalization: Normalization,
    epilogue: Epilogue,
) -> Tensor<4> {
    let operation = BatchNorm {
        epsilon: normalization.epsilon,
        relu: epilogue.has_relu(),
        fixed_statistics: Some(Statistics {
            mean: values(normalization.mean),
            variance: values(normalization.variance),
        }),
    };
    let vectors = [normalization.gamma, normalization.beta];
    normalize(operation, input, vectors, epilogue).0
}

/// [`conv2d`](super::conv2d()), then [`batch_norm`] of each block of its sums while they are in the
/// cache. The tensors are outside autodiff graphs.
pub(crate) fn conv2d_batch_norm(
    inputs: [Tensor<4>; 2],
    window: Window,
    groups: usize,
    normalization: Normalization,
    epilogue: Epilogue,
) -> Tensor<4> {
    with_element_type!(inputs[0].dtype(), T => {
        conv2d_batch_norm_typed::<T>(inputs, window, groups, normalization, epilogue)
    })
}

fn conv2d_batch_norm_typed<T: Element>(
    inputs: [Tensor<4>; 2],
    window: Window,
    groups: usize,
    normalization: Normalization,
    epilogue: Epilogue,
) -> Tensor<4> {
    let (mean, beta) = (values(normalization.mean), values(normalization.beta));
    let gamma = values(normalization.gamma);
    let variance = values(normalization.variance);
    let scale = scale(&gamma, &variance, normalization.epsilon);
    let relu = epilogue.has_relu();
    let shortcut = match epilogue {
        Epilogue::AddRelu(shortcut) => Some(contiguous(plain::<Flex>(shortcut.into_dispatch()))),
        Epilogue::Nothing | Epilogue::Relu => None,
    };
    let shortcut = shortcut.as_ref().map(elements::<T>);
    let channels = mean.len();
    let write = |[row, column]: [usize; 2], sums: Matrix<'_>, output: MatrixMut<'_, T>| {
        let columns = column..column + sums.columns();
        let normalizer = Normalizer {
            mean: &mean[columns.clone()],
            scale: &scale[columns.clone()],
            beta: &beta[columns],
        };
        let shortcut = shortcut.map(|shortcut| {
            let first = row * channels + column;
            Matrix::strided(&shortcut[first..], sums.rows(), sums.columns(), channels)
        });
        normalize_sums::<T>(sums, shortcut, &normalizer, relu, output);
    };
    conv2d_with_epilogue::<T>(inputs, window, groups, &write)
}

fn values(vector: Tensor<1>) -> Vec<f32> {
    vector.into_data().iter().collect()
}

fn normalize(
    operation: BatchNorm,
    input: Tensor<4>,
    [gamma, beta]: [Tensor<1>; 2],
    epilogue: Epilogue,
) -> (Tensor<4>, Saved) {
    let shortcut = match epilogue {
        Epilogue::AddRelu(shortcut) => Some(shortcut),
        Epilogue::Nothing | Epilogue::Relu => None,
    };
    let (input, gamma) = (input.into_dispatch(), gamma.into_dispatch());
    let beta = beta.into_dispatch();
    apply(operation, [input, gamma, beta, optional(shortcut)])
}

#[derive(Debug)]
struct BatchNorm {
    epsilon: f64,
    relu: bool,
    /// The statistics to use instead of the batch's.
    fixed_statistics: Option<Statistics>,
}

#[derive(Clone, Debug)]
struct Saved {
    input: FlexTensor,
    gamma: FlexTensor,
    beta: FlexTensor,
    statistics: Statistics,
    /// For each element to which a shortcut was added, 1 if the ReLU passed the sum and 0 if not.
    /// A byte for each costs less than keeping the output.
    passed: Option<Arc<Buffer<u8>>>,
}

/// Inputs: the feature map, γ, β and, optionally, the shortcut.
impl Operation<Flex, 4> for BatchNorm {
    type Saved = Saved;

    fn forward(&self, [input, gamma, beta, shortcut]: [FlexTensor; 4]) -> (FlexTensor, Saved) {
        let shortcut = present(shortcut).map(contiguous);
        with_element_type!(input.dtype(), T => {
            self.forward_typed::<T>(input, [gamma, beta], shortcut)
        })
    }

    fn backward(
        self,
        saved: Saved,
        gradient: FlexTensor,
        needs_gradient: [bool; 4],
    ) -> [Option<FlexTensor>; 4] {
        with_element_type!(saved.input.dtype(), T => {
            self.backward_typed::<T>(saved, gradient, needs_gradient)
        })
    }
}

/// γ/√(σ² + ε).
fn scale(gamma: &[f32], variance: &[f32], epsilon: f64) -> Vec<f32> {
    let variances = variance.iter().map(|v| f64::from(*v) + epsilon);
    let scales = variances
        .zip(gamma)
        .map(|(v, g)| (f64::from(*g) / v.sqrt()) as f32);
    scales.collect()
}

impl BatchNorm {
    fn forward_typed<T: Element>(
        &self,
        input: FlexTensor,
        [gamma, beta]: [FlexTensor; 2],
        shortcut: Option<FlexTensor>,
    ) -> (FlexTensor, Saved) {
        let (input, gamma, beta) = (contiguous(input), contiguous(gamma), contiguous(beta));
        let values = elements::<T>(&input);
        let channels = elements::<f32>(&gamma).len();
        let statistics = match &self.fixed_statistics {
            Some(statistics) => statistics.clone(),
            None => Statistics::compute(values, channels),
        };
        let normalizer = Normalizer {
            mean: &statistics.mean,
            scale: &scale(elements(&gamma), &statistics.variance, self.epsilon),
            beta: elements(&beta),
        };
        let shortcut = shortcut.as_ref().map(elements::<T>);
        let mut output = Buffer::unspecified(values.len());
        let mut passed = shortcut.map(|_| Buffer::unspecified(values.len()));
        let block = block_rows(channels) * channels;
        let blocks = output.par_chunks_mut(block).enumerate();
        match (shortcut, &mut passed) {
            (Some(shortcut), Some(passed)) => {
                blocks
                    .zip(passed.par_chunks_mut(block))
                    .for_each(|((index, output), passed)| {
                        let range = index * block..index * block + output.len();
                        let (values, shortcut) = (&values[range.clone()], &shortcut[range]);
                        add_rows(values, shortcut, &normalizer, output, passed);
                    })
            }
            _ => blocks.for_each(|(index, output)| {
                let range = index * block..index * block + output.len();
                normalize_rows(&values[range], &normalizer, self.relu, output);
            }),
        }
        let output = new_tensor(output, input.layout().shape().clone());
        let saved = Saved {
            passed: passed.map(Arc::new),
            input,
            gamma,
            beta,
            statistics,
        };
        (output, saved)
    }
}
