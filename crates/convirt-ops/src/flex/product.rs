//! Products of matrices.

use std::marker::PhantomData;
use std::ops::Range;

use gemm::Parallelism;
use rayon::prelude::*;

use super::bfloat16;
use crate::Precision;

/// Multiplications below which a second thread costs more than it brings.
const WORTH_A_THREAD: usize = 1 << 19;

/// Rows or columns of a thread's part at least: of one, `gemm` adds up in another order.
const LEAST: usize = 8;

/// Elements of an output up to which `gemm` has kernels of their own for rows times columns.
const FEW: usize = 16 * 16;

/// A matrix to read, in any order of storage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    elements: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `[rows, columns]`, a row after the other.
    pub(crate) fn new(elements: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(elements, rows, columns, columns)
    }

    /// `[rows, columns]`, a row's first element `row_stride` after that of the row before.
    pub(crate) fn strided(
        elements: &'a [f32],
        rows: usize,
        columns: usize,
        row_stride: usize,
    ) -> Self {
        let matrix = Self {
            elements,
            rows,
            columns,
            row_stride,
            column_stride: 1,
        };
        assert!(
            matrix.end() <= elements.len(),
            "{rows} × {columns} by {row_stride}"
        );
        matrix
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// From a row's element to the next row's.
    pub(crate) fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// From a column's element to the next column's.
    pub(crate) fn column_stride(&self) -> usize {
        self.column_stride
    }

    /// The memory, from the first element on.
    pub(crate) fn elements(&self) -> &'a [f32] {
        self.elements
    }

    pub(crate) fn at(&self, row: usize, column: usize) -> f32 {
        self.elements[row * self.row_stride + column * self.column_stride]
    }

    /// One more than the index of the last element.
    fn end(&self) -> usize {
        if self.rows == 0 || self.columns == 0 {
            return 0;
        }
        (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride + 1
    }

    pub(crate) fn transposed(self) -> Self {
        Self {
            elements: self.elements,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    pub(crate) fn row_range(self, rows: Range<usize>) -> Self {
        assert!(
            rows.start <= rows.end && rows.end <= self.rows,
            "{rows:?} of {}",
            self.rows
        );
        let start = (rows.start * self.row_stride).min(self.elements.len());
        Self {
            elements: &self.elements[start..],
            rows: rows.len(),
            ..self
        }
    }

    pub(crate) fn column_range(self, columns: Range<usize>) -> Self {
        self.transposed().row_range(columns).transposed()
    }
}

/// A matrix to write, a row after the other.
///
/// A pointer rather than a slice, because [parts](Self::column_chunks) of several columns lie
/// interleaved in memory.
#[derive(Debug)]
pub(crate) struct MatrixMut<'a> {
    first: *mut f32,
    rows: usize,
    columns: usize,
    row_stride: usize,
    elements: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `MatrixMut` is the only way to its elements while it lives, like `&mut [f32]`.
unsafe impl Send for MatrixMut<'_> {}

impl<'a> MatrixMut<'a> {
    /// `[rows, columns]`, all of the elements.
    pub(crate) fn new(elements: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self::strided(elements, rows, columns, columns)
    }

    /// `[rows, columns]`, a row's first element `row_stride` after that of the row before.
    pub(crate) fn strided(
        elements: &'a mut [f32],
        rows: usize,
        columns: usize,
        row_stride: usize,
    ) -> Self {
        let fits = match rows {
            0 => true,
            rows => columns <= row_stride && (rows - 1) * row_stride + columns <= elements.len(),
        };
        assert!(
            fits,
            "{rows} × {columns} by {row_stride} in {}",
            elements.len()
        );
        Self {
            first: elements.as_mut_ptr(),
            rows,
            columns,
            row_stride,
            elements: PhantomData,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The same matrix, for a shorter time.
    pub(crate) fn reborrow(&mut self) -> MatrixMut<'_> {
        self.part(0..self.rows, 0..self.columns)
    }

    /// Some rows and columns.
    pub(crate) fn part(&mut self, rows: Range<usize>, columns: Range<usize>) -> MatrixMut<'_> {
        self.shared(rows, columns)
    }

    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let row = self.part(row..row + 1, 0..self.columns);
        // SAFETY: the row is this matrix' own.
        unsafe { std::slice::from_raw_parts_mut(row.first, row.columns) }
    }

    /// Some rows and columns, to be written while others are: callers take parts that are disjoint.
    fn shared(&self, rows: Range<usize>, columns: Range<usize>) -> Self {
        assert!(
            rows.start <= rows.end && rows.end <= self.rows,
            "{rows:?} of {}",
            self.rows
        );
        assert!(
            columns.start <= columns.end && columns.end <= self.columns,
            "{columns:?} of {}",
            self.columns
        );
        let offset = match rows.is_empty() || columns.is_empty() {
            true => 0,
            false => rows.start * self.row_stride + columns.start,
        };
        Self {
            // SAFETY: the offset is that of an element of this matrix.
            first: unsafe { self.first.add(offset) },
            rows: rows.len(),
            columns: columns.len(),
            ..*self
        }
    }

    /// Divides the matrix into parts of `columns` columns, the last perhaps of fewer.
    pub(crate) fn column_chunks(self, columns: usize) -> Vec<Self> {
        let starts = (0..self.columns).step_by(columns);
        starts
            .map(|start| self.shared(0..self.rows, start..self.columns.min(start + columns)))
            .collect()
    }
}

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
/// long as there are two rows, two columns and three products to add.
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

/// The left factor of a product.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Left<'a> {
    Float32(Matrix<'a>),
    /// [Pairs](bfloat16::pairs) of neighbours in a row: `[rows, columns / 2]`.
    Pairs(Matrix<'a>),
    /// Pairs of neighbours in a column: `[columns, rows / 2]`.
    TransposedPairs(Matrix<'a>),
}

impl Left<'_> {
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Float32(a) | Self::Pairs(a) => a.rows,
            Self::TransposedPairs(a) => 2 * a.columns,
        }
    }

    pub(crate) fn columns(&self) -> usize {
        match self {
            Self::Float32(a) => a.columns,
            Self::Pairs(a) => 2 * a.columns,
            Self::TransposedPairs(a) => a.rows,
        }
    }

    /// Some rows; of pairs in columns, whole pairs.
    pub(crate) fn row_range(self, rows: Range<usize>) -> Self {
        match self {
            Self::Float32(a) => Self::Float32(a.row_range(rows)),
            Self::Pairs(a) => Self::Pairs(a.row_range(rows)),
            Self::TransposedPairs(a) => {
                let ends = [rows.start, rows.end];
                assert!(
                    ends.iter().all(|end| end.is_multiple_of(2)),
                    "halves of pairs"
                );
                Self::TransposedPairs(a.column_range(rows.start / 2..rows.end / 2))
            }
        }
    }
}

