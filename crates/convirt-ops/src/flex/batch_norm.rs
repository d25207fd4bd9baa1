//! Batch normalization in two passes over memory, and its gradient in two more.

use std::ops::Range;
use std::sync::Arc;

use burn::backend::Flex;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::buffer::{contiguous, elements, elements_mut, tensor, vector};
use super::conv2d::conv2d_finished;
use super::element::{Element, of_element};
use super::math::add_wide;
use super::matmul::{Matrix, MatrixMut};
use super::memory::Buffer;
use super::simd::vectorized;
use super::{FlexTensor, Operation, apply, plain};
use crate::{After, BatchNormalized, Normalization, Window};

/// Elements of a block of rows that stays in a core's first caches between two passes.
const BLOCK: usize = 1 << 14;
/// Rows whose sums float32 holds without loss that counts.
const BLOCK_ROWS: usize = 256;

pub(crate) fn batch_norm_train(
    input: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
    after: After,
) -> BatchNormalized {
    let operation = BatchNorm {
        epsilon,
        relu: !matches!(after, After::Nothing),
        given: None,
    };
    let (output, saved) = normalize(operation, input, [gamma, beta], after);
    let vector = |values| Tensor::from_primitive::<Flex>(vector(values));
    BatchNormalized {
        output,
        mean: vector(saved.statistics.mean),
        variance: vector(saved.statistics.variance),
    }
}

pub(crate) fn batch_norm(input: Tensor<4>, by: Normalization, after: After) -> Tensor<4> {
    let operation = BatchNorm {
        epsilon: by.epsilon,
        relu: !matches!(after, After::Nothing),
        given: Some(Statistics {
            mean: values(by.mean),
            variance: values(by.variance),
        }),
    };
    normalize(operation, input, [by.gamma, by.beta], after).0
}

/// [`conv2d`](super::conv2d()), then [`batch_norm`] of its sums while they are near; outside graphs.
pub(crate) fn conv2d_batch_norm(
    inputs: [Tensor<4>; 2],
    window: Window,
    groups: usize,
    by: Normalization,
    after: After,
) -> Tensor<4> {
    let dtype = inputs[0].dtype();
    of_element!(dtype, T => conv2d_batch_norm_of::<T>(inputs, window, groups, by, after))
}

fn conv2d_batch_norm_of<T: Element>(
    inputs: [Tensor<4>; 2],
    window: Window,
    groups: usize,
    by: Normalization,
    after: After,
) -> Tensor<4> {
    let (mean, beta) = (values(by.mean), values(by.beta));
    let scale = scale(&values(by.gamma), &values(by.variance), by.epsilon);
    let relu = !matches!(after, After::Nothing);
    let shortcut = match after {
        After::AddRelu(shortcut) => Some(contiguous(plain(shortcut.into_dispatch()))),
        After::Nothing | After::Relu => None,
    };
    let shortcut = shortcut.as_ref().map(elements::<T>);
    let channels = mean.len();
    let write = |[row, column]: [usize; 2], sums: Matrix<'_>, to: MatrixMut<'_, T>| {
        let columns = column..column + sums.columns();
        let by = Normalizer {
            mean: &mean[columns.clone()],
            scale: &scale[columns.clone()],
            beta: &beta[columns],
        };
        let shortcut = shortcut.map(|shortcut| {
            let first = row * channels + column;
            Matrix::strided(&shortcut[first..], sums.rows(), sums.columns(), channels)
        });
        normalize_sums::<T>(sums, shortcut, &by, relu, to);
    };
    conv2d_finished::<T>(inputs, window, groups, &write)
}

fn values(vector: Tensor<1>) -> Vec<f32> {
    vector.into_data().iter().collect()
}

