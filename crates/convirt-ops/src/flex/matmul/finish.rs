//! What a product does with its sums.

use super::matrix::{Matrix, MatrixMut};
use crate::flex::element::Element;
use crate::flex::simd::vectorized;

/// What becomes of the sums of a product.
pub(crate) enum Finish<'a, T = f32> {
    /// They take the place of what is in the output.
    Replace,
    /// They are added to it.
    Add,
    /// They and a number for each column take its place.
    Bias(&'a [f32]),
    /// A function writes a block of the output, given its first row and column and its sums.
    With(&'a Write<'a, T>),
}

/// Writes sums, of which row and column of the first are given, to their place.
pub(crate) type Write<'a, T> = dyn Fn([usize; 2], Matrix<'_>, MatrixMut<'_, T>) + Sync + 'a;

impl<T: Element> Finish<'_, T> {
    pub(super) fn apply(&self, [row, column]: [usize; 2], sums: Matrix, mut to: MatrixMut<T>) {
        match self {
            Self::Replace => write(sums, &mut to),
            Self::Add => add(sums, &mut to),
            Self::Bias(bias) => write_with_bias(sums, &bias[column..], &mut to),
            Self::With(write) => write([row, column], sums, to),
        }
    }
}

vectorized! {
    fn write<T: Element>(sums: Matrix, to: &mut MatrixMut<T>) {
        for row in 0..to.rows() {
            let numbers = to.row_mut(row).iter_mut().zip(sums.row(row));
            numbers.for_each(|(to, sum)| *to = T::round(*sum));
        }
    }
}

vectorized! {
    fn add<T: Element>(sums: Matrix, to: &mut MatrixMut<T>) {
        for row in 0..to.rows() {
            let numbers = to.row_mut(row).iter_mut().zip(sums.row(row));
            numbers.for_each(|(to, sum)| *to = T::round(to.widen() + sum));
        }
    }
}

vectorized! {
    fn write_with_bias<T: Element>(sums: Matrix, bias: &[f32], to: &mut MatrixMut<T>) {
        for row in 0..to.rows() {
            let numbers = to.row_mut(row).iter_mut().zip(sums.row(row)).zip(bias);
            numbers.for_each(|((to, sum), bias)| *to = T::round(sum + bias));
        }
    }
}
