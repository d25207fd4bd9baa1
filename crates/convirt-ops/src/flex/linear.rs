//! Affine maps as products of matrices, and their gradients.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::buffer::{contiguous, elements, tensor, vector};
use super::math::add_wide;
use super::memory::Buffer;
use super::product::{Left, Matrix, MatrixMut, Output, Right};
use super::simd::vectorized;
use super::{FlexTensor, Operation, apply};
use crate::Precision;

/// Rows whose sums float32 holds without loss that counts.
const BLOCK_ROWS: usize = 128;

pub(crate) fn linear<const D: usize>(
    input: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let (input, weight) = (input.into_dispatch(), weight.into_dispatch());
    let operation = Linear {
        precision: Precision::current(),
    };
    match bias {
        None => apply(operation, [input, weight]).0,
        Some(bias) => apply(operation, [input, weight, bias.into_dispatch()]).0,
    }
}

#[derive(Debug)]
struct Linear {
    precision: Precision,
}

/// Input and weight.
type Saved = [FlexTensor; 2];

impl Operation<2> for Linear {
    type Saved = Saved;

    fn forward(&self, [input, weight]: [FlexTensor; 2]) -> (FlexTensor, Saved) {
        let saved = [input, weight].map(contiguous);
        (self.product(&saved, None), saved)
    }

    fn backward(
        self,
        saved: Saved,
        gradient: FlexTensor,
        wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        self.gradients(&saved, &contiguous(gradient), wanted)
    }
}

impl Operation<3> for Linear {
    type Saved = Saved;

    fn forward(&self, [input, weight, bias]: [FlexTensor; 3]) -> (FlexTensor, Saved) {
        let saved = [input, weight].map(contiguous);
        let bias = contiguous(bias);
        (self.product(&saved, Some(elements(&bias))), saved)
    }

    fn backward(
        self,
        saved: Saved,
        gradient: FlexTensor,
        wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let gradient = contiguous(gradient);
        let [input, weight] = self.gradients(&saved, &gradient, [wanted[0], wanted[1]]);
        let width = width(&saved[1]);
        let bias = wanted[2].then(|| vector(column_sums(elements(&gradient), width)));
        [input, weight, bias]
    }
}

/// Columns of a weight.
fn width(weight: &FlexTensor) -> usize {
    weight.layout().shape()[1]
}

/// Input and weight as matrices.
fn matrices([input, weight]: &Saved) -> [Matrix<'_>; 2] {
    let [d_input, d_output] = std::array::from_fn(|axis| weight.layout().shape()[axis]);
    let rows = input.layout().shape().num_elements() / d_input.max(1);
    [
        Matrix::new(elements(input), rows, d_input),
        Matrix::new(elements(weight), d_input, d_output),
    ]
}

impl Linear {
    fn product(&self, saved: &Saved, bias: Option<&[f32]>) -> FlexTensor {
        let [input, weight] = matrices(saved);
        let [rows, width] = [input.rows(), weight.columns()];
        let mut output = Buffer::any(rows * width);
        let way = match bias {
            None => Output::Replace,
            Some(bias) => {
                output
                    .par_chunks_mut(BLOCK_ROWS * width.max(1))
                    .flat_map_iter(|block| block.chunks_exact_mut(width.max(1)))
                    .for_each(|row| row.copy_from_slice(bias));
                Output::Add
            }
        };
        let to = MatrixMut::new(&mut output, rows, width);
        Right::new(weight, self.precision).parallel_product(to, way, Left::Float32(input));
        let mut shape = saved[0].layout().shape().to_vec();
        *shape.last_mut().expect("an axis") = width;
        tensor(output, shape)
    }

    fn gradients(
        &self,
        saved: &Saved,
        gradient: &FlexTensor,
        wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let [input, weight] = matrices(saved);
        let gradient = Matrix::new(elements(gradient), input.rows(), weight.columns());
        let of = |index: usize, rows, columns, a, b| {
            wanted[index].then(|| {
                let mut to = Buffer::any(rows * columns);
                let matrix = MatrixMut::new(&mut to, rows, columns);
                Right::new(b, self.precision).parallel_product(
                    matrix,
                    Output::Replace,
                    Left::Float32(a),
                );
                tensor(to, saved[index].layout().shape().clone())
            })
        };
        let [rows, inner, columns] = [input.rows(), weight.rows(), weight.columns()];
        [
            of(0, rows, inner, gradient, weight.transposed()),
            of(1, inner, columns, input.transposed(), gradient),
        ]
    }
}

/// Sums of the columns of a matrix of rows of this width.
pub(crate) fn column_sums(matrix: &[f32], width: usize) -> Vec<f32> {
    let parts: Vec<Vec<f32>> = matrix
        .par_chunks(BLOCK_ROWS * width.max(1))
        .map(|block| {
            let mut sums = vec![0.0; width];
            add_rows(block, &mut sums);
            sums
        })
        .collect();
    let mut total = vec![0.0f64; width];
    parts.iter().for_each(|part| add_wide(&mut total, part));
    total.into_iter().map(|total| total as f32).collect()
}

vectorized! {
    fn add_rows(rows: &[f32], sums: &mut [f32]) {
        for row in rows.chunks_exact(sums.len().max(1)) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
    }
}
