//! Matrices as views of memory.

use std::marker::PhantomData;
use std::ops::Range;

use super::divide;

/// A matrix to read, in any order of storage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a, T = f32> {
    pub(super) elements: &'a [T],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a, T: Copy> Matrix<'a, T> {
    /// `[rows, columns]`, one row after the other.
    pub(crate) fn new(elements: &'a [T], rows: usize, columns: usize) -> Self {
        Self::strided(elements, rows, columns, columns)
    }

    /// `[rows, columns]`; rows start `row_stride` elements apart.
    pub(crate) fn strided(
        elements: &'a [T],
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

    /// Distance in memory from a row to the next.
    pub(crate) fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Distance in memory from a column to the next.
    pub(crate) fn column_stride(&self) -> usize {
        self.column_stride
    }

    /// The memory, from the first element on.
    pub(crate) fn elements(&self) -> &'a [T] {
        self.elements
    }

    /// A row, whose elements must be contiguous.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &'a [T] {
        debug_assert!(self.column_stride == 1 && row < self.rows);
        &self.elements[row * self.row_stride..][..self.columns]
    }

    pub(crate) fn at(&self, row: usize, column: usize) -> T {
        self.elements[row * self.row_stride + column * self.column_stride]
    }

    /// One more than the index of the last element.
    pub(super) fn end(&self) -> usize {
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

/// A matrix to write, whose rows are contiguous.
///
/// A pointer rather than a slice, because [parts](Self::column_chunks) of several columns are
/// interleaved in memory.
#[derive(Debug)]
pub(crate) struct MatrixMut<'a, T = f32> {
    pub(super) first: *mut T,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    elements: PhantomData<&'a mut [T]>,
}

// SAFETY: a `MatrixMut` is the only way to its elements while it lives, like `&mut [T]`.
unsafe impl<T: Send> Send for MatrixMut<'_, T> {}

impl<'a, T> MatrixMut<'a, T> {
    /// `[rows, columns]`, one row after the other.
    pub(crate) fn new(elements: &'a mut [T], rows: usize, columns: usize) -> Self {
        Self::strided(elements, rows, columns, columns)
    }

    /// `[rows, columns]`; rows start `row_stride` elements apart.
    pub(crate) fn strided(
        elements: &'a mut [T],
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
    pub(crate) fn reborrow(&mut self) -> MatrixMut<'_, T> {
        self.part(0..self.rows, 0..self.columns)
    }

    /// Some rows and columns.
    pub(crate) fn part(&mut self, rows: Range<usize>, columns: Range<usize>) -> MatrixMut<'_, T> {
        self.shared(rows, columns)
    }

    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [T] {
        let row = self.part(row..row + 1, 0..self.columns);
        // SAFETY: the row belongs to this matrix alone.
        unsafe { std::slice::from_raw_parts_mut(row.first, row.columns) }
    }

    /// Some rows and columns, to be written at the same time as others. Callers take disjoint
    /// parts.
    pub(super) fn shared(&self, rows: Range<usize>, columns: Range<usize>) -> Self {
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
        let offset = if rows.is_empty() || columns.is_empty() {
            0
        } else {
            rows.start * self.row_stride + columns.start
        };
        Self {
            // SAFETY: an element of this matrix is at the offset.
            first: unsafe { self.first.add(offset) },
            rows: rows.len(),
            columns: columns.len(),
            ..*self
        }
    }

    /// Divides the matrix evenly into parts, each with its columns.
    pub(crate) fn divide_columns(self, parts: usize) -> Vec<(Range<usize>, Self)> {
        divide(self.columns, parts)
            .map(|columns| (columns.clone(), self.shared(0..self.rows, columns)))
            .collect()
    }

    /// Divides the matrix into parts of `columns` columns; the last may have fewer.
    pub(crate) fn column_chunks(self, columns: usize) -> Vec<Self> {
        let starts = (0..self.columns).step_by(columns);
        starts
            .map(|start| self.shared(0..self.rows, start..self.columns.min(start + columns)))
            .collect()
    }
}