fn normalize(
    operation: BatchNorm,
    input: Tensor<4>,
    [gamma, beta]: [Tensor<1>; 2],
    after: After,
) -> (Tensor<4>, Saved) {
    let (input, gamma) = (input.into_dispatch(), gamma.into_dispatch());
    let beta = beta.into_dispatch();
    match after {
        After::AddRelu(shortcut) => {
            apply(operation, [input, gamma, beta, shortcut.into_dispatch()])
        }
        After::Nothing | After::Relu => apply(operation, [input, gamma, beta]),
    }
}

/// Means and biased variances of channels.
#[derive(Clone, Debug)]
struct Statistics {
    mean: Vec<f32>,
    variance: Vec<f32>,
}

#[derive(Debug)]
struct BatchNorm {
    epsilon: f64,
    relu: bool,
    /// The statistics to use instead of the batch's.
    given: Option<Statistics>,
}

#[derive(Clone, Debug)]
struct Saved {
    input: FlexTensor,
    gamma: FlexTensor,
    beta: FlexTensor,
    statistics: Statistics,
    /// Of each element to which a shortcut was added, whether the ReLU let the sum pass: 1 or 0. A
    /// byte of it costs less than to keep the output.
    passed: Option<Arc<Buffer<u8>>>,
}

impl Operation<3> for BatchNorm {
    type Saved = Saved;

    fn forward(&self, [input, gamma, beta]: [FlexTensor; 3]) -> (FlexTensor, Saved) {
        self.run(input, [gamma, beta], None)
    }

    fn backward(
        self,
        saved: Saved,
        gradient: FlexTensor,
        wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let [input, gamma, beta] = wanted;
        let [input, gamma, beta, _] = self.gradients(saved, gradient, [input, gamma, beta, false]);
        [input, gamma, beta]
    }
}

impl Operation<4> for BatchNorm {
    type Saved = Saved;

    fn forward(&self, [input, gamma, beta, shortcut]: [FlexTensor; 4]) -> (FlexTensor, Saved) {
        self.run(input, [gamma, beta], Some(contiguous(shortcut)))
    }

    fn backward(
        self,
        saved: Saved,
        gradient: FlexTensor,
        wanted: [bool; 4],
    ) -> [Option<FlexTensor>; 4] {
        self.gradients(saved, gradient, wanted)
    }
}

/// What channels' values are normalized by: (x − mean)·scale + beta.
struct Normalizer<'a> {
    mean: &'a [f32],
    scale: &'a [f32],
    beta: &'a [f32],
}

/// γ/√(σ² + ε).
fn scale(gamma: &[f32], variance: &[f32], epsilon: f64) -> Vec<f32> {
    let by = variance.iter().map(|v| f64::from(*v) + epsilon);
    let scales = by
        .zip(gamma)
        .map(|(v, g)| (f64::from(*g) / v.sqrt()) as f32);
    scales.collect()
}

impl BatchNorm {
    fn run(
        &self,
        input: FlexTensor,
        vectors: [FlexTensor; 2],
        shortcut: Option<FlexTensor>,
    ) -> (FlexTensor, Saved) {
        of_element!(input.dtype(), T => self.run_on::<T>(input, vectors, shortcut))
    }

    fn run_on<T: Element>(
        &self,
        input: FlexTensor,
        [gamma, beta]: [FlexTensor; 2],
        shortcut: Option<FlexTensor>,
    ) -> (FlexTensor, Saved) {
        let (input, gamma, beta) = (contiguous(input), contiguous(gamma), contiguous(beta));
        let values = elements::<T>(&input);
        let channels = elements::<f32>(&gamma).len();
        let statistics = match &self.given {
            Some(statistics) => statistics.clone(),
            None => moments(values, channels),
        };
        let by = Normalizer {
            mean: &statistics.mean,
            scale: &scale(elements(&gamma), &statistics.variance, self.epsilon),
            beta: elements(&beta),
        };
        let shortcut = shortcut.as_ref().map(elements::<T>);
        let mut output = Buffer::any(values.len());
        let mut passed = shortcut.map(|_| Buffer::any(values.len()));
        let block = block_rows(channels) * channels;
        let blocks = output.par_chunks_mut(block).enumerate();
        match (shortcut, &mut passed) {
            (Some(shortcut), Some(passed)) => {
                blocks
                    .zip(passed.par_chunks_mut(block))
                    .for_each(|((index, to), passed)| {
                        let range = index * block..index * block + to.len();
                        add_rows(&values[range.clone()], &shortcut[range], &by, to, passed);
                    })
            }
            _ => blocks.for_each(|(index, to)| {
                let range = index * block..index * block + to.len();
                normalize_rows(&values[range], &by, self.relu, to);
            }),
        }
        let output = tensor(output, input.layout().shape().clone());
        let saved = Saved {
            passed: passed.map(Arc::new),
            input,
            gamma,
            beta,
            statistics,
        };
        (output, saved)
    }

