//! Writing the sums of a matrix product to the output.

use super::matrix::{Matrix, MatrixMut};
use crate::flex::element::Element;
use crate::flex::simd::vectorized;

/// How the sums of a matrix product are written to the output.
pub(crate) enum Finish<'a, T = f32> {
    /// They replace the numbers in the output.
    Replace,
    /// They are added to the numbers in the output.
    Add,
    /// A number for each column is added to them, and the results replace the numbers in the
    /// output.
    Bias(&'a [f32]),
    /// A function makes a block of the output from a block of sums.
    With(&'a Write<'a, T>),
}

/// Writes a block of the output, given its first row and column and its sums.
pub(crate) type Write<'a, T> = dyn Fn([usize; 2], Matrix<'_>, MatrixMut<'_, T>) + Sync + 'a;

impl<T: Element> Finish<'_, T> {
    pub(super) fn apply(&self, [row, column]: [usize; 2], sums: Matrix, mut output: MatrixMut<T>) {
        match self {
            Self::Replace => write(sums, &mut output),
            Self::Add => add(sums, &mut output),
            Self::Bias(bias) => write_with_bias(sums, &bias[column..], &mut output),
            Self::With(write) => write([row, column], sums, output),
        }
    }
}

vectorized! {
    fn write<T: Element>(sums: Matrix, output: &mut MatrixMut<T>) {
        for row in 0..output.rows() {
            let numbers = output.row_mut(row).iter_mut().zip(sums.row(row));
            numbers.for_each(|(output, sum)| *output = T::round(*sum));
        }
    }
}

vectorized! {
    fn add<T: Element>(sums: Matrix, output: &mut MatrixMut<T>) {
        for row in 0..output.rows() {
            let numbers = output.row_mut(row).iter_mut().zip(sums.row(row));
            numbers.for_each(|(output, sum)| *output = T::round(output.widen() + sum));
        }
    }
}

vectorized! {
    fn write_with_bias<T: Element>(sums: Matrix, bias: &[f32], output: &mut MatrixMut<T>) {
        for row in 0..output.rows() {
            let numbers = output.row_mut(row).iter_mut().zip(sums.row(row)).zip(bias);
            numbers.for_each(|((output, sum), bias)| *output = T::round(sum + bias));
        }
    }
}
