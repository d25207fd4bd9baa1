//! Gradients of a convolution.
//!
//! At stride 1 the input's gradient is a convolution of the output's gradient; otherwise the
//! gradients of the patches are added to the pixels. The weight's gradient is one matrix product
//! over all pixels, which the threads divide by pixels or by columns:
//!
//! ```text
//!   small weight: each thread has some pixels       large weight: each thread has some columns
//!
//!    gradientᵀ            patches                     gradientᵀ            patches
//!   ┌────┬────┐        ┌──────────┐ thread 0          ┌─────────┐        ┌─────┬─────┐
//!   │ t0 │ t1 │   ·    ├──────────┤                   │   all   │   ·    │ t0  │ t1  │
//!   └────┴────┘        └──────────┘ thread 1          └─────────┘        └─────┴─────┘
//!   sums of the threads are added at the end          no sums to add
//! ```

use std::ops::Range;

use rayon::prelude::*;

use super::geometry::{Geometry, rows_of_patches};
use super::patches::{add_patches, gather};
use super::weight::{reversed_rows, rows_of_taps, transpose};
use super::{convolve, group_columns};
use crate::flex::buffer_pool::Buffer;
use crate::flex::element::{Element, convert};
use crate::flex::matmul::{Finish, Matrix, MatrixMut, Right, with_left};
use crate::flex::tensor::with_scratch;

/// Elements of a weight's gradient up to which each thread holds sums of its own: 1 MiB of float32.
/// Larger ones would not fit beside the patches in a core's second cache.
const PRIVATE_GRADIENT: usize = 1 << 18;

/// Columns of a weight's gradient computed at a time: 512 columns of 256 output channels are half a
/// mebibyte of sums, which stay in the second cache while all pixels are added.
const GRADIENT_COLUMNS: usize = 512;

/// The gradient of the input: the output's gradient, convolved with the transposed kernel.
pub(super) fn input_gradient<G: Element, T: Element>(
    shape: &Geometry,
    gradient: &[G],
    weight: &[f32],
) -> Buffer<T> {
    let (channels, depth) = (shape.channels, shape.taps() * shape.group_width_out());
    match shape.transposed() {
        Some(transposed) if shape.taps() == 1 && shape.groups == 1 => {
            let weight = Matrix::new(weight, depth, channels).transposed();
            convolve(&transposed, gradient, weight, None)
        }
        Some(transposed) => {
            let weight = reversed_rows(weight, shape);
            let weight = Matrix::new(&weight, channels, depth);
            convolve(&transposed, gradient, weight, None)
        }
        None => scatter(shape, gradient, &rows_of_taps(weight, shape)),
    }
}

/// The gradient of the input: gradients of patches, each element added to its pixel.
fn scatter<G: Element, T: Element>(shape: &Geometry, gradient: &[G], weight: &[f32]) -> Buffer<T> {
    let depth = shape.depth();
    let image = shape.height * shape.width * shape.channels;
    let positions = shape.height_out * shape.width_out;
    let mut output = Buffer::unspecified(shape.batch * image);
    if output.is_empty() {
        return output;
    }
    let weight = Matrix::new(weight, shape.channels_out, depth);
    let rows = rows_of_patches(depth).min(positions);
    let weights = shape.group_rows(weight);
    let weights = weights.map(|weight| Right::new(f32::factor(weight), shape.precision, rows));
    let weights: Vec<Right> = weights.collect();
    let gradients = |group| group_columns(gradient, group, shape.groups, shape.channels_out);
    let add_image = |index: usize, sums: &mut [f32]| {
        sums.fill(0.0);
        with_scratch(rows * depth, |patches| {
            for start in (0..positions).step_by(rows) {
                let range = start..positions.min(start + rows);
                let pixels = index * positions + range.start..index * positions + range.end;
                for (group, weight) in weights.iter().enumerate() {
                    let rows = gradients(group).row_range(pixels.clone());
                    let patches = &mut patches[..range.len() * depth];
                    let target = MatrixMut::new(patches, range.len(), depth);
                    weight.multiply(target, &Finish::Replace, G::factor(rows));
                    add_patches(shape, group, range.clone(), patches, sums);
                }
            }
        });
    };
    output
        .par_chunks_mut(image)
        .enumerate()
        .for_each(|(index, output)| {
            with_scratch(image, |sums| {
                add_image(index, sums);
                convert(sums, output);
            });
        });
    output
}