    fn gradients(
        self,
        saved: Saved,
        gradient: FlexTensor,
        wanted: [bool; 4],
    ) -> [Option<FlexTensor>; 4] {
        let dtype = saved.input.dtype();
        of_element!(dtype, T => self.gradients_of::<T>(saved, gradient, wanted))
    }

    fn gradients_of<T: Element>(
        self,
        saved: Saved,
        gradient: FlexTensor,
        wanted: [bool; 4],
    ) -> [Option<FlexTensor>; 4] {
        let mut gradient = contiguous(gradient);
        let shape = gradient.layout().shape().clone();
        let (input, gamma) = (elements::<T>(&saved.input), elements(&saved.gamma));
        let channels = gamma.len();
        let by = Normalizer {
            mean: &saved.statistics.mean,
            scale: &scale(gamma, &saved.statistics.variance, self.epsilon),
            beta: elements(&saved.beta),
        };
        let passes = match (&saved.passed, self.relu) {
            (_, false) => Passes::All,
            (Some(passed), true) => Passes::Marked(passed),
            (None, true) => Passes::Positive,
        };
        let [sums, products] = gradient_sums(input, elements(&gradient), &passes, &by);
        let variances = saved.statistics.variance.iter().map(|v| f64::from(*v));
        let variances: Vec<f64> = variances.map(|v| v + self.epsilon).collect();
        let mut shortcut_gradient = wanted[3].then(|| Buffer::<T>::any(input.len()));
        if wanted[0] || wanted[3] {
            let rows = (input.len() / channels) as f64;
            let through = self.given.is_none().then(|| {
                let mean = sums.iter().map(|s| (s / rows) as f32).collect();
                let coefficient = products
                    .iter()
                    .zip(&variances)
                    .map(|(p, v)| (p / rows / v) as f32);
                ThroughStatistics {
                    mean,
                    coefficient: coefficient.collect(),
                }
            });
            let block = block_rows(channels) * channels;
            let of_block = |index: usize, gradient: &mut [T], shortcut: Option<&mut [T]>| {
                let range = index * block..index * block + gradient.len();
                let passes = passes.part(range.clone());
                let through = through.as_ref();
                gradient_rows(&input[range], &passes, &by, through, gradient, shortcut);
            };
            let gradients = elements_mut::<T>(&mut gradient).par_chunks_mut(block);
            match &mut shortcut_gradient {
                None => gradients
                    .enumerate()
                    .for_each(|(index, gradient)| of_block(index, gradient, None)),
                Some(shortcut) => gradients
                    .zip(shortcut.par_chunks_mut(block))
                    .enumerate()
                    .for_each(|(index, (gradient, to))| of_block(index, gradient, Some(to))),
            }
        }
        let of_gamma = products
            .iter()
            .zip(&variances)
            .map(|(p, v)| (p / v.sqrt()) as f32);
        [
            wanted[0].then_some(gradient),
            wanted[1].then(|| vector(of_gamma.collect())),
            wanted[2].then(|| vector(sums.iter().map(|sum| *sum as f32).collect())),
            shortcut_gradient.map(|values| tensor(values, shape)),
        ]
    }
}