/// The right factor of products, made ready once for all of them.
pub(crate) enum Right<'a> {
    Float32(Matrix<'a>),
    BFloat16(bfloat16::Right),
}

impl<'a> Right<'a> {
    /// Makes a factor ready, on all threads.
    pub(crate) fn new(factor: Matrix<'a>, precision: Precision) -> Self {
        match precision {
            Precision::Float32 | Precision::High => Self::Float32(factor),
            Precision::BFloat16 => Self::BFloat16(bfloat16::Right::new(factor, true)),
        }
    }

    /// Makes a factor ready on this thread, for few products.
    pub(crate) fn here(factor: Matrix<'a>, precision: Precision) -> Self {
        match precision {
            Precision::Float32 | Precision::High => Self::Float32(factor),
            Precision::BFloat16 => Self::BFloat16(bfloat16::Right::new(factor, false)),
        }
    }

    /// Makes a factor of pairs of neighbours in a row ready on this thread.
    pub(crate) fn of_pairs(factor: Matrix<'a>) -> Self {
        Self::BFloat16(bfloat16::Right::of_pairs(factor))
    }

    fn depth(&self) -> usize {
        match self {
            Self::Float32(b) => b.rows,
            Self::BFloat16(b) => b.depth(),
        }
    }

    fn columns(&self) -> usize {
        match self {
            Self::Float32(b) => b.columns,
            Self::BFloat16(b) => b.columns(),
        }
    }

    /// Computes the product with `a` on this thread.
    pub(crate) fn product(&self, to: MatrixMut, output: Output, a: Left) {
        self.part(to, output, a, 0..self.columns());
    }

    fn part(&self, to: MatrixMut, output: Output, a: Left, columns: Range<usize>) {
        match (self, a) {
            (Self::Float32(b), Left::Float32(a)) => product(to, output, a, b.column_range(columns)),
            (Self::Float32(_), _) => unreachable!("both factors have one precision"),
            (Self::BFloat16(b), a) => b.product(to, output, a, columns),
        }
    }