/// The gradient of the weight: gradientᵀ · patches.
pub(super) fn weight_gradient<G: Element, T: Element>(
    shape: &Geometry,
    gradient: &[G],
    input: &[T],
) -> Buffer {
    let (depth, width_out) = (shape.depth(), shape.group_width_out());
    let positions = shape.positions();
    let threads = rayon::current_num_threads();
    let mut gradient_sums = Buffer::zeros(shape.channels_out * depth);
    for (group, gradient_sums) in gradient_sums
        .chunks_mut((width_out * depth).max(1))
        .enumerate()
    {
        let gradients = group_columns(gradient, group, shape.groups, shape.channels_out);
        let add = |rows: Range<usize>, columns, target: MatrixMut| {
            add_weight_gradient(shape, group, [rows, columns], gradients, input, target);
        };
        if gradient_sums.len() < PRIVATE_GRADIENT {
            // Each thread has some of the pixels; their sums are added.
            let rows_per_thread = positions.div_ceil(threads).max(1);
            let thread_sums: Vec<Buffer> = (0..positions.div_ceil(rows_per_thread))
                .into_par_iter()
                .map(|thread| {
                    let first = thread * rows_per_thread;
                    let rows = first..positions.min(first + rows_per_thread);
                    let mut sums = Buffer::zeros(gradient_sums.len());
                    add(rows, 0..depth, MatrixMut::new(&mut sums, width_out, depth));
                    sums
                })
                .collect();
            for sums in thread_sums {
                let pairs = gradient_sums.iter_mut().zip(&*sums);
                pairs.for_each(|(total, sum)| *total += sum);
            }
        } else {
            // Each thread has some of the columns.
            let columns_per_thread = depth.div_ceil(threads);
            MatrixMut::new(gradient_sums, width_out, depth)
                .column_chunks(columns_per_thread)
                .into_par_iter()
                .enumerate()
                .for_each(|(thread, output)| {
                    let first = thread * columns_per_thread;
                    let columns = first..depth.min(first + columns_per_thread);
                    add(0..positions, columns, output);
                });
        }
    }
    let taps = shape.taps();
    if taps == 1 {
        return gradient_sums;
    }
    let mut weight = Buffer::unspecified(gradient_sums.len());
    weight
        .par_chunks_mut(depth)
        .zip(gradient_sums.par_chunks(depth))
        .for_each(|(weight, gradient_sums)| transpose(gradient_sums, weight, taps));
    weight
}

/// Adds gradientᵀ · patches, for some rows and columns of the matrix of patches.
fn add_weight_gradient<G: Element, T: Element>(
    shape: &Geometry,
    group: usize,
    [rows, columns]: [Range<usize>; 2],
    gradients: Matrix<G>,
    input: &[T],
    mut target: MatrixMut,
) {
    let rounds = columns.len().div_ceil(GRADIENT_COLUMNS).max(1);
    let width = columns.len().div_ceil(rounds);
    let step = rows_of_patches(width).min(rows.len());
    let is_pointwise = shape.is_pointwise();
    let pixels = group_columns(input, group, shape.groups, shape.channels);
    let length = if is_pointwise { 0 } else { width };
    let height = target.rows();
    with_scratch(step * length, |patches| {
        for start in rows.clone().step_by(step.max(1)) {
            let range = start..rows.end.min(start + step);
            let left = G::factor(gradients.row_range(range.clone()).transposed());
            with_left(left, shape.precision, |left| {
                for first in columns.clone().step_by(width.max(1)) {
                    let chunk = first..columns.end.min(first + width);
                    let patches = if is_pointwise {
                        pixels.row_range(range.clone()).column_range(chunk.clone())
                    } else {
                        let patches = &mut patches[..range.len() * chunk.len()];
                        gather(shape, input, group, range.clone(), chunk.clone(), patches);
                        Matrix::new(patches, range.len(), chunk.len())
                    };
                    let right = Right::on_this_thread(T::factor(patches), shape.precision, &left);
                    let place = first - columns.start..chunk.end - columns.start;
                    right.multiply(target.part(0..height, place), &Finish::Add, left);
                }
            });
        }
    });
}
