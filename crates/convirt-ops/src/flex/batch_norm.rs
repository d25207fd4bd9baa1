//! Batch normalization in two passes over memory, and its gradient in two more.

use std::ops::Range;
use std::sync::Arc;

use burn::backend::Flex;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::buffer::{contiguous, elements, elements_mut, tensor, vector};
use super::conv2d::conv2d_finished;
use super::math::add_wide;
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

/// [`conv2d`](super::conv2d()), then [`batch_norm`] of what is still near; outside graphs.
pub(crate) fn conv2d_batch_norm(
    inputs: [Tensor<4>; 2],
    window: Window,
    groups: usize,
    by: Normalization,
    after: After,
) -> Tensor<4> {
    let (mean, beta) = (values(by.mean), values(by.beta));
    let by = Affine {
        mean: &mean,
        scale: scale(&values(by.gamma), &values(by.variance), by.epsilon),
        beta: &beta,
    };
    let relu = !matches!(after, After::Nothing);
    let shortcut = match after {
        After::AddRelu(shortcut) => Some(contiguous(plain(shortcut.into_dispatch()))),
        After::Nothing | After::Relu => None,
    };
    let shortcut = shortcut.as_ref().map(elements);
    let channels = mean.len();
    conv2d_finished(inputs, window, groups, |row, rows| {
        let first = row * channels;
        let shortcut = shortcut.map(|shortcut| &shortcut[first..first + rows.len()]);
        normalize_here(rows, shortcut, &by, relu);
    })
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
    /// Of each element to which a shortcut was added, whether the rectifier let the sum pass: 1
    /// or 0. A byte of it costs less than to keep the output.
    passed: Option<Arc<Buffer>>,
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
        let [input, gamma, beta, _] = self.turn(saved, gradient, [input, gamma, beta, false]);
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
        self.turn(saved, gradient, wanted)
    }
}

