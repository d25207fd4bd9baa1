//! Convolution as a matrix product of patches and weights (im2col).
//!
//! A row of the matrix of patches holds the input under the kernel at one pixel of the output. The
//! channels-last output is the matrix product of patches and weights:
//!
//! ```text
//!              depth = kernel_height · kernel_width · channels / groups
//!           ┌───────────────────────────┐       ┌──────────────┐       ┌──────────────┐
//!   rows at │ patch of pixel 0          │       │ weights of   │       │ pixel 0      │
//!   a time  │ patch of pixel 1          │   ·   │ each output  │   =   │ pixel 1      │
//!           │ …                         │       │ channel      │       │ …            │
//!           └───────────────────────────┘       └──────────────┘       └──────────────┘
//!             2 MiB of patches per thread         depth × channels_out   batch · height_out ·
//!                                                                        width_out pixels
//! ```
//!
//! The whole matrix of patches would be nine times the input for a 3 × 3 kernel. Each thread
//! gathers as many rows as its cache holds and multiplies them at once. A 1 × 1 kernel of stride 1
//! needs no patches: the pixels are the rows.

mod geometry;
mod gradients;
mod patches;
mod weight;

use burn::backend::Flex;
use burn::tensor::{DType, Tensor};
use rayon::prelude::*;

use super::buffer_pool::Buffer;
use super::element::{Element, with_element_type};
use super::matmul::{Finish, Matrix, MatrixMut, Right, Write, divide};
use super::storage::converted;
use super::tensor::{contiguous, elements, new_tensor, with_scratch};
use super::{FlexTensor, Operation, apply, plain};
use crate::profile::{Pass, timed};
use crate::{Precision, Window};
use geometry::{Geometry, MIN_ROWS};
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

/// Convolves tensors outside autodiff graphs; `write` turns blocks of sums into blocks of the
/// output.
pub(super) fn conv2d_with_epilogue<T: Element>(
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
    let inputs = inputs.map(|tensor| plain::<Flex>(tensor.into_dispatch()));
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
    /// The input as the matrix products took it, rounded if they round.
    input: FlexTensor,
    weight: FlexTensor,
    /// The type of the input's gradient.
    dtype: DType,
}

impl Operation<Flex, 2> for Conv2d {
    type Saved = Saved;

    fn forward(&self, inputs: [FlexTensor; 2]) -> (FlexTensor, Saved) {
        with_element_type!(inputs[0].dtype(), T => self.run::<T>(inputs, None))
    }