/// What of a gradient goes through the batch's statistics: its mean, and what each x − mean adds.
struct ThroughStatistics {
    mean: Vec<f32>,
    coefficient: Vec<f32>,
}

/// Where the ReLU let values pass.
enum Passes<'a> {
    /// Everywhere: there is none.
    All,
    /// Where the normalized value is positive.
    Positive,
    /// Where there is a 1.
    Marked(&'a [u8]),
}

impl Passes<'_> {
    fn part(&self, range: Range<usize>) -> Self {
        match self {
            Self::All => Self::All,
            Self::Positive => Self::Positive,
            Self::Marked(passed) => Self::Marked(&passed[range]),
        }
    }
}

/// Rows of a block.
fn block_rows(channels: usize) -> usize {
    (BLOCK / channels.max(1)).clamp(1, BLOCK_ROWS)
}

/// Means and biased variances of columns: of each block in two passes, joined as in
/// [Chan et al. 1983](https://doi.org/10.1080/00031305.1983.10483115), Equation 2.1.
fn moments<T: Element>(input: &[T], channels: usize) -> Statistics {
    let empty = || (0.0, vec![0.0f64; channels], vec![0.0f64; channels]);
    let join = |mut a: (f64, Vec<f64>, Vec<f64>), b: (f64, Vec<f64>, Vec<f64>)| {
        let rows = a.0 + b.0;
        if b.0 > 0.0 {
            for channel in 0..channels {
                let difference = b.1[channel] - a.1[channel];
                a.1[channel] += difference * b.0 / rows;
                a.2[channel] += b.2[channel] + difference * difference * a.0 * b.0 / rows;
            }
        }
        (rows, a.1, a.2)
    };
    let block = block_rows(channels) * channels;
    let parts: Vec<_> = per_thread(input.len(), block)
        .into_par_iter()
        .map(|part| {
            input[part].chunks(block).fold(empty(), |so_far, block| {
                let mut sums = [0; 3].map(|_| vec![0.0; channels]);
                block_moments(block, &mut sums);
                let rows = (block.len() / channels) as f64;
                let [mean, residual, squares] = sums.map(|sums| sums.into_iter().map(f64::from));
                let residual: Vec<f64> = residual.collect();
                let mean = mean.zip(&residual).map(|(mean, sum)| mean + sum / rows);
                let spread = squares
                    .zip(&residual)
                    .map(|(squares, sum)| squares - sum * sum / rows);
                join(so_far, (rows, mean.collect(), spread.collect()))
            })
        })
        .collect();
    let (rows, mean, spread) = parts.into_iter().fold(empty(), join);
    Statistics {
        mean: mean.into_iter().map(|mean| mean as f32).collect(),
        variance: spread
            .into_iter()
            .map(|spread| (spread / rows) as f32)
            .collect(),
    }
}

/// Divides elements among the threads, at multiples of a block.
fn per_thread(length: usize, block: usize) -> Vec<Range<usize>> {
    let blocks = length.div_ceil(block.max(1));
    let part = blocks.div_ceil(rayon::current_num_threads()).max(1) * block;
    let starts = (0..length).step_by(part.max(1));
    starts
        .map(|start| start..length.min(start + part))
        .collect()
}

vectorized! {
    /// Rounded means of columns, then sums and sums of squares of the residuals.
    fn block_moments<T: Element>(block: &[T], sums: &mut [Vec<f32>; 3]) {
        let [mean, residual, squares] = sums;
        let channels = mean.len();
        let (mean, residual) = (&mut mean[..channels], &mut residual[..channels]);
        let squares = &mut squares[..channels];
        for row in block.chunks_exact(channels) {
            mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += x.widen());
        }
        let share = 1.0 / (block.len() / channels) as f32;
        mean.iter_mut().for_each(|mean| *mean *= share);
        for row in block.chunks_exact(channels) {
            for c in 0..channels {
                let centred = row[c].widen() - mean[c];
                residual[c] += centred;
                squares[c] += centred * centred;
            }
        }
    }
}

