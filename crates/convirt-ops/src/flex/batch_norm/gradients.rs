//! Gradients of a batch normalization.

use rayon::prelude::*;

use super::normalizer::{Normalizer, ReluMask};
use super::{BatchNorm, Saved, block_rows, parts, scale};
use crate::flex::FlexTensor;
use crate::flex::buffer_pool::Buffer;
use crate::flex::element::Element;
use crate::flex::math::add_in_float64;
use crate::flex::simd::vectorized;
use crate::flex::tensor::{contiguous, elements, elements_mut, new_tensor, new_vector};

/// The part of the input's gradient that comes through the batch's mean and variance:
/// mean + (x − μ) · coefficient.
struct StatisticsGradient {
    mean: Vec<f32>,
    coefficient: Vec<f32>,
}

impl BatchNorm {
    pub(super) fn backward_typed<T: Element>(
        self,
        saved: Saved,
        gradient: FlexTensor,
        needs_gradient: [bool; 4],
    ) -> [Option<FlexTensor>; 4] {
        let mut gradient = contiguous(gradient);
        let shape = gradient.layout().shape().clone();
        let (input, gamma) = (elements::<T>(&saved.input), elements(&saved.gamma));
        let channels = gamma.len();
        let normalizer = Normalizer {
            mean: &saved.statistics.mean,
            scale: &scale(gamma, &saved.statistics.variance, self.epsilon),
            beta: elements(&saved.beta),
        };
        let relu_mask = match (&saved.passed, self.relu) {
            (_, false) => ReluMask::NoRelu,
            (Some(passed), true) => ReluMask::Marked(passed),
            (None, true) => ReluMask::Positive,
        };
        let [sums, centred_sums] =
            gradient_sums(input, elements(&gradient), &relu_mask, &normalizer);
        let variances = saved.statistics.variance.iter().map(|v| f64::from(*v));
        let variances: Vec<f64> = variances.map(|v| v + self.epsilon).collect();
        let mut shortcut_gradient =
            needs_gradient[3].then(|| Buffer::<T>::unspecified(input.len()));
        if needs_gradient[0] || needs_gradient[3] {
            let rows = (input.len() / channels) as f64;
            let statistics = self.fixed_statistics.is_none().then(|| {
                let mean = sums.iter().map(|s| (s / rows) as f32).collect();
                let coefficient = centred_sums
                    .iter()
                    .zip(&variances)
                    .map(|(p, v)| (p / rows / v) as f32);
                StatisticsGradient {
                    mean,
                    coefficient: coefficient.collect(),
                }
            });
            let block = block_rows(channels) * channels;
            let compute_block = |index: usize, gradient: &mut [T], shortcut: Option<&mut [T]>| {
                let range = index * block..index * block + gradient.len();
                let relu_mask = relu_mask.range(range.clone());
                let (input, statistics) = (&input[range], statistics.as_ref());
                gradient_rows(
                    input,
                    &relu_mask,
                    &normalizer,
                    statistics,
                    gradient,
                    shortcut,
                );
            };
            let gradients = elements_mut::<T>(&mut gradient).par_chunks_mut(block);
            match &mut shortcut_gradient {
                None => gradients
                    .enumerate()
                    .for_each(|(index, gradient)| compute_block(index, gradient, None)),
                Some(shortcut) => gradients
                    .zip(shortcut.par_chunks_mut(block))
                    .enumerate()
                    .for_each(|(index, (gradient, shortcut))| {
                        compute_block(index, gradient, Some(shortcut));
                    }),
            }
        }
        let gamma_gradient = centred_sums
            .iter()
            .zip(&variances)
            .map(|(p, v)| (p / v.sqrt()) as f32);
        [
            needs_gradient[0].then_some(gradient),
            needs_gradient[1].then(|| new_vector(gamma_gradient.collect())),
            needs_gradient[2].then(|| new_vector(sums.iter().map(|sum| *sum as f32).collect())),
            shortcut_gradient.map(|values| new_tensor(values, shape)),
        ]
    }
}