    /// Computes the product with `a` on all threads, the output divided where it leaves the least
    /// to pack twice.
    pub(crate) fn parallel_product(&self, to: MatrixMut, output: Output, a: Left) {
        let threads = rayon::current_num_threads();
        let columns = self.columns();
        let divide = |size: usize| {
            let parts = threads.min(size / LEAST).max(1);
            let bound = move |part: usize| part * size / parts;
            (0..parts).map(move |part| bound(part)..bound(part + 1))
        };
        let parts: Vec<[Range<usize>; 2]> =
            if threads == 1 || a.rows() * self.depth() * columns < WORTH_A_THREAD {
                return self.product(to, output, a);
            } else if columns <= a.rows() {
                divide(a.rows()).map(|rows| [rows, 0..columns]).collect()
            } else if let Self::BFloat16(b) = self {
                let parts = b.column_parts(threads);
                parts.map(|columns| [0..a.rows(), columns]).collect()
            } else {
                let parts = divide(columns);
                parts.map(|columns| [0..a.rows(), columns]).collect()
            };
        // The parts are disjoint.
        let parts = parts.into_iter().map(|[rows, columns]| {
            let to = to.shared(rows.clone(), columns.clone());
            (to, rows, columns)
        });
        let parts: Vec<_> = parts.collect();
        parts.into_par_iter().for_each(|(to, rows, columns)| {
            self.part(to, output, a.row_range(rows), columns);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::random_values;

    fn ramp(length: usize, factor: usize) -> Vec<f32> {
        (0..length)
            .map(|i| ((i * factor) % 17) as f32 - 8.0)
            .collect()
    }

    /// Products of small whole numbers are exact in any order, and in any precision.
    #[test]
    fn every_way_to_divide_a_product_gives_the_sum_of_products() {
        let shapes = [
            [1, 1, 1],
            [3, 5, 2],
            [130, 70, 90],
            [9, 300, 400],
            [400, 300, 9],
        ];
        for ([m, k, n], precision) in shapes
            .into_iter()
            .flat_map(|shape| [Precision::Float32, Precision::BFloat16].map(|p| (shape, p)))
        {
            let (a, b) = (ramp(m * k, 7), ramp(k * n, 5));
            let expected: Vec<f32> = (0..m * n)
                .map(|i| (0..k).map(|j| a[i / n * k + j] * b[j * n + i % n]).sum())
                .collect();
            let (a, b) = (Matrix::new(&a, m, k), Matrix::new(&b, k, n));
            let left = Left::Float32(a);
            let mut found = vec![f32::NAN; m * n];
            let factor = Right::new(b, precision);
            let to = MatrixMut::new(&mut found, m, n);
            factor.parallel_product(to, Output::Replace, left);
            assert_eq!(found, expected);
            factor.parallel_product(MatrixMut::new(&mut found, m, n), Output::Add, left);
            assert!(found.iter().zip(&expected).all(|(f, e)| *f == 2.0 * e));
            let mut other = vec![f32::NAN; m * n];
            let to = MatrixMut::new(&mut other, n, m);
            let factor = Right::here(a.transposed(), precision);
            factor.parallel_product(to, Output::Replace, Left::Float32(b.transposed()));
            assert!((0..m * n).all(|i| other[i % n * m + i / n] == expected[i]));
        }
    }

    #[test]
    fn sums_do_not_depend_on_the_number_of_threads() {
        const DEPTH: usize = 1_200;
        for [m, n] in [[48, 40], [40, 48]] {
            let (a, b) = (random_values(m * DEPTH, 1), random_values(DEPTH * n, 2));
            let (in_rows, in_columns) = (Matrix::new(&b, DEPTH, n), Matrix::new(&b, n, DEPTH));
            for (index, b) in [in_rows, in_columns.transposed()].into_iter().enumerate() {
                for precision in [Precision::Float32, Precision::BFloat16] {
                    let [one, two, many] = [1, 2, 48].map(|threads| {
                        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                        pool.unwrap().install(|| {
                            let mut found = vec![0.0; m * n];
                            let to = MatrixMut::new(&mut found, m, n);
                            let left = Left::Float32(Matrix::new(&a, m, DEPTH));
                            let right = Right::new(b, precision);
                            right.parallel_product(to, Output::Replace, left);
                            found
                        })
                    });
                    let what = format!("{m} × {n}, {index}, {precision:?}");
                    assert!(one == two && one == many, "{what}");
                }
            }
        }
    }

    #[test]
    fn columns_are_written_and_nothing_between_them() {
        let (a, b) = ([1.0, 2.0], [3.0, 4.0]);
        let mut to = [0.0f32; 6];
        let parts = MatrixMut::strided(&mut to, 2, 2, 3).column_chunks(1);
        for (column, part) in parts.into_iter().enumerate() {
            let b = Matrix::new(&b, 1, 2).column_range(column..column + 1);
            product(part, Output::Replace, Matrix::new(&a, 2, 1), b);
        }
        assert_eq!(to, [3.0, 4.0, 0.0, 6.0, 8.0, 0.0]);
    }

    #[test]
    #[should_panic(expected = "shapes of a product")]
    fn shapes_that_do_not_fit_are_refused() {
        let mut to = [0.0; 4];
        let a = Matrix::new(&[0.0; 4], 2, 2);
        let b = Matrix::new(&[0.0; 6], 3, 2);
        product(MatrixMut::new(&mut to, 2, 2), Output::Replace, a, b);
    }
}
