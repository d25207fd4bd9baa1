//! Operations composed of Burn's own, with gradients composed by hand: fewer and smaller passes over
//! memory than Burn's differentiation of each part takes.

use std::fmt::Debug;

#[cfg(feature = "cubecl")]
use burn::backend::Cube;
#[cfg(feature = "flex")]
use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::backend::{DispatchTensor, DispatchTensorKind};
use burn::tensor::Tensor;

use crate::operation::{Operation, Variant, apply, constant, plain};

/// A function of `N` tensors in Burn's operations, with a gradient in Burn's operations.
///
/// Tensors are handed over without their rank, which the implementation knows; they are outside autodiff
/// graphs. A gradient has the type of its tensor.
pub(crate) trait Composition<const N: usize>: Debug + Send + Sized + 'static {
    /// The values that the forward pass keeps for the backward pass.
    type Saved: Clone + Debug + Send + 'static;

    /// Computes the output.
    fn forward(&self, inputs: [DispatchTensor; N]) -> (DispatchTensor, Self::Saved);

    /// Computes the gradients of the inputs that need one from the output's gradient.
    fn backward(
        self,
        saved: Self::Saved,
        gradient: DispatchTensor,
        needs_gradient: [bool; N],
    ) -> [Option<DispatchTensor>; N];
}

/// Applies a composition, and records it in the autodiff graph of its inputs if they have one.
///
/// On a backend of Burn that no feature of this crate names, Burn differentiates it part by part.
pub(crate) fn compose<const N: usize, const D: usize, C: Composition<N>>(
    composition: C,
    inputs: [DispatchTensor; N],
) -> (Tensor<D>, C::Saved) {
    let kind = match &inputs[0].kind {
        DispatchTensorKind::Autodiff(kind) => kind,
        kind => kind,
    };
    match kind {
        #[cfg(feature = "flex")]
        DispatchTensorKind::Flex(_) => apply::<Flex, N, D, _>(On(composition), inputs),
        #[cfg(feature = "cubecl")]
        DispatchTensorKind::Cube(_) => apply::<Cube, N, D, _>(On(composition), inputs),
        #[allow(unreachable_patterns, reason = "other backends' features")]
        _ => {
            let (output, saved) = composition.forward(inputs);
            (Tensor::from_dispatch(output), saved)
        }
    }
}

/// A composition as an operation of any backend.
#[derive(Debug)]
struct On<C>(C);

impl<B: Variant, const N: usize, C: Composition<N>> Operation<B, N> for On<C> {
    type Saved = C::Saved;

    fn forward(&self, inputs: [FloatTensor<B>; N]) -> (FloatTensor<B>, C::Saved) {
        let (output, saved) = self.0.forward(inputs.map(constant::<B>));
        (plain::<B>(output), saved)
    }

    fn backward(
        self,
        saved: C::Saved,
        gradient: FloatTensor<B>,
        needs_gradient: [bool; N],
    ) -> [Option<FloatTensor<B>>; N] {
        let gradients = self
            .0
            .backward(saved, constant::<B>(gradient), needs_gradient);
        gradients.map(|gradient| gradient.map(plain::<B>))
    }
}

/// A matrix of `rows` rows as `[parts, rows / parts, columns]`, for [`column_sums`].
///
/// Burn fuses operations with each other up to the next change of shape: compositions bring all tensors
/// to this shape first.
pub(crate) fn in_parts<const D: usize>(matrix: Tensor<D>, rows: usize) -> Tensor<3> {
    let columns = matrix.dims()[D - 1];
    let parts = parts(rows);
    matrix.reshape([parts, rows / parts, columns])
}

/// A vector as a row, `[1, 1, columns]`.
pub(crate) fn row(vector: Tensor<1>) -> Tensor<3> {
    let columns = vector.dims()[0];
    vector.reshape([1, 1, columns])
}

/// A row as a vector.
pub(crate) fn vector(row: Tensor<3>) -> Tensor<1> {
    row.flatten(0, 2)
}

/// Sums over the first two dimensions, which become 1: those of the columns of a matrix [`in_parts`]. A
/// device computes those of the parts at the same time.
pub(crate) fn column_sums<const D: usize>(matrix: Tensor<D>) -> Tensor<D> {
    let of_parts = matrix.sum_dim(1);
    match of_parts.dims()[0] {
        1 => of_parts,
        _ => of_parts.sum_dim(0),
    }
}

/// The largest divisor of a number of rows that is at most its square root; 1 for few rows.
pub(crate) fn parts(rows: usize) -> usize {
    const FEW: usize = 512;
    if rows <= FEW {
        return 1;
    }
    let divides = |parts: &usize| rows.is_multiple_of(*parts);
    (1..=rows.isqrt()).rev().find(divides).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, device, on_each_device, random, values};

    #[test]
    fn rows_are_divided_where_there_are_many() {
        assert_eq!([0, 1, 512, 513].map(parts), [1, 1, 1, 19]);
        assert_eq!(parts(128 * 56 * 56), 512);
        assert_eq!(parts(1_009), 1, "a prime");
    }

    #[test]
    fn column_sums_are_those_of_all_rows() {
        on_each_device(|| {
            for shape in [[3, 5], [1_024, 7], [1_009, 2]] {
                let matrix = random(shape, 1, &device());
                let mut expected = vec![0.0; shape[1]];
                for (index, value) in values(&matrix).into_iter().enumerate() {
                    expected[index % shape[1]] += f64::from(value);
                }
                let sums = vector(column_sums(in_parts(matrix, shape[0])));
                assert_close(&values(&sums), &expected, 2e-6, "sums");
            }
        });
    }
}
