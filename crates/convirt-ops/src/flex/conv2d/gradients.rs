//! Gradients of a convolution.

use std::ops::Range;

use rayon::prelude::*;

use super::geometry::{Geometry, rows_of_patches};
use super::patches::{add_patches, gather};
use super::weight::{reversed_rows, rows_of_taps, transpose};
use super::{convolve, of_group};
use crate::flex::buffer::with_scratch;
use crate::flex::element::{Element, convert};
use crate::flex::matmul::{Finish, Matrix, MatrixMut, Right, with_left};
use crate::flex::memory::Buffer;

/// Elements of a weight's gradient that each thread may hold for itself.
const PRIVATE_GRADIENT: usize = 1 << 18;

/// Columns of a weight's gradient made at a time, so that caches hold its sums.
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

/// The gradient of the input: gradients of patches, each element added where it came from.
fn scatter<G: Element, T: Element>(shape: &Geometry, gradient: &[G], weight: &[f32]) -> Buffer<T> {
    let depth = shape.depth();
    let image = shape.height * shape.width * shape.channels;
    let positions = shape.height_out * shape.width_out;
    let mut found = Buffer::any(shape.batch * image);
    if found.is_empty() {
        return found;
    }
    let weight = Matrix::new(weight, shape.channels_out, depth);
    let rows = rows_of_patches(depth).min(positions);
    let weights = shape.of_groups(weight);
    let weights = weights.map(|weight| Right::new(f32::factor(weight), shape.precision, rows));
    let weights: Vec<Right> = weights.collect();
    let gradients = |group| of_group(gradient, group, shape.groups, shape.channels_out);
    let add_image = |index: usize, sums: &mut [f32]| {
        sums.fill(0.0);
        with_scratch(rows * depth, |patches| {
            for start in (0..positions).step_by(rows) {
                let range = start..positions.min(start + rows);
                let pixels = index * positions + range.start..index * positions + range.end;
                for (group, weight) in weights.iter().enumerate() {
                    let rows = gradients(group).row_range(pixels.clone());
                    let patches = &mut patches[..range.len() * depth];
                    let to = MatrixMut::new(patches, range.len(), depth);
                    weight.multiply(to, &Finish::Replace, G::factor(rows));
                    add_patches(shape, group, range.clone(), patches, sums);
                }
            }
        });
    };
    found
        .par_chunks_mut(image)
        .enumerate()
        .for_each(|(index, found)| {
            with_scratch(image, |sums| {
                add_image(index, sums);
                convert(sums, found);
            });
        });
    found
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
    let mut found = Buffer::zeros(shape.channels_out * depth);
    for (group, found) in found.chunks_mut((width_out * depth).max(1)).enumerate() {
        let gradients = of_group(gradient, group, shape.groups, shape.channels_out);
        let add = |rows: Range<usize>, columns, to: MatrixMut| {
            add_outer(shape, group, [rows, columns], gradients, input, to);
        };
        if found.len() < PRIVATE_GRADIENT {
            // Each thread has some of the positions; their sums are added.
            let share = positions.div_ceil(threads).max(1);
            let parts: Vec<Buffer> = (0..positions.div_ceil(share))
                .into_par_iter()
                .map(|part| {
                    let rows = part * share..positions.min((part + 1) * share);
                    let mut sum = Buffer::zeros(found.len());
                    add(rows, 0..depth, MatrixMut::new(&mut sum, width_out, depth));
                    sum
                })
                .collect();
            for part in parts {
                let sums = found.iter_mut().zip(&*part);
                sums.for_each(|(sum, part)| *sum += part);
            }
        } else {
            // Each thread has some of the columns.
            let share = depth.div_ceil(threads);
            MatrixMut::new(found, width_out, depth)
                .column_chunks(share)
                .into_par_iter()
                .enumerate()
                .for_each(|(part, to)| {
                    let columns = part * share..depth.min((part + 1) * share);
                    add(0..positions, columns, to);
                });
        }
    }
    let taps = shape.taps();
    if taps == 1 {
        return found;
    }
    let mut weight = Buffer::any(found.len());
    weight
        .par_chunks_mut(depth)
        .zip(found.par_chunks(depth))
        .for_each(|(weight, found)| transpose(found, weight, taps));
    weight
}

/// Adds gradientᵀ · patches of some rows and columns of the matrix of patches.
fn add_outer<G: Element, T: Element>(
    shape: &Geometry,
    group: usize,
    [rows, columns]: [Range<usize>; 2],
    gradients: Matrix<G>,
    input: &[T],
    mut to: MatrixMut,
) {
    let turns = columns.len().div_ceil(GRADIENT_COLUMNS).max(1);
    let width = columns.len().div_ceil(turns);
    let step = rows_of_patches(width).min(rows.len());
    let is_pointwise = shape.is_pointwise();
    let pixels = of_group(input, group, shape.groups, shape.channels);
    let length = if is_pointwise { 0 } else { width };
    let height = to.rows();
    with_scratch(step * length, |patches| {
        for start in rows.clone().step_by(step.max(1)) {
            let range = start..rows.end.min(start + step);
            let left = G::factor(gradients.row_range(range.clone()).transposed());
            with_left(left, shape.precision, |left| {
                for first in columns.clone().step_by(width.max(1)) {
                    let some = first..columns.end.min(first + width);
                    let patches = match is_pointwise {
                        true => pixels.row_range(range.clone()).column_range(some.clone()),
                        false => {
                            let patches = &mut patches[..range.len() * some.len()];
                            gather(shape, input, group, range.clone(), some.clone(), patches);
                            Matrix::new(patches, range.len(), some.len())
                        }
                    };
                    let right = Right::here(T::factor(patches), shape.precision, &left);
                    let place = first - columns.start..some.end - columns.start;
                    right.multiply(to.part(0..height, place), &Finish::Add, left);
                }
            });
        }
    });
}