/// What a channel's values are normalized by: (x − mean)·scale + beta.
struct Affine<'a> {
    mean: &'a [f32],
    scale: Vec<f32>,
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
        [gamma, beta]: [FlexTensor; 2],
        shortcut: Option<FlexTensor>,
    ) -> (FlexTensor, Saved) {
        let (input, gamma, beta) = (contiguous(input), contiguous(gamma), contiguous(beta));
        let values = elements(&input);
        let channels = elements(&gamma).len();
        let statistics = match &self.given {
            Some(statistics) => statistics.clone(),
            None => moments(values, channels),
        };
        let by = Affine {
            mean: &statistics.mean,
            scale: scale(elements(&gamma), &statistics.variance, self.epsilon),
            beta: elements(&beta),
        };
        let shortcut = shortcut.as_ref().map(elements);
        let mut output = Buffer::any(values.len());
        let mut passed = shortcut.map(|_| Buffer::any(values.len().div_ceil(size_of::<f32>())));
        let block = block_rows(channels) * channels;
        let blocks = output.par_chunks_mut(block).enumerate();
        match (shortcut, &mut passed) {
            (Some(shortcut), Some(passed)) => blocks
                .zip(passed.bytes_mut().par_chunks_mut(block))
                .for_each(|((index, to), passed)| {
                    let range = index * block..index * block + to.len();
                    add_rows(&values[range.clone()], &shortcut[range], &by, to, passed);
                }),
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

    fn turn(
        self,
        saved: Saved,
        gradient: FlexTensor,
        wanted: [bool; 4],
    ) -> [Option<FlexTensor>; 4] {
        let mut gradient = contiguous(gradient);
        let shape = gradient.layout().shape().clone();
        let (input, gamma) = (elements(&saved.input), elements(&saved.gamma));
        let channels = gamma.len();
        let by = Affine {
            mean: &saved.statistics.mean,
            scale: scale(gamma, &saved.statistics.variance, self.epsilon),
            beta: elements(&saved.beta),
        };
        let rectified = match (&saved.passed, self.relu) {
            (_, false) => Rectified::Not,
            (Some(passed), true) => Rectified::Passed(passed.bytes()),
            (None, true) => Rectified::Normalized,
        };
        let [sums, turns] = gradient_sums(input, elements(&gradient), &rectified, &by);
        let variances = saved.statistics.variance.iter().map(|v| f64::from(*v));
        let variances: Vec<f64> = variances.map(|v| v + self.epsilon).collect();
        let mut shortcut_gradient = wanted[3].then(|| Buffer::any(input.len()));
        if wanted[0] || wanted[3] {
            let rows = (input.len() / channels) as f64;
            let through = self.given.is_none().then(|| {
                let mean = sums.iter().map(|s| (s / rows) as f32).collect();
                let turn = turns
                    .iter()
                    .zip(&variances)
                    .map(|(t, v)| (t / rows / v) as f32);
                Through {
                    mean,
                    turn: turn.collect(),
                }
            });
            let block = block_rows(channels) * channels;
            let turn_block = |index: usize, gradient: &mut [f32], shortcut: Option<&mut [f32]>| {
                let range = index * block..index * block + gradient.len();
                let rectified = rectified.part(range.clone());
                turn_rows(
                    &input[range],
                    &rectified,
                    &by,
                    through.as_ref(),
                    gradient,
                    shortcut,
                );
            };
            let gradients = elements_mut(&mut gradient).par_chunks_mut(block);
            match &mut shortcut_gradient {
                None => gradients
                    .enumerate()
                    .for_each(|(index, gradient)| turn_block(index, gradient, None)),
                Some(shortcut) => gradients
                    .zip(shortcut.par_chunks_mut(block))
                    .enumerate()
                    .for_each(|(index, (gradient, to))| turn_block(index, gradient, Some(to))),
            }
        }
        let slopes = turns
            .iter()
            .zip(&variances)
            .map(|(t, v)| (t / v.sqrt()) as f32);
        [
            wanted[0].then_some(gradient),
            wanted[1].then(|| vector(slopes.collect())),
            wanted[2].then(|| vector(sums.iter().map(|sum| *sum as f32).collect())),
            shortcut_gradient.map(|values| tensor(values, shape)),
        ]
    }
}

/// What of a gradient goes through the batch's statistics: its mean, and its turn with x − mean.
struct Through {
    mean: Vec<f32>,
    turn: Vec<f32>,
}

/// How to tell where the rectifier let a value pass.
enum Rectified<'a> {
    /// Everywhere: there is none.
    Not,
    /// Where the normalized value is positive.
    Normalized,
    /// Where there is a 1.
    Passed(&'a [u8]),
}

impl Rectified<'_> {
    fn part(&self, range: Range<usize>) -> Self {
        match self {
            Self::Not => Self::Not,
            Self::Normalized => Self::Normalized,
            Self::Passed(passed) => Self::Passed(&passed[range]),
        }
    }
}

/// Rows of a block.
fn block_rows(channels: usize) -> usize {
    (BLOCK / channels.max(1)).clamp(1, BLOCK_ROWS)
}

