//! Means and variances of channels.

use rayon::prelude::*;

use super::{block_rows, parts};
use crate::flex::element::Element;
use crate::flex::simd::vectorized;

/// Means and biased variances of channels.
#[derive(Clone, Debug)]
pub(super) struct Statistics {
    pub(super) mean: Vec<f32>,
    pub(super) variance: Vec<f32>,
}

impl Statistics {
    /// Computes the statistics of columns: of each block in two passes, joined as in
    /// [Chan et al. 1983](https://doi.org/10.1080/00031305.1983.10483115), Equation 2.1.
    pub(super) fn compute<T: Element>(input: &[T], channels: usize) -> Self {
        let block = block_rows(channels) * channels;
        let part_moments: Vec<Moments> = parts(input.len(), block)
            .into_par_iter()
            .filter_map(|range| {
                let blocks = input[range].chunks(block);
                let moments = blocks.map(|block| Moments::compute(block, channels));
                moments.reduce(Moments::join)
            })
            .collect();
        let moments = part_moments.into_iter().reduce(Moments::join);
        let moments = moments.unwrap_or_else(|| Moments::empty(channels));
        let to_float32 = |values: Vec<f64>, divisor: f64| {
            let quotients = values.into_iter().map(|value| (value / divisor) as f32);
            quotients.collect()
        };
        Self {
            mean: to_float32(moments.mean, 1.0),
            variance: to_float32(moments.squares, moments.rows),
        }
    }
}

/// Moments of the columns of some rows.
struct Moments {
    rows: f64,
    mean: Vec<f64>,
    /// Sums of (x − mean)².
    squares: Vec<f64>,
}

impl Moments {
    fn empty(channels: usize) -> Self {
        Self {
            rows: 0.0,
            mean: vec![0.0; channels],
            squares: vec![0.0; channels],
        }
    }

    fn compute<T: Element>(block: &[T], channels: usize) -> Self {
        let mut sums = [0; 3].map(|_| vec![0.0; channels]);
        block_moments(block, &mut sums);
        let rows = (block.len() / channels) as f64;
        let [mean, residual, squares] = sums.map(|sums| sums.into_iter().map(f64::from));
        let residual: Vec<f64> = residual.collect();
        let mean = mean.zip(&residual).map(|(mean, sum)| mean + sum / rows);
        let squares = squares
            .zip(&residual)
            .map(|(squares, sum)| squares - sum * sum / rows);
        Self {
            rows,
            mean: mean.collect(),
            squares: squares.collect(),
        }
    }

    fn join(mut self, other: Self) -> Self {
        let rows = self.rows + other.rows;
        let share = other.rows / rows;
        for channel in 0..self.mean.len() {
            let difference = other.mean[channel] - self.mean[channel];
            self.mean[channel] += difference * share;
            self.squares[channel] +=
                other.squares[channel] + difference * difference * self.rows * share;
        }
        Self { rows, ..self }
    }
}

vectorized! {
    /// Computes the rounded mean of each column, then the sum and the sum of squares of the centred
    /// numbers.
    fn block_moments<T: Element>(block: &[T], sums: &mut [Vec<f32>; 3]) {
        let [mean, residual, squares] = sums;
        let channels = mean.len();
        let (mean, residual) = (&mut mean[..channels], &mut residual[..channels]);
        let squares = &mut squares[..channels];
        for row in block.chunks_exact(channels) {
            mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += x.widen());
        }
        let inverse_rows = 1.0 / (block.len() / channels) as f32;
        mean.iter_mut().for_each(|mean| *mean *= inverse_rows);
        for row in block.chunks_exact(channels) {
            for c in 0..channels {
                let centred = row[c].widen() - mean[c];
                residual[c] += centred;
                squares[c] += centred * centred;
            }
        }
    }
}