vectorized! {
    /// Writes (x − mean)·scale + beta, perhaps after a ReLU.
    fn normalize_rows<T: Element>(input: &[T], by: &Normalizer, relu: bool, to: &mut [T]) {
        let channels = by.mean.len();
        let rows = to.chunks_exact_mut(channels).zip(input.chunks_exact(channels));
        match relu {
            true => rows.for_each(|(to, row)| by.write(row, to, |_, value| rectify(value))),
            false => rows.for_each(|(to, row)| by.write(row, to, |_, value| value)),
        }
    }
}

vectorized! {
    /// Writes relu((x − mean)·scale + beta + shortcut), and whether it passed.
    fn add_rows<T: Element>(
        input: &[T],
        shortcut: &[T],
        by: &Normalizer,
        to: &mut [T],
        passed: &mut [u8],
    ) {
        let channels = by.mean.len();
        let rows = to.chunks_exact_mut(channels).zip(passed.chunks_exact_mut(channels));
        let inputs = input.chunks_exact(channels).zip(shortcut.chunks_exact(channels));
        for ((to, passed), (row, shortcut)) in rows.zip(inputs) {
            by.write(row, to, |c, value| rectify(value + shortcut[c].widen()));
            for (passed, to) in passed.iter_mut().zip(to) {
                *passed = u8::from(to.widen() > 0.0);
            }
        }
    }
}

vectorized! {
    /// As [`normalize_rows`] and [`add_rows`], of sums.
    fn normalize_sums<T: Element>(
        sums: Matrix<'_>,
        shortcut: Option<Matrix<'_, T>>,
        by: &Normalizer,
        relu: bool,
        to: MatrixMut<'_, T>,
    ) {
        let mut to = to;
        for row in 0..to.rows() {
            let (sums, to) = (sums.row(row), to.row_mut(row));
            match (shortcut, relu) {
                (Some(shortcut), _) => {
                    let shortcut = shortcut.row(row);
                    by.write(sums, to, |c, value| rectify(value + shortcut[c].widen()));
                }
                (None, true) => by.write(sums, to, |_, value| rectify(value)),
                (None, false) => by.write(sums, to, |_, value| value),
            }
        }
    }
}

impl Normalizer<'_> {
    /// Writes what a function makes of each column and its normalized value.
    #[inline(always)]
    fn write<I: Element, T: Element>(
        &self,
        row: &[I],
        to: &mut [T],
        after: impl Fn(usize, f32) -> f32,
    ) {
        let channels = to.len();
        let (row, mean) = (&row[..channels], &self.mean[..channels]);
        let (scale, beta) = (&self.scale[..channels], &self.beta[..channels]);
        for c in 0..channels {
            let normalized = (row[c].widen() - mean[c]) * scale[c] + beta[c];
            to[c] = T::round(after(c, normalized));
        }
    }

    /// Gives a function each column of a row, its x − mean, and its gradient where the ReLU lets it
    /// pass.
    #[inline(always)]
    fn each<T: Element>(
        &self,
        row: &[T],
        gradient: &[T],
        passes: &Passes,
        start: usize,
        mut see: impl FnMut(usize, f32, f32),
    ) {
        let channels = self.mean.len();
        let (row, gradient) = (&row[..channels], &gradient[..channels]);
        let (mean, scale, beta) = (
            &self.mean[..channels],
            &self.scale[..channels],
            &self.beta[..channels],
        );
        match passes {
            Passes::All => {
                for c in 0..channels {
                    see(c, row[c].widen() - mean[c], gradient[c].widen());
                }
            }
            Passes::Positive => {
                for c in 0..channels {
                    let centred = row[c].widen() - mean[c];
                    let passes = centred * scale[c] + beta[c] > 0.0;
                    see(c, centred, if passes { gradient[c].widen() } else { 0.0 });
                }
            }
            Passes::Marked(passed) => {
                let passed = &passed[start..start + channels];
                for c in 0..channels {
                    let gradient = if passed[c] != 0 {
                        gradient[c].widen()
                    } else {
                        0.0
                    };
                    see(c, row[c].widen() - mean[c], gradient);
                }
            }
        }
    }
}