/// Means and biased variances of columns: of each block in two passes, joined as in
/// [Chan et al. 1983](https://doi.org/10.1080/00031305.1983.10483115), Equation 2.1.
fn moments(input: &[f32], channels: usize) -> Statistics {
    let empty = || (0.0, vec![0.0f64; channels], vec![0.0f64; channels]);
    let join = |mut a: (f64, Vec<f64>, Vec<f64>), b: (f64, Vec<f64>, Vec<f64>)| {
        let rows = a.0 + b.0;
        if b.0 > 0.0 {
            for channel in 0..channels {
                let apart = b.1[channel] - a.1[channel];
                a.1[channel] += apart * b.0 / rows;
                a.2[channel] += b.2[channel] + apart * apart * a.0 * b.0 / rows;
            }
        }
        (rows, a.1, a.2)
    };
    let block = block_rows(channels) * channels;
    let parts: Vec<_> = shares(input.len(), block)
        .into_par_iter()
        .map(|share| {
            input[share].chunks(block).fold(empty(), |so_far, block| {
                let mut sums = [0; 3].map(|_| vec![0.0; channels]);
                block_moments(block, &mut sums);
                let rows = (block.len() / channels) as f64;
                let [mean, rest, squares] = sums.map(|sums| sums.into_iter().map(f64::from));
                let rest: Vec<f64> = rest.collect();
                let mean = mean.zip(&rest).map(|(mean, rest)| mean + rest / rows);
                let spread = squares
                    .zip(&rest)
                    .map(|(squares, rest)| squares - rest * rest / rows);
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
fn shares(length: usize, block: usize) -> Vec<Range<usize>> {
    let blocks = length.div_ceil(block.max(1));
    let share = blocks.div_ceil(rayon::current_num_threads()).max(1) * block;
    let starts = (0..length).step_by(share.max(1));
    starts
        .map(|start| start..length.min(start + share))
        .collect()
}

vectorized! {
    /// Rounded means of columns, then sums and sums of squares of what they leave.
    fn block_moments(block: &[f32], sums: &mut [Vec<f32>; 3]) {
        let [mean, rest, squares] = sums;
        let channels = mean.len();
        let (mean, rest) = (&mut mean[..channels], &mut rest[..channels]);
        let squares = &mut squares[..channels];
        for row in block.chunks_exact(channels) {
            mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += x);
        }
        let share = 1.0 / (block.len() / channels) as f32;
        mean.iter_mut().for_each(|mean| *mean *= share);
        for row in block.chunks_exact(channels) {
            for c in 0..channels {
                let apart = row[c] - mean[c];
                rest[c] += apart;
                squares[c] += apart * apart;
            }
        }
    }
}

vectorized! {
    /// Writes (x − mean)·scale + beta, perhaps rectified.
    fn normalize_rows(input: &[f32], by: &Affine, relu: bool, to: &mut [f32]) {
        let channels = by.mean.len();
        let rows = to.chunks_exact_mut(channels).zip(input.chunks_exact(channels));
        match relu {
            true => rows.for_each(|(to, row)| by.write(row, to, rectify)),
            false => rows.for_each(|(to, row)| by.write(row, to, |value| value)),
        }
    }
}

vectorized! {
    /// Writes (x − mean)·scale + beta + shortcut, rectified, and whether it passed.
    fn add_rows(
        input: &[f32],
        shortcut: &[f32],
        by: &Affine,
        to: &mut [f32],
        passed: &mut [u8],
    ) {
        let channels = by.mean.len();
        let rows = to.chunks_exact_mut(channels).zip(passed.chunks_exact_mut(channels));
        let inputs = input.chunks_exact(channels).zip(shortcut.chunks_exact(channels));
        for ((to, passed), (row, shortcut)) in rows.zip(inputs) {
            by.write(row, to, |value| value);
            for ((to, passed), shortcut) in to.iter_mut().zip(passed).zip(shortcut) {
                let sum = *to + shortcut;
                *to = rectify(sum);
                *passed = u8::from(sum > 0.0);
            }
        }
    }
}

vectorized! {
    /// As [`normalize_rows`] and [`add_rows`], in place.
    fn normalize_here(rows: &mut [f32], shortcut: Option<&[f32]>, by: &Affine, relu: bool) {
        let channels = by.mean.len();
        match shortcut {
            None => for row in rows.chunks_exact_mut(channels) {
                match relu {
                    true => by.normalize(row, rectify),
                    false => by.normalize(row, |value| value),
                }
            },
            Some(shortcut) => {
                let rows = rows.chunks_exact_mut(channels);
                for (row, shortcut) in rows.zip(shortcut.chunks_exact(channels)) {
                    by.normalize(row, |value| value);
                    for (to, shortcut) in row.iter_mut().zip(shortcut) {
                        *to = rectify(*to + shortcut);
                    }
                }
            }
        }
    }
}

impl Affine<'_> {
    #[inline(always)]
    fn normalize(&self, row: &mut [f32], after: impl Fn(f32) -> f32) {
        let vectors = self.mean.iter().zip(&self.scale).zip(self.beta);
        for (x, ((mean, scale), beta)) in row.iter_mut().zip(vectors) {
            *x = after((*x - mean) * scale + beta);
        }
    }

    #[inline(always)]
    fn write(&self, row: &[f32], to: &mut [f32], after: impl Fn(f32) -> f32) {
        let vectors = self.mean.iter().zip(&self.scale).zip(self.beta);
        for ((to, x), ((mean, scale), beta)) in to.iter_mut().zip(row).zip(vectors) {
            *to = after((x - mean) * scale + beta);
        }
    }

    /// The gradient of a row where the rectifier lets it pass, given to a function with the column.
    #[inline(always)]
    fn each(
        &self,
        row: &[f32],
        gradient: &[f32],
        rectified: &Rectified,
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
        match rectified {
            Rectified::Not => {
                for c in 0..channels {
                    see(c, row[c] - mean[c], gradient[c]);
                }
            }
            Rectified::Normalized => {
                for c in 0..channels {
                    let apart = row[c] - mean[c];
                    let passes = apart * scale[c] + beta[c] > 0.0;
                    see(c, apart, if passes { gradient[c] } else { 0.0 });
                }
            }
            Rectified::Passed(passed) => {
                let passed = &passed[start..start + channels];
                for c in 0..channels {
                    let slope = if passed[c] != 0 { gradient[c] } else { 0.0 };
                    see(c, row[c] - mean[c], slope);
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

/// Sums of columns of the rectified gradient, and of its product with x − mean.
fn gradient_sums(
    input: &[f32],
    gradient: &[f32],
    rectified: &Rectified,
    by: &Affine,
) -> [Vec<f64>; 2] {
    let channels = by.mean.len();
    let block = block_rows(channels) * channels;
    let parts: Vec<[Vec<f64>; 2]> = shares(input.len(), block)
        .into_par_iter()
        .map(|share| {
            let mut wide = [vec![0.0; channels], vec![0.0; channels]];
            for start in share.clone().step_by(block) {
                let range = start..share.end.min(start + block);
                let mut sums = [0; 2].map(|_| vec![0.0; channels]);
                let rectified = rectified.part(range.clone());
                sum_rows(
                    &input[range.clone()],
                    &gradient[range],
                    &rectified,
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
    fn sum_rows(
        input: &[f32],
        gradient: &[f32],
        rectified: &Rectified,
        by: &Affine,
        sums: &mut [Vec<f32>; 2],
    ) {
        let channels = by.mean.len();
        let [sums, turns] = sums;
        let (sums, turns) = (&mut sums[..channels], &mut turns[..channels]);
        for (index, row) in input.chunks_exact(channels).enumerate() {
            let start = index * channels;
            by.each(row, &gradient[start..], rectified, start, |c, apart, slope| {
                sums[c] += slope;
                turns[c] += slope * apart;
            });
        }
    }
}

vectorized! {
    /// Turns gradients of the output into those of the input, in place; the shortcut's are the
    /// output's where the rectifier let them pass.
    fn turn_rows(
        input: &[f32],
        rectified: &Rectified,
        by: &Affine,
        through: Option<&Through>,
        gradient: &mut [f32],
        shortcut: Option<&mut [f32]>,
    ) {
        let channels = by.mean.len();
        let scale = &by.scale[..channels];
        let passed = &mut vec![0.0; channels][..channels];
        let mut shortcut = shortcut.map(|shortcut| shortcut.chunks_exact_mut(channels));
        let rows = input.chunks_exact(channels).zip(gradient.chunks_exact_mut(channels));
        for (index, (row, gradient)) in rows.enumerate() {
            by.each(row, gradient, rectified, index * channels, |c, _, slope| passed[c] = slope);
            if let Some(to) = shortcut.as_mut().and_then(Iterator::next) {
                to.copy_from_slice(passed);
            }
            match through {
                None => {
                    for c in 0..channels {
                        gradient[c] = scale[c] * passed[c];
                    }
                }
                Some(through) => {
                    let (mean, turn) = (&through.mean[..channels], &through.turn[..channels]);
                    let row = &row[..channels];
                    for c in 0..channels {
                        let apart = row[c] - by.mean[c];
                        gradient[c] = scale[c] * (passed[c] - mean[c] - apart * turn[c]);
                    }
                }
            }
        }
    }
}
