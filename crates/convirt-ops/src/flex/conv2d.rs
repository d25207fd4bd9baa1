//! Convolution as products of matrices of patches (im2col).

mod map;

use std::borrow::Cow;
use std::ops::Range;

use burn::backend::Flex;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::buffer::{contiguous, elements, tensor, with_scratch};
use super::memory::Buffer;
use super::product::{Left, Matrix, MatrixMut, Output, Right};
use super::simd::vectorized;
use super::{FlexTensor, Operation, apply, plain};
use crate::profile::{Pass, timed};
use crate::{Precision, Window};
use map::{Map, SavedMap};

/// Elements of a matrix of patches made at a time: 2 MiB, which caches hold.
const PATCHES: usize = 1 << 19;
/// Rows of patches for which it pays to pack a weight once more.
const ROWS: usize = 256;
/// Elements of a weight's gradient that each thread may hold for itself.
const PRIVATE_GRADIENT: usize = 1 << 18;

pub(crate) fn conv2d(
    input: Tensor<4>,
    weight: Tensor<4>,
    window: Window,
    groups: usize,
) -> Tensor<4> {
    let operation = Conv2d {
        window,
        groups,
        precision: Precision::current(),
        records: input.is_tracked() || weight.is_tracked(),
    };
    let inputs = [input.into_dispatch(), weight.into_dispatch()];
    apply(operation, inputs).0
}

/// Convolves tensors outside graphs, and has `finish` complete the output while it is near: rows
/// of channels, the first of them at an index.
pub(super) fn conv2d_finished(
    inputs: [Tensor<4>; 2],
    window: Window,
    groups: usize,
    finish: impl Fn(usize, &mut [f32]) + Sync,
) -> Tensor<4> {
    let operation = Conv2d {
        window,
        groups,
        precision: Precision::current(),
        records: false,
    };
    let inputs = inputs.map(|tensor| plain(tensor.into_dispatch()));
    let (output, _) = timed("Conv2d, BatchNorm", Pass::Forward, || {
        operation.run(inputs, finish)
    });
    Tensor::from_primitive::<Flex>(output)
}

#[derive(Debug)]
struct Conv2d {
    window: Window,
    groups: usize,
    precision: Precision,
    /// Whether a gradient may be asked for.
    records: bool,
}

#[derive(Clone, Debug)]
struct Saved {
    shape: Geometry,
    input: SavedMap,
    weight: FlexTensor,
}

impl Operation<2> for Conv2d {
    type Saved = Saved;

    fn forward(&self, inputs: [FlexTensor; 2]) -> (FlexTensor, Saved) {
        self.run(inputs, |_, _| ())
    }

    fn backward(
        self,
        saved: Saved,
        gradient: FlexTensor,
        wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let Saved {
            shape,
            input,
            weight,
        } = saved;
        let gradient = match input {
            SavedMap::Float32(_) => SavedMap::Float32(contiguous(gradient)),
            SavedMap::Pairs(_) => SavedMap::new(contiguous(gradient), true),
        };
        let input_gradient = wanted[0].then(|| {
            let found = input_gradient(&shape, gradient.map(), elements(&weight));
            tensor(
                found,
                [shape.batch, shape.height, shape.width, shape.channels],
            )
        });
        let weight_gradient = wanted[1].then(|| {
            let found = weight_gradient(&shape, gradient.map(), input.map());
            let [rows, columns] = shape.kernel;
            tensor(
                found,
                [shape.channels_out, shape.group_width(), rows, columns],
            )
        });
        [input_gradient, weight_gradient]
    }
}

