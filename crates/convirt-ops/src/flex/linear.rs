//! Linear layers as matrix products, and their gradients.

use burn::backend::Flex;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::buffer_pool::Buffer;
use super::element::{Element, with_element_type};
use super::math::add_in_float64;
use super::matmul::{Finish, Matrix, MatrixMut, Right};
use super::simd::vectorized;
use super::tensor::{contiguous, elements, new_tensor, new_vector};
use super::{FlexTensor, Operation, apply, optional, present};
use crate::Precision;

/// Rows that a thread adds up at a time. A float32 sum of 128 gradients keeps at least 17 of its 24
/// bits; sums of such blocks are added up in float64.
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
    apply(operation, [input, weight, optional(bias)]).0
}

#[derive(Debug)]
struct Linear {
    precision: Precision,
}

/// Input and weight.
type Saved = [FlexTensor; 2];

/// Inputs: the feature map or token states, the weight and, optionally, the bias.
impl Operation<Flex, 3> for Linear {
    type Saved = Saved;

    fn forward(&self, [input, weight, bias]: [FlexTensor; 3]) -> (FlexTensor, Saved) {
        let saved = [input, weight].map(contiguous);
        let bias = present(bias).map(contiguous);
        let output = with_element_type!(saved[0].dtype(), T => {
            self.forward_typed::<T>(&saved, bias.as_ref().map(elements))
        });
        (output, saved)
    }

    fn backward(
        self,
        saved: Saved,
        gradient: FlexTensor,
        needs_gradient: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let gradient = contiguous(gradient);
        with_element_type!(saved[0].dtype(), T => {
            self.backward_typed::<T>(&saved, &gradient, needs_gradient)
        })
    }
}

/// A tensor as a matrix with rows of `width` elements.
fn rows<T: Element>(input: &FlexTensor, width: usize) -> Matrix<'_, T> {
    let elements = elements(input);
    Matrix::new(elements, elements.len() / width.max(1), width)
}

fn matrix(weight: &FlexTensor) -> Matrix<'_> {
    let [d_input, d_output] = std::array::from_fn(|axis| weight.layout().shape()[axis]);
    Matrix::new(elements(weight), d_input, d_output)
}

impl Linear {
    fn forward_typed<T: Element>(
        &self,
        [input, weight]: &Saved,
        bias: Option<&[f32]>,
    ) -> FlexTensor {
        let weight = matrix(weight);
        let input_rows = rows::<T>(input, weight.rows());
        let mut elements = Buffer::unspecified(input_rows.rows() * weight.columns());
        let output = MatrixMut::new(&mut elements, input_rows.rows(), weight.columns());
        let finish = bias.map_or(Finish::Replace, Finish::Bias);
        let right = Right::new(f32::factor(weight), self.precision, input_rows.rows());
        right.parallel_multiply(output, &finish, T::factor(input_rows));
        let mut shape = input.layout().shape().to_vec();
        *shape.last_mut().expect("an axis") = weight.columns();
        new_tensor::<T>(elements, shape)
    }

    fn backward_typed<T: Element>(
        &self,
        [input, weight]: &Saved,
        gradient: &FlexTensor,
        needs_gradient: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let shapes = [input, weight].map(|tensor| tensor.layout().shape().clone());
        let [input_shape, weight_shape] = shapes;
        let weight = matrix(weight);
        let input = rows::<T>(input, weight.rows());
        let gradient_elements = elements::<T>(gradient);
        let gradient = rows::<T>(gradient, weight.columns());
        let input_gradient = || {
            let mut elements = Buffer::unspecified(input.rows() * weight.rows());
            let output = MatrixMut::new(&mut elements, input.rows(), weight.rows());
            let right = f32::factor(weight.transposed());
            let right = Right::new(right, self.precision, gradient.rows());
            right.parallel_multiply(output, &Finish::Replace, T::factor(gradient));
            new_tensor::<T>(elements, input_shape)
        };
        let weight_gradient = || {
            let mut elements = Buffer::unspecified(weight.rows() * weight.columns());
            let output = MatrixMut::new(&mut elements, weight.rows(), weight.columns());
            let right = Right::new(T::factor(gradient), self.precision, weight.rows());
            let left = T::factor(input.transposed());
            right.parallel_multiply(output, &Finish::Replace, left);
            new_tensor::<f32>(elements, weight_shape)
        };
        let bias_gradient = || new_vector(column_sums(gradient_elements, weight.columns()));
        [
            needs_gradient[0].then(input_gradient),
            needs_gradient[1].then(weight_gradient),
            needs_gradient[2].then(bias_gradient),
        ]
    }
}

/// The sum of each column of a matrix with rows of `width` elements.
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
    parts
        .iter()
        .for_each(|part| add_in_float64(&mut total, part));
    total.into_iter().map(|total| total as f32).collect()
}

vectorized! {
    fn add_rows<T: Element>(rows: &[T], sums: &mut [f32]) {
        for row in rows.chunks_exact(sums.len().max(1)) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value.widen());
        }
    }
}
