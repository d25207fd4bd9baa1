//! Matrix products of float32 by fused multiplications and additions, through the crate `gemm`.

use gemm::Parallelism;

use super::matrix::{Matrix, MatrixMut};
use crate::flex::math::mul_add;
use crate::flex::simd::{Level, vectorized};

/// Elements of an output up to which `gemm` has a special kernel for factors whose rows and columns
/// are contiguous (`gemm_common`'s horizontal kernel).
pub(super) const GEMM_SMALL_OUTPUT: usize = 16 * 16;

/// Whether the product replaces the numbers in the output or is added to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// The product replaces them.
    Replace,
    /// The product is added to them.
    Add,
}

/// Computes `a·b` on this thread.
///
/// An element is the same sum in the same order whatever the matrices' other rows and columns, if
/// there are at least two rows, two columns and three products to add. Sums of more than 512
/// products also need 65 rows or columns.
pub(crate) fn matmul_float32(target: MatrixMut, output: Output, a: Matrix, b: Matrix) {
    assert_eq!(
        (target.rows, target.columns, a.columns),
        (a.rows, b.columns, b.rows),
        "shapes of a matrix product"
    );
    assert!(a.end() <= a.elements.len() && b.end() <= b.elements.len());
    let add = output == Output::Add;
    if target.columns > 1
        && target.rows * target.columns <= GEMM_SMALL_OUTPUT
        && a.column_stride == 1
        && b.row_stride == 1
    {
        // The special kernel adds up in another order; `gemm` does not use it if the rows of `b`
        // are contiguous.
        let mut rows = vec![0.0; b.rows * b.columns];
        for (row, numbers) in rows.chunks_exact_mut(b.columns).enumerate() {
            for (column, number) in numbers.iter_mut().enumerate() {
                *number = b.elements[row + column * b.column_stride];
            }
        }
        return matmul_float32(target, output, a, Matrix::new(&rows, b.rows, b.columns));
    }
    if Level::detected() < Level::supported() {
        // A kernel with fewer instructions is forced, but `gemm` uses all that the processor has.
        return multiply_in_order(target, output, a, b);
    }
    // SAFETY: every element is inside its slice, the shapes agree, and `to`, whose constructor has
    // checked its bounds, is the only reference to its elements.
    unsafe {
        gemm::gemm(
            target.rows,
            target.columns,
            a.columns,
            target.first,
            1,
            target.row_stride as isize,
            add,
            a.elements.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.elements.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            if add { 1.0f32 } else { 0.0 },
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Computes `a·b` by adding multiples of one row of `b` after the other.
fn multiply_in_order(mut target: MatrixMut, output: Output, a: Matrix, b: Matrix) {
    let mut row = vec![0.0; b.columns];
    for index in 0..a.rows {
        if output == Output::Replace {
            target.row_mut(index).fill(0.0);
        }
        for depth in 0..a.columns {
            for (column, number) in row.iter_mut().enumerate() {
                *number = b.at(depth, column);
            }
            add_multiple(a.at(index, depth), &row, target.row_mut(index));
        }
    }
}

vectorized! {
    fn add_multiple(factor: f32, row: &[f32], sums: &mut [f32]) {
        let pairs = sums.iter_mut().zip(row);
        pairs.for_each(|(sum, number)| *sum = mul_add::<FUSED>(factor, *number, *sum));
    }
}