/// max(0, x), not hiding what is no number.
#[inline(always)]
fn rectify(value: f32) -> f32 {
    if value < 0.0 { 0.0 } else { value }
}

/// Sums of columns of the gradient where the ReLU lets it pass, and of its product with x − mean.
fn gradient_sums<T: Element>(
    input: &[T],
    gradient: &[T],
    passes: &Passes,
    by: &Normalizer,
) -> [Vec<f64>; 2] {
    let channels = by.mean.len();
    let block = block_rows(channels) * channels;
    let parts: Vec<[Vec<f64>; 2]> = per_thread(input.len(), block)
        .into_par_iter()
        .map(|part| {
            let mut wide = [vec![0.0; channels], vec![0.0; channels]];
            for start in part.clone().step_by(block) {
                let range = start..part.end.min(start + block);
                let mut sums = [0; 2].map(|_| vec![0.0; channels]);
                let passes = passes.part(range.clone());
                sum_rows(
                    &input[range.clone()],
                    &gradient[range],
                    &passes,
                    by,
                    &mut sums,
                );
                wide.iter_mut()
                    .zip(&sums)
                    .for_each(|(to, from)| add_wide(to, from));
            }
            wide
        })
        .collect();
    let mut total = [vec![0.0; channels], vec![0.0; channels]];
    for part in &parts {
        total
            .iter_mut()
            .zip(part)
            .for_each(|(to, from)| add_wide(to, from));
    }
    total
}

vectorized! {
    fn sum_rows<T: Element>(
        input: &[T],
        gradient: &[T],
        passes: &Passes,
        by: &Normalizer,
        sums: &mut [Vec<f32>; 2],
    ) {
        let channels = by.mean.len();
        let [sums, products] = sums;
        let (sums, products) = (&mut sums[..channels], &mut products[..channels]);
        for (index, row) in input.chunks_exact(channels).enumerate() {
            let start = index * channels;
            by.each(row, &gradient[start..], passes, start, |c, centred, gradient| {
                sums[c] += gradient;
                products[c] += gradient * centred;
            });
        }
    }
}

vectorized! {
    /// Replaces gradients of the output by those of the input; the shortcut's are the output's
    /// where the ReLU let them pass.
    fn gradient_rows<T: Element>(
        input: &[T],
        passes: &Passes,
        by: &Normalizer,
        through: Option<&ThroughStatistics>,
        gradient: &mut [T],
        shortcut: Option<&mut [T]>,
    ) {
        let channels = by.mean.len();
        let scale = &by.scale[..channels];
        let passed = &mut vec![0.0; channels][..channels];
        let mut shortcut = shortcut.map(|shortcut| shortcut.chunks_exact_mut(channels));
        let rows = input.chunks_exact(channels).zip(gradient.chunks_exact_mut(channels));
        for (index, (row, gradient)) in rows.enumerate() {
            by.each(row, gradient, passes, index * channels, |c, _, gradient| {
                passed[c] = gradient;
            });
            if let Some(to) = shortcut.as_mut().and_then(Iterator::next) {
                to.iter_mut().zip(&*passed).for_each(|(to, passed)| *to = T::round(*passed));
            }
            match through {
                None => {
                    for c in 0..channels {
                        gradient[c] = T::round(scale[c] * passed[c]);
                    }
                }
                Some(through) => {
                    let (mean, coefficient) = (&through.mean[..channels], &through.coefficient[..channels]);
                    let row = &row[..channels];
                    for c in 0..channels {
                        let centred = row[c].widen() - by.mean[c];
                        let statistics = mean[c] + centred * coefficient[c];
                        gradient[c] = T::round(scale[c] * (passed[c] - statistics));
                    }
                }
            }
        }
    }
}