impl Conv2d {
    fn run(
        &self,
        inputs: [FlexTensor; 2],
        finish: impl Fn(usize, &mut [f32]) + Sync,
    ) -> (FlexTensor, Saved) {
        let [input, weight] = inputs.map(contiguous);
        let shape = Geometry::new(self, &input, &weight);
        // Single pixels are rounded on the way, unless they are kept.
        let in_pairs = shape.takes_pairs() && (self.records || !shape.is_pointwise());
        let input = SavedMap::new(input, in_pairs);
        let matrix = rows_of_taps(elements(&weight), &shape);
        let matrix = Matrix::new(&matrix, shape.channels_out, shape.depth());
        let output = convolve(&shape, input.map(), matrix, finish);
        let dims = [
            shape.batch,
            shape.height_out,
            shape.width_out,
            shape.channels_out,
        ];
        let saved = Saved {
            shape,
            input,
            weight,
        };
        (tensor(output, dims), saved)
    }
}

/// Sizes of one convolution, and how it multiplies.
#[derive(Clone, Debug)]
struct Geometry {
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
    height_out: usize,
    width_out: usize,
    channels_out: usize,
    kernel: [usize; 2],
    window: Window,
    groups: usize,
    precision: Precision,
}

impl Geometry {
    fn new(conv: &Conv2d, input: &FlexTensor, weight: &FlexTensor) -> Self {
        let dims = |tensor: &FlexTensor| -> [usize; 4] {
            std::array::from_fn(|axis| tensor.layout().shape()[axis])
        };
        let [batch, height, width, channels] = dims(input);
        let [channels_out, _, rows, columns] = dims(weight);
        Self {
            batch,
            height,
            width,
            channels,
            height_out: conv.window.positions(0, height, rows),
            width_out: conv.window.positions(1, width, columns),
            channels_out,
            kernel: [rows, columns],
            window: conv.window,
            groups: conv.groups,
            precision: conv.precision,
        }
    }

    /// Channels that each output sees.
    fn group_width(&self) -> usize {
        self.channels / self.groups
    }

    /// Channels of output of each group.
    fn group_width_out(&self) -> usize {
        self.channels_out / self.groups
    }

    /// Each group's rows of a weight, one for each channel of output.
    fn of_groups<'w>(&self, weight: Matrix<'w>) -> impl Iterator<Item = Matrix<'w>> {
        let width = self.group_width_out();
        (0..self.groups).map(move |group| weight.row_range(group * width..(group + 1) * width))
    }

    /// Elements of the window.
    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Width of the matrix of patches: elements of the window times channels of the group.
    fn depth(&self) -> usize {
        self.taps() * self.group_width()
    }

    /// Height of the matrix of patches: pixels of output in the batch.
    fn positions(&self) -> usize {
        self.batch * self.height_out * self.width_out
    }

    /// Whether products may be of pairs of channels.
    fn takes_pairs(&self) -> bool {
        self.precision == Precision::BFloat16
            && self.group_width().is_multiple_of(2)
            && self.group_width_out().is_multiple_of(2)
    }

    /// Whether patches are the pixels themselves.
    fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.window.stride == [1, 1] && self.window.padding == [0, 0]
    }

    /// Rows of patches of `depth` elements to make at a time, so that all threads have as much work.
    fn rows_at_a_time(&self, depth: usize) -> usize {
        let share = self.positions().div_ceil(rayon::current_num_threads());
        let turns = share.div_ceil(rows_of_patches(depth)).max(1);
        share.div_ceil(turns).max(1)
    }
}

/// Rows of patches of so many columns to make at a time.
fn rows_of_patches(columns: usize) -> usize {
    (PATCHES / columns.max(1)).max(ROWS)
}

/// The weight as `[channels_out, kernel_height, kernel_width, channels / groups]`.
fn rows_of_taps<'a>(weight: &'a [f32], shape: &Geometry) -> Cow<'a, [f32]> {
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

/// Transposes `[rows, columns]`.
fn transpose(from: &[f32], to: &mut [f32], rows: usize) {
    let columns = from.len() / rows;
    for (column, to) in to.chunks_exact_mut(rows).enumerate() {
        for (to, from) in to.iter_mut().zip(from[column..].iter().step_by(columns)) {
            *to = *from;
        }
    }
}

