//! Convolution as matrix products of patches (im2col).

mod geometry;
mod gradients;
mod patches;
mod weight;

use burn::backend::Flex;
use burn::tensor::{DType, Tensor};
use rayon::prelude::*;

use super::buffer::{contiguous, elements, tensor, with_scratch};
use super::element::{Element, of_element};
use super::matmul::{Finish, Matrix, MatrixMut, Right, Write};
use super::memory::Buffer;
use super::storage::converted;
use super::{FlexTensor, Operation, apply, plain};
use crate::profile::{Pass, timed};
use crate::{Precision, Window};
use geometry::{Geometry, MIN_ROWS};
use gradients::{input_gradient, weight_gradient};
use patches::gather;
use weight::rows_of_taps;

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
    };
    let inputs = [input.into_dispatch(), weight.into_dispatch()];
    apply(operation, inputs).0
}

/// Convolves tensors outside graphs, and has `write` write blocks of the output from their sums.
pub(super) fn conv2d_finished<T: Element>(
    inputs: [Tensor<4>; 2],
    window: Window,
    groups: usize,
    write: &Write<T>,
) -> Tensor<4> {
    let operation = Conv2d {
        window,
        groups,
        precision: Precision::current(),
    };
    let inputs = inputs.map(|tensor| plain(tensor.into_dispatch()));
    let (output, _) = timed("Conv2d, BatchNorm", Pass::Forward, || {
        operation.run(inputs, Some(write))
    });
    Tensor::from_primitive::<Flex>(output)
}

#[derive(Debug)]
struct Conv2d {
    window: Window,
    groups: usize,
    precision: Precision,
}

#[derive(Clone, Debug)]
struct Saved {
    shape: Geometry,
    /// The input as products took it: rounded, if they round.
    input: FlexTensor,
    weight: FlexTensor,
    /// The type of the input's gradient.
    dtype: DType,
}

impl Operation<2> for Conv2d {
    type Saved = Saved;

    fn forward(&self, inputs: [FlexTensor; 2]) -> (FlexTensor, Saved) {
        of_element!(inputs[0].dtype(), T => self.run::<T>(inputs, None))
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
            dtype,
        } = saved;
        let gradient = as_multiplied(contiguous(gradient), self.precision);
        let of_input = |gradient: &FlexTensor| {
            let dims = [shape.batch, shape.height, shape.width, shape.channels];
            let weight = elements(&weight);
            of_element!(gradient.dtype(), G => of_element!(dtype, T => {
                let found = input_gradient::<G, T>(&shape, elements(gradient), weight);
                tensor(found, dims)
            }))
        };
        let of_weight = |gradient: &FlexTensor| {
            let [rows, columns] = shape.kernel;
            let dims = [shape.channels_out, shape.group_width(), rows, columns];
            let found = of_element!(gradient.dtype(), G => of_element!(input.dtype(), T => {
                weight_gradient::<G, T>(&shape, elements(gradient), elements(&input))
            }));
            tensor(found, dims)
        };
        [
            wanted[0].then(|| of_input(&gradient)),
            wanted[1].then(|| of_weight(&gradient)),
        ]
    }
}

impl Conv2d {
    fn run<T: Element>(
        &self,
        inputs: [FlexTensor; 2],
        write: Option<&Write<T>>,
    ) -> (FlexTensor, Saved) {
        let [input, weight] = inputs.map(contiguous);
        let shape = Geometry::new(self, &input, &weight);
        let dtype = input.dtype();
        let input = as_multiplied(input, self.precision);
        let matrix = rows_of_taps(elements(&weight), &shape);
        let matrix = Matrix::new(&matrix, shape.channels_out, shape.depth());
        let output = of_element!(input.dtype(), I => {
            convolve::<I, T>(&shape, elements(&input), matrix, write)
        });
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
            dtype,
        };
        (tensor(output, dims), saved)
    }
}

/// A feature map as products of a precision take it: rounded to bfloat16 once for all of them.
fn as_multiplied(map: FlexTensor, precision: Precision) -> FlexTensor {
    match (map.dtype(), precision) {
        (DType::F32, Precision::BFloat16) => converted(map, DType::BF16),
        _ => map,
    }
}

/// A group's elements of pixels with so many channels.
fn of_group<T: Copy>(map: &[T], group: usize, groups: usize, channels: usize) -> Matrix<'_, T> {
    let width = channels / groups;
    let all = Matrix::new(map, map.len() / channels, channels);
    all.column_range(group * width..(group + 1) * width)
}

/// Patches · weightsᵀ, perhaps written by a function of blocks of the output.
fn convolve<I: Element, T: Element>(
    shape: &Geometry,
    input: &[I],
    weight: Matrix,
    write: Option<&Write<T>>,
) -> Buffer<T> {
    let depth = shape.depth();
    let width_out = shape.group_width_out();
    let (positions, pitch) = (shape.positions(), shape.channels_out);
    let mut output = Buffer::any(positions * pitch);
    if output.is_empty() {
        return output;
    }
    let weights = shape.of_groups(weight);
    let weights =
        weights.map(|rows| Right::new(f32::factor(rows.transposed()), shape.precision, positions));
    let weights: Vec<Right> = weights.collect();
    let pixels = |group: usize| of_group(input, group, shape.groups, shape.channels);
    let is_pointwise = shape.is_pointwise();
    let length = if is_pointwise { 0 } else { depth };
    /// Multiplies by `$multiply` what lies at a row and a group of the output.
    macro_rules! multiply {
        ($multiply:ident, $to:expr, $patches:expr, $row:expr, $group:expr) => {{
            let (first_row, first_column) = ($row, $group * width_out);
            let write = write.map(|write| {
                move |[row, column]: [usize; 2], sums: Matrix<'_>, to: MatrixMut<'_, T>| {
                    write([first_row + row, first_column + column], sums, to);
                }
            });
            let finish = match &write {
                Some(write) => Finish::With(write),
                None => Finish::Replace,
            };
            weights[$group].$multiply($to, &finish, I::factor($patches));
        }};
    }
    if positions < MIN_ROWS || is_pointwise {
        // All at once: there is nothing to make, or there are too few rows to divide.
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
            multiply!(parallel_multiply, to, patches, 0, group);
        }
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
                    gather(shape, input, group, range.clone(), 0..depth, patches);
                    let patches = Matrix::new(patches, count, depth);
                    multiply!(multiply, to, patches, range.start, group);
                }
            });
        });
    output
}