    fn backward(
        self,
        saved: Saved,
        gradient: FlexTensor,
        needs_gradient: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let Saved {
            shape,
            input,
            weight,
            dtype,
        } = saved;
        let gradient = as_multiplied(contiguous(gradient), self.precision);
        let input_gradient = |gradient: &FlexTensor| {
            let dims = [shape.batch, shape.height, shape.width, shape.channels];
            let weight = elements(&weight);
            with_element_type!(gradient.dtype(), G => with_element_type!(dtype, T => {
                let values = gradients::input_gradient::<G, T>(&shape, elements(gradient), weight);
                new_tensor(values, dims)
            }))
        };
        let weight_gradient = |gradient: &FlexTensor| {
            let [rows, columns] = shape.kernel;
            let dims = [shape.channels_out, shape.group_width(), rows, columns];
            let values = with_element_type!(gradient.dtype(), G => with_element_type!(input.dtype(), T => {
                gradients::weight_gradient::<G, T>(&shape, elements(gradient), elements(&input))
            }));
            new_tensor(values, dims)
        };
        [
            needs_gradient[0].then(|| input_gradient(&gradient)),
            needs_gradient[1].then(|| weight_gradient(&gradient)),
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
        let output = with_element_type!(input.dtype(), I => {
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
        (new_tensor(output, dims), saved)
    }
}

/// A feature map as matrix products of a precision take it: rounded to bfloat16 once for all.
fn as_multiplied(map: FlexTensor, precision: Precision) -> FlexTensor {
    match (map.dtype(), precision) {
        (DType::F32, Precision::BFloat16) => converted(map, DType::BF16),
        _ => map,
    }
}

/// A group's channels of each pixel of a feature map.
fn group_columns<T: Copy>(
    map: &[T],
    group: usize,
    groups: usize,
    channels: usize,
) -> Matrix<'_, T> {
    let width = channels / groups;
    let pixels = Matrix::new(map, map.len() / channels, channels);
    pixels.column_range(group * width..(group + 1) * width)
}

/// Patches · weightsᵀ. If given, `write` turns blocks of the sums into blocks of the output.
fn convolve<I: Element, T: Element>(
    shape: &Geometry,
    input: &[I],
    weight: Matrix,
    write: Option<&Write<T>>,
) -> Buffer<T> {
    let depth = shape.depth();
    let width_out = shape.group_width_out();
    let (positions, pitch) = (shape.positions(), shape.channels_out);
    let mut output = Buffer::unspecified(positions * pitch);
    if output.is_empty() {
        return output;
    }
    let weights = shape.group_rows(weight);
    let weights =
        weights.map(|rows| Right::new(f32::factor(rows.transposed()), shape.precision, positions));
    let weights: Vec<Right> = weights.collect();
    let pixels = |group: usize| group_columns(input, group, shape.groups, shape.channels);
    let is_pointwise = shape.is_pointwise();
    let length = if is_pointwise { 0 } else { depth };
    /// Computes by `$multiply` the part of the output that starts at a row and a group.
    macro_rules! multiply {
        ($multiply:ident, $target:expr, $patches:expr, $row:expr, $group:expr) => {{
            let (first_row, first_column) = ($row, $group * width_out);
            let write = write.map(|write| {
                move |[row, column]: [usize; 2], sums: Matrix<'_>, target: MatrixMut<'_, T>| {
                    write([first_row + row, first_column + column], sums, target);
                }
            });
            let finish = match &write {
                Some(write) => Finish::With(write),
                None => Finish::Replace,
            };
            weights[$group].$multiply($target, &finish, I::factor($patches));
        }};
    }
    if positions < MIN_ROWS || is_pointwise {
        // All at once: there are no patches to gather, or too few rows to divide.
        let target = MatrixMut::new(&mut output, positions, pitch).column_chunks(width_out);
        for (group, target) in target.into_iter().enumerate() {
            let mut patches = Buffer::unspecified(positions * length);
            let rows = positions.div_ceil(rayon::current_num_threads());
            patches
                .par_chunks_mut((rows * length).max(1))
                .enumerate()
                .for_each(|(part, patches)| {
                    let rows = part * rows..part * rows + patches.len() / depth;
                    gather(shape, input, group, rows, 0..depth, patches);
                });
            let patches = if is_pointwise {
                pixels(group)
            } else {
                Matrix::new(&patches, positions, depth)
            };
            multiply!(parallel_multiply, target, patches, 0, group);
        }
        return output;
    }
    let mut remainder = &mut output[..];
    let parts = divide(positions, shape.parts()).map(|rows| {
        let (own, others) = std::mem::take(&mut remainder).split_at_mut(rows.len() * pitch);
        remainder = others;
        (rows, own)
    });
    let parts: Vec<_> = parts.collect();
    parts.into_par_iter().for_each(|(rows, output)| {
        let target = MatrixMut::new(output, rows.len(), pitch).column_chunks(width_out);
        with_scratch(rows.len() * length, |patches| {
            for (group, target) in target.into_iter().enumerate() {
                gather(shape, input, group, rows.clone(), 0..depth, patches);
                let patches = Matrix::new(patches, rows.len(), depth);
                multiply!(multiply, target, patches, rows.start, group);
            }
        });
    });
    output
}