/// Patches · weightsᵀ, then `finish` on rows of the output from an index on.
fn convolve(
    shape: &Geometry,
    input: Map,
    weight: Matrix,
    finish: impl Fn(usize, &mut [f32]) + Sync,
) -> Buffer {
    let depth = shape.depth() / input.channels;
    let width_out = shape.group_width_out();
    let (positions, pitch) = (shape.positions(), shape.channels_out);
    let mut output = Buffer::any(positions * pitch);
    if output.is_empty() {
        return output;
    }
    let weights = shape.of_groups(weight);
    let weights = weights.map(|rows| Right::new(rows.transposed(), shape.precision));
    let weights: Vec<Right> = weights.collect();
    let pixels = |group: usize| input.of_group(group, shape.groups, positions, shape.channels);
    let is_pointwise = shape.is_pointwise();
    let length = if is_pointwise { 0 } else { depth };
    if positions < ROWS {
        // Too few rows to pack the weight once for each part of them.
        let to = MatrixMut::new(&mut output, positions, pitch).column_chunks(width_out);
        for (group, to) in to.into_iter().enumerate() {
            let mut patches = Buffer::any(positions * length);
            let rows = positions.div_ceil(rayon::current_num_threads());
            patches
                .par_chunks_mut((rows * length).max(1))
                .enumerate()
                .for_each(|(part, to)| {
                    let rows = part * rows..part * rows + to.len() / depth;
                    gather(shape, input, group, rows, 0..depth, to);
                });
            let patches = match is_pointwise {
                true => pixels(group),
                false => Matrix::new(&patches, positions, depth),
            };
            weights[group].parallel_product(to, Output::Replace, input.left(patches));
        }
        finish(0, &mut output);
        return output;
    }
    let rows = shape.rows_at_a_time(depth);
    output
        .par_chunks_mut(rows * pitch)
        .enumerate()
        .for_each(|(part, output)| {
            let count = output.len() / pitch;
            let range = part * rows..part * rows + count;
            let to = MatrixMut::new(output, count, pitch).column_chunks(width_out);
            with_scratch(count * length, |patches| {
                for (group, to) in to.into_iter().enumerate() {
                    let patches = match is_pointwise {
                        true => pixels(group).row_range(range.clone()),
                        false => {
                            gather(shape, input, group, range.clone(), 0..depth, patches);
                            Matrix::new(patches, count, depth)
                        }
                    };
                    weights[group].product(to, Output::Replace, input.left(patches));
                }
            });
            finish(range.start, output);
        });
    output
}

/// Copies columns of some rows of the matrix of patches: for each position of the window, its
/// elements row by row, channels innermost; zero in the padding.
fn gather(
    shape: &Geometry,
    input: Map,
    group: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    to: &mut [f32],
) {
    let width = shape.group_width() / input.channels;
    let channels = shape.channels / input.channels;
    let is_dense = shape.groups == 1 && shape.window.dilation[1] == 1;
    // Neighbours in a row of the window are neighbours in memory, where the window is dense.
    let (runs, run_taps) = match is_dense {
        true => (shape.kernel[0], shape.kernel[1]),
        false => (shape.taps(), 1),
    };
    let run = run_taps * width;
    for (row, to) in rows.zip(to.chunks_exact_mut(columns.len())) {
        let image = row / (shape.height_out * shape.width_out);
        let y = row / shape.width_out % shape.height_out;
        let x = row % shape.width_out;
        for index in columns.start / run..columns.end.div_ceil(run).min(runs) {
            let (tap_y, tap_x) = match is_dense {
                true => (index, 0),
                false => (index / shape.kernel[1], index % shape.kernel[1]),
            };
            let wanted = columns.start.max(index * run)..columns.end.min((index + 1) * run);
            let to = &mut to[wanted.start - columns.start..wanted.end - columns.start];
            let wanted = wanted.start - index * run..wanted.end - index * run;
            let top = shape.window.offset(0, y, tap_y);
            let left = shape.window.offset(1, x, tap_x);
            // Elements of the run that lie inside the map.
            let first = (-left).clamp(0, run_taps as isize) as usize * width;
            let last = (shape.width as isize - left).clamp(0, run_taps as isize) as usize * width;
            let inside = wanted.start.max(first)..wanted.end.min(last);
            if top < 0 || top >= shape.height as isize || inside.is_empty() {
                to.fill(0.0);
                continue;
            }
            let line = (image * shape.height + top as usize) * shape.width;
            let start = (line as isize + left) * channels as isize;
            let start = (start + (group * width) as isize + inside.start as isize) as usize;
            let (before, rest) = to.split_at_mut(inside.start - wanted.start);
            let (middle, after) = rest.split_at_mut(inside.len());
            before.fill(0.0);
            middle.copy_from_slice(&input.elements[start..start + middle.len()]);
            after.fill(0.0);
        }
    }
}

