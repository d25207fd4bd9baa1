//! Strips of products, and the largest of each row and column.

use std::ops::Range;

use crate::Precision;
use crate::contrastive::strips;
use crate::flex::FlexTensor;
use crate::flex::buffer_pool::Buffer;
use crate::flex::element::Element;
use crate::flex::math::LANES;
use crate::flex::matmul::{Finish, Matrix, MatrixMut, Right};
use crate::flex::simd::vectorized;
use crate::flex::tensor::{contiguous, elements, new_tensor};

/// Columns of a strip that a thread takes at a time: 4 KiB of each row.
pub(super) const COLUMNS: usize = 1 << 10;

/// The products u_i·v_j of two matrices with the same number of rows.
pub(super) struct Products<'a> {
    u: Matrix<'a>,
    right: Right<'a>,
    strip: Buffer,
}

impl<'a> Products<'a> {
    pub(super) fn new([u, v]: [Matrix<'a>; 2]) -> Self {
        let right = Right::new(f32::factor(v.transposed()), Precision::Float32, u.rows());
        let longest = strips(u.rows()).map(|strip| strip.len()).max();
        Self {
            u,
            right,
            strip: Buffer::unspecified(longest.unwrap_or(0) * v.rows()),
        }
    }

    /// Computes the products of a strip of rows, one row after the other.
    pub(super) fn strip(&mut self, rows: &Range<usize>) -> &mut [f32] {
        let columns = self.u.rows();
        let products = &mut self.strip[..rows.len() * columns];
        let output = MatrixMut::new(products, rows.len(), columns);
        let left = f32::factor(self.u.row_range(rows.clone()));
        self.right.parallel_multiply(output, &Finish::Replace, left);
        products
    }
}

pub(super) fn matrix(tensor: &FlexTensor) -> Matrix<'_> {
    let [rows, columns] = std::array::from_fn(|axis| tensor.layout().shape()[axis]);
    Matrix::new(elements(tensor), rows, columns)
}

pub(super) fn number(tensor: FlexTensor) -> f32 {
    elements::<f32>(&contiguous(tensor))[0]
}

/// Computes the gradients of u and v. `to_gradients` replaces the products of a strip by their
/// gradients.
pub(super) fn factor_gradients(
    factors: [Matrix; 2],
    needs_gradient: [bool; 2],
    mut to_gradients: impl FnMut(&mut [f32], &Range<usize>),
) -> [Option<FlexTensor>; 2] {
    let [u, v] = factors;
    let (size, width) = (u.rows(), u.columns());
    let mut products = Products::new(factors);
    let right = Right::new(f32::factor(v), Precision::Float32, size);
    let mut row_gradient = needs_gradient[0].then(|| Buffer::unspecified(size * width));
    let mut column_gradient = needs_gradient[1].then(|| Buffer::zeros(size * width));
    for strip in strips(size) {
        let products = products.strip(&strip);
        to_gradients(products, &strip);
        let gradients = Matrix::new(products, strip.len(), size);
        if let Some(row_gradient) = &mut row_gradient {
            let output = &mut row_gradient[strip.start * width..strip.end * width];
            let output = MatrixMut::new(output, strip.len(), width);
            right.parallel_multiply(output, &Finish::Replace, f32::factor(gradients));
        }
        if let Some(column_gradient) = &mut column_gradient {
            let rows = f32::factor(u.row_range(strip));
            let right = Right::new(rows, Precision::Float32, size);
            let output = MatrixMut::new(column_gradient, size, width);
            right.parallel_multiply(output, &Finish::Add, f32::factor(gradients.transposed()));
        }
    }
    let tensor = |elements: Buffer| new_tensor::<f32>(elements, [size, width]);
    [row_gradient.map(tensor), column_gradient.map(tensor)]
}

/// The largest number of a row, and its column.
pub(super) fn best_column(products: &[f32]) -> (f32, u32) {
    let max = largest(products);
    let column = products.iter().position(|product| *product == max);
    (max, column.unwrap_or(0) as u32)
}

vectorized! {
    fn largest(values: &[f32]) -> f32 {
        let (chunks, rest) = values.as_chunks::<LANES>();
        let larger = |a: f32, b: f32| if b > a { b } else { a };
        let mut lanes = [f32::NEG_INFINITY; LANES];
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] = larger(lanes[lane], chunk[lane]);
            }
        }
        lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger)
    }
}

vectorized! {
    /// Updates the largest product of each column, and the row it is in.
    pub(super) fn find_largest(products: Matrix, first: u32, max: &mut [f32], best_row: &mut [u32]) {
        for row in 0..products.rows() {
            let columns = max.iter_mut().zip(&mut *best_row).zip(products.row(row));
            columns.for_each(|((max, best), product)| {
                let is_larger = *product > *max;
                *best = if is_larger { first + row as u32 } else { *best };
                *max = if is_larger { *product } else { *max };
            });
        }
    }
}
