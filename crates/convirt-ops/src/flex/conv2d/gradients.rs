//! Gradients of a convolution.
//!
//! At stride 1 the input's gradient is a convolution of the output's gradient; otherwise the
//! gradients of the patches are added to the pixels. The weight's gradient is one matrix product
//! over all pixels. A small weight has few columns for many threads, so that its product is divided
//! by pixels, too:
//!
//! ```text
//!   small weight: parts of the pixels               large weight: each thread has some columns
//!
//!    gradientᵀ            patches                     gradientᵀ            patches
//!   ┌────┬────┐        ┌──────────┐ part 0            ┌─────────┐        ┌─────┬─────┐
//!   │ p0 │ p1 │   ·    ├──────────┤                   │   all   │   ·    │ t0  │ t1  │
//!   └────┴────┘        └──────────┘ part 1            └─────────┘        └─────┴─────┘
//!   sums of the parts are added in pairs              no sums to add
//! ```
//!
//! How many parts there are, and in which order their sums are added, depends on the shape alone;
//! so the gradient does not depend on the number of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::geometry::{Geometry, rows_of_patches};
use super::patches::{add_patches, gather};
use super::weight::{reversed_rows, rows_of_taps, transpose};
use super::{convolve, group_columns};
use crate::flex::buffer_pool::Buffer;
use crate::flex::element::{Element, convert};
use crate::flex::matmul::{Finish, Matrix, MatrixMut, Right, divide, min_part, with_left};
use crate::flex::simd::vectorized;
use crate::flex::tensor::with_scratch;

/// Elements of a weight's gradient up to which there are sums for parts of the pixels: 1 MiB of
/// float32. Larger ones would not fit beside the patches in a core's second cache.
const PARTIAL_GRADIENT: usize = 1 << 18;

/// Pixels of a part at least: adding the sums of two parts takes a fiftieth of the time to compute
/// them.
const PART_ROWS: usize = 1024;

/// Parts at most. A thread holds the sums of up to seven, the depth of the tree that adds them.
const PARTS: usize = 64;

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
    let parts = if width_out * depth < PARTIAL_GRADIENT {
        let parts = (positions / PART_ROWS).clamp(1, PARTS);
        // Two, four or eight threads have equal work.
        1 << parts.ilog2()
    } else {
        1
    };
    let parts: Vec<Range<usize>> = divide(positions, parts).collect();
    let column_parts = rayon::current_num_threads().div_ceil(parts.len());
    let column_parts = column_parts.min(depth / min_part(width_out)).max(1);
    let mut gradient_sums = Buffer::zeros(shape.channels_out * depth);
    for (group, gradient_sums) in gradient_sums
        .chunks_mut((width_out * depth).max(1))
        .enumerate()
    {
        let gradients = group_columns(gradient, group, shape.groups, shape.channels_out);
        let target = MatrixMut::new(gradient_sums, width_out, depth);
        let targets = target.divide_columns(column_parts).into_par_iter();
        targets.for_each(|(columns, target)| {
            let add = |rows: Range<usize>, target: MatrixMut| {
                let part = [rows, columns.clone()];
                add_weight_gradient(shape, group, part, gradients, input, target);
            };
            add_parts(&parts, target, &add);
        });
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

/// Adds the sums of parts of the pixels, first those of each half; `add` adds those of one.
fn add_parts(
    parts: &[Range<usize>],
    mut target: MatrixMut,
    add: &(impl Fn(Range<usize>, MatrixMut) + Sync),
) {
    if let [rows] = parts {
        return add(rows.clone(), target);
    }
    let (first, second) = parts.split_at(parts.len() / 2);
    let (height, width) = (target.rows(), target.columns());
    let mut sums = Buffer::zeros(height * width);
    rayon::join(
        || add_parts(first, target.reborrow(), add),
        || add_parts(second, MatrixMut::new(&mut sums, height, width), add),
    );
    for (row, sums) in sums.chunks_exact(width).enumerate() {
        add_row(sums, target.row_mut(row));
    }
}

vectorized! {
    fn add_row(sums: &[f32], totals: &mut [f32]) {
        totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
    }
}

/// Adds gradientᵀ · patches, for some rows and columns of the matrix of patches.
///
/// The rows that are added at a time depend on the shape alone.
fn add_weight_gradient<G: Element, T: Element>(
    shape: &Geometry,
    group: usize,
    [rows, columns]: [Range<usize>; 2],
    gradients: Matrix<G>,
    input: &[T],
    mut target: MatrixMut,
) {
    let height = target.rows();
    let chunks = columns.len().div_ceil(GRADIENT_COLUMNS);
    let chunks = chunks.min(columns.len() / min_part(height)).max(1);
    let width = columns.len().div_ceil(chunks);
    let steps = rows
        .len()
        .div_ceil(rows_of_patches(shape.depth().min(GRADIENT_COLUMNS)));
    let is_pointwise = shape.is_pointwise();
    let pixels = group_columns(input, group, shape.groups, shape.channels);
    let length = if is_pointwise { 0 } else { width };
    with_scratch(rows.len().div_ceil(steps.max(1)) * length, |patches| {
        for step in divide(rows.len(), steps) {
            let range = rows.start + step.start..rows.start + step.end;
            let left = G::factor(gradients.row_range(range.clone()).transposed());
            with_left(left, shape.precision, |left| {
                for place in divide(columns.len(), chunks) {
                    let chunk = columns.start + place.start..columns.start + place.end;
                    let patches = if is_pointwise {
                        pixels.row_range(range.clone()).column_range(chunk.clone())
                    } else {
                        let patches = &mut patches[..range.len() * chunk.len()];
                        gather(shape, input, group, range.clone(), chunk.clone(), patches);
                        Matrix::new(patches, range.len(), chunk.len())
                    };
                    let right = Right::on_this_thread(T::factor(patches), shape.precision, &left);
                    right.multiply(target.part(0..height, place), &Finish::Add, left);
                }
            });
        }
    });
}