/// The gradient of the input: the output's gradient, convolved with the kernel turned around.
fn input_gradient(shape: &Geometry, gradient: Map, weight: &[f32]) -> Buffer {
    let (channels, depth) = (shape.channels, shape.taps() * shape.group_width_out());
    match shape.turned() {
        Some(turned) if shape.taps() == 1 && shape.groups == 1 => {
            let weight = Matrix::new(weight, depth, channels).transposed();
            convolve(&turned, gradient, weight, |_, _| ())
        }
        Some(turned) => {
            let weight = turned_rows(weight, shape);
            convolve(
                &turned,
                gradient,
                Matrix::new(&weight, channels, depth),
                |_, _| (),
            )
        }
        None => scatter(shape, gradient, &rows_of_taps(weight, shape)),
    }
}

impl Geometry {
    /// The convolution that brings gradients back, where that is one: at stride 1.
    fn turned(&self) -> Option<Self> {
        let [rows, columns] = self.kernel;
        let extent = [rows - 1, columns - 1];
        let padding = |axis: usize| {
            (self.window.dilation[axis] * extent[axis]).checked_sub(self.window.padding[axis])
        };
        if self.window.stride != [1, 1] {
            return None;
        }
        Some(Self {
            height: self.height_out,
            width: self.width_out,
            channels: self.channels_out,
            height_out: self.height,
            width_out: self.width,
            channels_out: self.channels,
            window: Window {
                padding: [padding(0)?, padding(1)?],
                ..self.window
            },
            ..self.clone()
        })
    }
}

