//! A convolution's weight, in the orders that its matrix products need.

use std::borrow::Cow;

use rayon::prelude::*;

use super::geometry::Geometry;

/// The weight as `[channels_out, kernel_height, kernel_width, channels / groups]`.
pub(super) fn rows_of_taps<'a>(weight: &'a [f32], shape: &Geometry) -> Cow<'a, [f32]> {
    let (taps, width) = (shape.taps(), shape.group_width());
    if taps == 1 {
        return Cow::Borrowed(weight);
    }
    let mut rows = vec![0.0; weight.len()];
    let depth = taps * width;
    rows.par_chunks_mut(depth)
        .zip(weight.par_chunks(depth))
        .for_each(|(row, weight)| transpose(weight, row, width));
    Cow::Owned(rows)
}

/// Writes the transposed of a matrix `[rows, columns]`.
pub(super) fn transpose(matrix: &[f32], transposed: &mut [f32], rows: usize) {
    let columns = matrix.len() / rows;
    for (column, output) in transposed.chunks_exact_mut(rows).enumerate() {
        let numbers = matrix[column..].iter().step_by(columns);
        output
            .iter_mut()
            .zip(numbers)
            .for_each(|(output, number)| *output = *number);
    }
}

/// The weight as `[channels, kernel_height, kernel_width, channels_out / groups]`, the kernel's
/// rows and columns from the last to the first.
pub(super) fn reversed_rows(weight: &[f32], shape: &Geometry) -> Vec<f32> {
    /// Output channels written together: 16 numbers of float32 fill a cache line.
    const LINE: usize = 16;
    let (taps, width, width_out) = (shape.taps(), shape.group_width(), shape.group_width_out());
    let depth = taps * width_out;
    let mut rows = vec![0.0; weight.len()];
    rows.par_chunks_mut(depth)
        .enumerate()
        .for_each(|(channel, row)| {
            let (group, channel) = (channel / width, channel % width);
            let weight = &weight[(group * width_out * width + channel) * taps..];
            for first in (0..width_out).step_by(LINE) {
                let outs = first..width_out.min(first + LINE);
                for (tap, row) in row.chunks_exact_mut(width_out).rev().enumerate() {
                    for out in outs.clone() {
                        row[out] = weight[out * width * taps + tap];
                    }
                }
            }
        });
    rows
}