/// Sums, for each column, the gradient that the ReLU passes, and its product with x − mean.
fn gradient_sums<T: Element>(
    input: &[T],
    gradient: &[T],
    relu_mask: &ReluMask,
    normalizer: &Normalizer,
) -> [Vec<f64>; 2] {
    let channels = normalizer.mean.len();
    let block = block_rows(channels) * channels;
    let zeros = || [vec![0.0; channels], vec![0.0; channels]];
    let part_sums: Vec<[Vec<f64>; 2]> = parts(input.len(), block)
        .into_par_iter()
        .map(|range| {
            let mut totals = zeros();
            for start in range.clone().step_by(block) {
                let range = start..range.end.min(start + block);
                let mut sums = [0; 2].map(|_| vec![0.0; channels]);
                let relu_mask = relu_mask.range(range.clone());
                let (input, gradient) = (&input[range.clone()], &gradient[range]);
                sum_rows(input, gradient, &relu_mask, normalizer, &mut sums);
                let pairs = totals.iter_mut().zip(&sums);
                pairs.for_each(|(total, sums)| add_in_float64(total, sums));
            }
            totals
        })
        .collect();
    let mut totals = zeros();
    for sums in &part_sums {
        let pairs = totals.iter_mut().zip(sums);
        pairs.for_each(|(total, sums)| add_in_float64(total, sums));
    }
    totals
}

vectorized! {
    fn sum_rows<T: Element>(
        input: &[T],
        gradient: &[T],
        relu_mask: &ReluMask,
        normalizer: &Normalizer,
        sums: &mut [Vec<f32>; 2],
    ) {
        let channels = normalizer.mean.len();
        let [sums, centred_sums] = sums;
        let (sums, centred_sums) = (&mut sums[..channels], &mut centred_sums[..channels]);
        for (index, row) in input.chunks_exact(channels).enumerate() {
            let start = index * channels;
            let gradient = &gradient[start..];
            normalizer.for_each_gradient(row, gradient, relu_mask, start, |c, centred, gradient| {
                sums[c] += gradient;
                centred_sums[c] += gradient * centred;
            });
        }
    }
}

vectorized! {
    /// Replaces gradients of the output by those of the input. The shortcut's gradients are the
    /// output's that the ReLU passes.
    fn gradient_rows<T: Element>(
        input: &[T],
        relu_mask: &ReluMask,
        normalizer: &Normalizer,
        statistics: Option<&StatisticsGradient>,
        gradient: &mut [T],
        shortcut: Option<&mut [T]>,
    ) {
        let channels = normalizer.mean.len();
        let scale = &normalizer.scale[..channels];
        let passed = &mut vec![0.0; channels][..channels];
        let mut shortcut = shortcut.map(|shortcut| shortcut.chunks_exact_mut(channels));
        let rows = input.chunks_exact(channels).zip(gradient.chunks_exact_mut(channels));
        for (index, (row, gradient)) in rows.enumerate() {
            let start = index * channels;
            normalizer.for_each_gradient(row, gradient, relu_mask, start, |c, _, gradient| {
                passed[c] = gradient;
            });
            if let Some(shortcut) = shortcut.as_mut().and_then(Iterator::next) {
                let pairs = shortcut.iter_mut().zip(&*passed);
                pairs.for_each(|(shortcut, passed)| *shortcut = T::round(*passed));
            }
            match statistics {
                None => {
                    for c in 0..channels {
                        gradient[c] = T::round(scale[c] * passed[c]);
                    }
                }
                Some(statistics) => {
                    let mean = &statistics.mean[..channels];
                    let coefficient = &statistics.coefficient[..channels];
                    let row = &row[..channels];
                    for c in 0..channels {
                        let centred = row[c].widen() - normalizer.mean[c];
                        let through_statistics = mean[c] + centred * coefficient[c];
                        gradient[c] = T::round(scale[c] * (passed[c] - through_statistics));
                    }
                }
            }
        }
    }
}