/// The weight as `[channels, kernel_height, kernel_width, channels_out / groups]`, the kernel's
/// rows and columns from the last to the first.
fn turned_rows(weight: &[f32], shape: &Geometry) -> Vec<f32> {
    /// Channels of output whose elements are written together, a cache line.
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

/// The gradient of the input: gradients of patches, each element added where it came from.
fn scatter(shape: &Geometry, gradient: Map, weight: &[f32]) -> Buffer {
    let depth = shape.depth();
    let image = shape.height * shape.width * shape.channels;
    let positions = shape.height_out * shape.width_out;
    let mut found = Buffer::zeros(shape.batch * image);
    if found.is_empty() {
        return found;
    }
    let weight = Matrix::new(weight, shape.channels_out, depth);
    let weights = shape.of_groups(weight);
    let weights = weights.map(|rows| Right::new(rows, shape.precision));
    let weights: Vec<Right> = weights.collect();
    let gradients = |group: usize| {
        gradient.of_group(group, shape.groups, shape.positions(), shape.channels_out)
    };
    found
        .par_chunks_mut(image)
        .enumerate()
        .for_each(|(index, found)| {
            let rows = rows_of_patches(depth).min(positions);
            with_scratch(rows * depth, |patches| {
                for start in (0..positions).step_by(rows) {
                    let range = start..positions.min(start + rows);
                    let pixels = index * positions + range.start..index * positions + range.end;
                    for (group, weight) in weights.iter().enumerate() {
                        let rows = gradients(group).row_range(pixels.clone());
                        let patches = &mut patches[..range.len() * depth];
                        let to = MatrixMut::new(patches, range.len(), depth);
                        weight.product(to, Output::Replace, gradient.left(rows));
                        add_patches(shape, group, range.clone(), patches, found);
                    }
                }
            });
        });
    found
}

vectorized! {
    /// Adds the elements of patches of one image to the pixels that they are copies of.
    fn add_patches(
        shape: &Geometry,
        group: usize,
        rows: Range<usize>,
        patches: &[f32],
        image: &mut [f32],
    ) {
        let (width, window) = (shape.group_width(), &shape.window);
        for (row, patch) in rows.zip(patches.chunks_exact(shape.depth())) {
            let (y, x) = (row / shape.width_out, row % shape.width_out);
            let lines = patch.chunks_exact(shape.kernel[1] * width).enumerate();
            for (tap_y, line) in lines {
                let Some(y) = window.under(0, y, tap_y, shape.height) else {
                    continue;
                };
                for (tap_x, from) in line.chunks_exact(width).enumerate() {
                    let Some(x) = window.under(1, x, tap_x, shape.width) else {
                        continue;
                    };
                    let first = (y * shape.width + x) * shape.channels + group * width;
                    let to = &mut image[first..first + width];
                    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
                }
            }
        }
    }
}

/// The gradient of the weight: gradientᵀ · patches.
fn weight_gradient(shape: &Geometry, gradient: Map, input: Map) -> Buffer {
    let (depth, width_out) = (shape.depth(), shape.group_width_out());
    let positions = shape.positions();
    let threads = rayon::current_num_threads();
    let per = input.channels;
    let mut found = Buffer::zeros(shape.channels_out * depth);
    for (group, found) in found.chunks_mut((width_out * depth).max(1)).enumerate() {
        let gradients = gradient.of_group(group, shape.groups, positions, shape.channels_out);
        let add = |rows, columns, to: MatrixMut| {
            let left = |rows| gradient.left_transposed(gradients.row_range(rows));
            add_outer(shape, group, rows, columns, left, input, to);
        };
        if found.len() < PRIVATE_GRADIENT {
            // Each thread has some of the positions; their sums are added.
            let share = positions.div_ceil(threads).max(1);
            let parts: Vec<Buffer> = (0..positions.div_ceil(share))
                .into_par_iter()
                .map(|part| {
                    let rows = part * share..positions.min((part + 1) * share);
                    let mut sum = Buffer::zeros(found.len());
                    let to = MatrixMut::new(&mut sum, width_out, depth);
                    add(rows, 0..depth / per, to);
                    sum
                })
                .collect();
            for part in parts {
                found
                    .iter_mut()
                    .zip(&*part)
                    .for_each(|(sum, part)| *sum += part);
            }
        } else {
            // Each thread has some of the columns.
            let share = (depth / per).div_ceil(threads);
            MatrixMut::new(found, width_out, depth)
                .column_chunks(share * per)
                .into_par_iter()
                .enumerate()
                .for_each(|(part, to)| {
                    let columns = part * share..(depth / per).min((part + 1) * share);
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

/// Adds gradientᵀ · patches of some rows and columns of the matrix of patches; `left` gives the
/// gradient of some rows, transposed.
fn add_outer<'a>(
    shape: &Geometry,
    group: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    left: impl Fn(Range<usize>) -> Left<'a>,
    input: Map,
    mut to: MatrixMut,
) {
    let step = rows_of_patches(columns.len()).min(rows.len());
    let is_pointwise = shape.is_pointwise();
    let length = if is_pointwise { 0 } else { columns.len() };
    with_scratch(step * length, |patches| {
        for start in rows.clone().step_by(step.max(1)) {
            let range = start..rows.end.min(start + step);
            let patches = match is_pointwise {
                true => input
                    .of_group(group, shape.groups, shape.positions(), shape.channels)
                    .row_range(range.clone())
                    .column_range(columns.clone()),
                false => {
                    let patches = &mut patches[..range.len() * length];
                    gather(shape, input, group, range.clone(), columns.clone(), patches);
                    Matrix::new(patches, range.len(), length)
                }
            };
            let right = input.right(patches, shape.precision);
            right.product(to.reborrow(), Output::Add, left(range));
        }
    });
}
