//! Linear layers as matrix products, and their gradients.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::buffer::{contiguous, elements, tensor, vector};
use super::element::{Element, of_element};
use super::math::add_wide;
use super::matmul::{Finish, Matrix, MatrixMut, Right};
use super::memory::Buffer;
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
        let bias = wanted[2].then(|| {
            let sums =
                of_element!(gradient.dtype(), T => column_sums::<T>(elements(&gradient), width));
            vector(sums)
        });
        [input, weight, bias]
    }
}

/// Columns of a weight.
fn width(weight: &FlexTensor) -> usize {
    weight.layout().shape()[1]
}

/// Rows of the input, which are of so many elements.
fn rows<T: Element>(input: &FlexTensor, width: usize) -> Matrix<'_, T> {
    let elements = elements(input);
    Matrix::new(elements, elements.len() / width.max(1), width)
}

fn matrix(weight: &FlexTensor) -> Matrix<'_> {
    let [d_input, d_output] = std::array::from_fn(|axis| weight.layout().shape()[axis]);
    Matrix::new(elements(weight), d_input, d_output)
}

impl Linear {
    fn product(&self, saved: &Saved, bias: Option<&[f32]>) -> FlexTensor {
        of_element!(saved[0].dtype(), T => self.product_of::<T>(saved, bias))
    }

    fn product_of<T: Element>(&self, [input, weight]: &Saved, bias: Option<&[f32]>) -> FlexTensor {
        let weight = matrix(weight);
        let rows = rows::<T>(input, weight.rows());
        let mut output = Buffer::any(rows.rows() * weight.columns());
        let to = MatrixMut::new(&mut output, rows.rows(), weight.columns());
        let finish = bias.map_or(Finish::Replace, Finish::Bias);
        let right = Right::new(f32::factor(weight), self.precision, rows.rows());
        right.parallel_multiply(to, &finish, T::factor(rows));
        let mut shape = input.layout().shape().to_vec();
        *shape.last_mut().expect("an axis") = weight.columns();
        tensor::<T>(output, shape)
    }

    fn gradients(
        &self,
        saved: &Saved,
        gradient: &FlexTensor,
        wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        of_element!(saved[0].dtype(), T => self.gradients_of::<T>(saved, gradient, wanted))
    }

    fn gradients_of<T: Element>(
        &self,
        [input, weight]: &Saved,
        gradient: &FlexTensor,
        wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let shapes = [input, weight].map(|tensor| tensor.layout().shape().clone());
        let [input_shape, weight_shape] = shapes;
        let weight = matrix(weight);
        let input = rows::<T>(input, weight.rows());
        let gradient = rows::<T>(gradient, weight.columns());
        let of_input = || {
            let mut to = Buffer::any(input.rows() * weight.rows());
            let matrix = MatrixMut::new(&mut to, input.rows(), weight.rows());
            let right = f32::factor(weight.transposed());
            let right = Right::new(right, self.precision, gradient.rows());
            right.parallel_multiply(matrix, &Finish::Replace, T::factor(gradient));
            tensor::<T>(to, input_shape)
        };
        let of_weight = || {
            let mut to = Buffer::any(weight.rows() * weight.columns());
            let matrix = MatrixMut::new(&mut to, weight.rows(), weight.columns());
            let right = Right::new(T::factor(gradient), self.precision, weight.rows());
            let left = T::factor(input.transposed());
            right.parallel_multiply(matrix, &Finish::Replace, left);
            tensor::<f32>(to, weight_shape)
        };
        [wanted[0].then(of_input), wanted[1].then(of_weight)]
    }
}

/// Sums of the columns of a matrix of rows of this width.
fn column_sums<T: Element>(matrix: &[T], width: usize) -> Vec<f32> {
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
    fn add_rows<T: Element>(rows: &[T], sums: &mut [f32]) {
        for row in rows.chunks_exact(sums.len().max(1)) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value.widen());
        }
    }
}
