//! Normalization of rows of channels by known statistics.

use std::ops::Range;

use crate::flex::element::Element;
use crate::flex::matmul::{Matrix, MatrixMut};
use crate::flex::simd::vectorized;

/// Parameters of (x − mean)·scale + beta, for each channel.
pub(super) struct Normalizer<'a> {
    pub(super) mean: &'a [f32],
    pub(super) scale: &'a [f32],
    pub(super) beta: &'a [f32],
}

/// Which elements the ReLU passes.
pub(super) enum ReluMask<'a> {
    /// All: there is no ReLU.
    NoRelu,
    /// Those whose normalized value is positive.
    Positive,
    /// Those marked by a 1.
    Marked(&'a [u8]),
}

impl ReluMask<'_> {
    pub(super) fn range(&self, range: Range<usize>) -> Self {
        match self {
            Self::NoRelu => Self::NoRelu,
            Self::Positive => Self::Positive,
            Self::Marked(passed) => Self::Marked(&passed[range]),
        }
    }
}

impl Normalizer<'_> {
    /// Normalizes a row and applies an epilogue, which gets each column's index and normalized
    /// value.
    #[inline(always)]
    fn write<I: Element, T: Element>(
        &self,
        row: &[I],
        output: &mut [T],
        epilogue: impl Fn(usize, f32) -> f32,
    ) {
        let channels = output.len();
        let (row, mean) = (&row[..channels], &self.mean[..channels]);
        let (scale, beta) = (&self.scale[..channels], &self.beta[..channels]);
        for c in 0..channels {
            let normalized = (row[c].widen() - mean[c]) * scale[c] + beta[c];
            output[c] = T::round(epilogue(c, normalized));
        }
    }

    /// Calls a function with each column of a row, its x − mean, and its gradient where the ReLU
    /// passes it, 0 elsewhere.
    #[inline(always)]
    pub(super) fn for_each_gradient<T: Element>(
        &self,
        row: &[T],
        gradient: &[T],
        relu_mask: &ReluMask,
        start: usize,
        mut work: impl FnMut(usize, f32, f32),
    ) {
        let channels = self.mean.len();
        let (row, gradient) = (&row[..channels], &gradient[..channels]);
        let (mean, scale, beta) = (
            &self.mean[..channels],
            &self.scale[..channels],
            &self.beta[..channels],
        );
        match relu_mask {
            ReluMask::NoRelu => {
                for c in 0..channels {
                    work(c, row[c].widen() - mean[c], gradient[c].widen());
                }
            }
            ReluMask::Positive => {
                for c in 0..channels {
                    let centred = row[c].widen() - mean[c];
                    let is_positive = centred * scale[c] + beta[c] > 0.0;
                    let gradient = if is_positive {
                        gradient[c].widen()
                    } else {
                        0.0
                    };
                    work(c, centred, gradient);
                }
            }
            ReluMask::Marked(passed) => {
                let passed = &passed[start..start + channels];
                for c in 0..channels {
                    let gradient = if passed[c] != 0 {
                        gradient[c].widen()
                    } else {
                        0.0
                    };
                    work(c, row[c].widen() - mean[c], gradient);
                }
            }
        }
    }
}

/// max(0, x); NaN stays NaN.
#[inline(always)]
fn relu(value: f32) -> f32 {
    if value < 0.0 { 0.0 } else { value }
}

vectorized! {
    /// Writes (x − mean)·scale + beta, after a ReLU if `has_relu`.
    pub(super) fn normalize_rows<T: Element>(
        input: &[T],
        normalizer: &Normalizer,
        has_relu: bool,
        output: &mut [T],
    ) {
        let channels = normalizer.mean.len();
        let rows = output.chunks_exact_mut(channels).zip(input.chunks_exact(channels));
        if has_relu {
            rows.for_each(|(output, row)| normalizer.write(row, output, |_, value| relu(value)));
        } else {
            rows.for_each(|(output, row)| normalizer.write(row, output, |_, value| value));
        }
    }
}

vectorized! {
    /// Writes relu((x − mean)·scale + beta + shortcut), and 1 where the ReLU passed the sum.
    pub(super) fn add_rows<T: Element>(
        input: &[T],
        shortcut: &[T],
        normalizer: &Normalizer,
        output: &mut [T],
        passed: &mut [u8],
    ) {
        let channels = normalizer.mean.len();
        let rows = output.chunks_exact_mut(channels).zip(passed.chunks_exact_mut(channels));
        let inputs = input.chunks_exact(channels).zip(shortcut.chunks_exact(channels));
        for ((output, passed), (row, shortcut)) in rows.zip(inputs) {
            normalizer.write(row, output, |c, value| relu(value + shortcut[c].widen()));
            for (passed, output) in passed.iter_mut().zip(output) {
                *passed = u8::from(output.widen() > 0.0);
            }
        }
    }
}

vectorized! {
    /// Normalizes a block of a matrix product's sums, as [`normalize_rows`] and [`add_rows`] do.
    pub(super) fn normalize_sums<T: Element>(
        sums: Matrix<'_>,
        shortcut: Option<Matrix<'_, T>>,
        normalizer: &Normalizer,
        has_relu: bool,
        output: MatrixMut<'_, T>,
    ) {
        let mut output = output;
        for row in 0..output.rows() {
            let (sums, output) = (sums.row(row), output.row_mut(row));
            match (shortcut, has_relu) {
                (Some(shortcut), _) => {
                    let shortcut = shortcut.row(row);
                    normalizer.write(sums, output, |c, value| relu(value + shortcut[c].widen()));
                }
                (None, true) => normalizer.write(sums, output, |_, value| relu(value)),
                (None, false) => normalizer.write(sums, output, |_, value| value),
            }
        }
    }
}
