//! Matrix products of float32 by fused multiplications.

use gemm::Parallelism;

use super::matrix::{Matrix, MatrixMut};
use crate::flex::math::mul_add;
use crate::flex::simd::{Level, vectorized};

/// Elements of an output up to which `gemm` has kernels of their own for rows times columns.
const FEW: usize = 16 * 16;

/// What becomes of what is in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// The product takes its place.
    Replace,
    /// The product is added.
    Add,
}

/// Computes `a·b` on this thread.
///
/// An element is the same sum in the same order whatever the matrices' other rows and columns, as
/// long as there are two rows, two columns and three products to add; where it is of more than 512,
/// 65 rows or columns.
pub(crate) fn product(to: MatrixMut, output: Output, a: Matrix, b: Matrix) {
    assert_eq!(
        (to.rows, to.columns, a.columns),
        (a.rows, b.columns, b.rows),
        "shapes of a product"
    );
    assert!(a.end() <= a.elements.len() && b.end() <= b.elements.len());
    let add = output == Output::Add;
    if to.columns > 1 && to.rows * to.columns <= FEW && a.column_stride == 1 && b.row_stride == 1 {
        // `gemm` would add up these in another order: not with rows of `b` to add.
        let mut rows = vec![0.0; b.rows * b.columns];
        for (row, to) in rows.chunks_exact_mut(b.columns).enumerate() {
            for (column, to) in to.iter_mut().enumerate() {
                *to = b.elements[row + column * b.column_stride];
            }
        }
        return product(to, output, a, Matrix::new(&rows, b.rows, b.columns));
    }
    if Level::detected() < Level::of_processor() {
        // A kernel of fewer instructions is forced; `gemm` takes all that it finds.
        return multiply_in_order(to, output, a, b);
    }
    // SAFETY: every element is inside its slice, the shapes agree, and `to` is the only way to its
    // elements, which its constructor has checked.
    unsafe {
        gemm::gemm(
            to.rows,
            to.columns,
            a.columns,
            to.first,
            1,
            to.row_stride as isize,
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

/// Computes `a·b` one row of `b` after the other.
fn multiply_in_order(mut to: MatrixMut, output: Output, a: Matrix, b: Matrix) {
    let mut row = vec![0.0; b.columns];
    for index in 0..a.rows {
        if output == Output::Replace {
            to.row_mut(index).fill(0.0);
        }
        for depth in 0..a.columns {
            (row.iter_mut().enumerate()).for_each(|(column, to)| *to = b.at(depth, column));
            add_multiple(a.at(index, depth), &row, to.row_mut(index));
        }
    }
}

vectorized! {
    fn add_multiple(factor: f32, row: &[f32], to: &mut [f32]) {
        let pairs = to.iter_mut().zip(row);
        pairs.for_each(|(to, number)| *to = mul_add::<FUSED>(factor, *number, *to));
    }
}
