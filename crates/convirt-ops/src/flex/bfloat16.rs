//! Products of matrices rounded to bfloat16, their sums in float32.

use std::ops::Range;

use rayon::prelude::*;

use super::buffer::with_scratch;
use super::memory::Buffer;
use super::product::{Left, Matrix, MatrixMut, Output, product};
use super::simd::vectorized;

#[cfg_attr(not(target_arch = "x86_64"), path = "bfloat16/elsewhere.rs")]
mod avx512;

use avx512::{Instructions, PANEL};

/// Elements of the left factor that are packed at a time: as many as half of a second cache holds.
const LEFT: usize = 1 << 18;

/// Pairs of a thread's turn.
const BLOCK: usize = 1 << 14;

/// Whether this processor multiplies numbers of bfloat16.
pub(crate) fn has_bfloat16() -> bool {
    Instructions::detected().is_some()
}

/// Rounds numbers, each two neighbours to a pair in the place of one. `None` where the processor
/// does not multiply pairs.
pub(crate) fn pairs(numbers: &[f32]) -> Option<Buffer> {
    let instructions = Instructions::detected()?;
    let mut pairs = Buffer::any(numbers.len().div_ceil(2));
    pairs
        .par_chunks_mut(BLOCK)
        .zip(numbers.par_chunks(2 * BLOCK))
        .for_each(|(to, numbers)| instructions.round_to_pairs(numbers, to));
    Some(pairs)
}

/// The right factor of products.
pub(crate) struct Right {
    elements: Buffer,
    form: Form,
    depth: usize,
    columns: usize,
}

#[derive(Clone, Copy)]
enum Form {
    /// Panels of pairs, for processors that multiply them.
    Pairs(Instructions),
    /// Rounded elements in float32, `[depth, columns]`.
    Rounded,
}

impl Right {
    /// Rounds a factor, on all threads or on this one.
    pub(crate) fn new(factor: Matrix, in_parallel: bool) -> Self {
        let (depth, columns) = (factor.rows(), factor.columns());
        let form = Instructions::detected().map_or(Form::Rounded, Form::Pairs);
        // Panels, or rows.
        let (parts, length) = match form {
            Form::Pairs(_) => (columns.div_ceil(PANEL), Instructions::panel_length(depth)),
            Form::Rounded => (depth, columns),
        };
        let mut elements = Buffer::any(parts * length);
        let pack = |(index, to): (usize, &mut [f32])| match form {
            Form::Pairs(instructions) => {
                let columns = index * PANEL..columns.min((index + 1) * PANEL);
                instructions.pack_panel(factor.column_range(columns), to);
            }
            Form::Rounded => round_to(factor.row_range(index..index + 1), to),
        };
        let length = length.max(1);
        match in_parallel {
            true => elements.par_chunks_mut(length).enumerate().for_each(pack),
            false => elements.chunks_mut(length).enumerate().for_each(pack),
        }
        Self {
            elements,
            form,
            depth,
            columns,
        }
    }

    /// Makes a factor of [pairs](pairs()) in rows ready, `[depth, columns / 2]`, on this thread.
    pub(crate) fn of_pairs(factor: Matrix) -> Self {
        let instructions = Instructions::detected().expect("made by these instructions");
        let (depth, pairs) = (factor.rows(), factor.columns());
        let length = Instructions::panel_length(depth);
        let mut elements = Buffer::any((2 * pairs).div_ceil(PANEL) * length);
        for (index, to) in elements.chunks_mut(length.max(1)).enumerate() {
            let columns = index * PANEL / 2..pairs.min((index + 1) * PANEL / 2);
            instructions.pack_panel_of_pairs(factor.column_range(columns), to);
        }
        Self {
            elements,
            form: Form::Pairs(instructions),
            depth,
            columns: 2 * pairs,
        }
    }

    /// Number of columns.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Number of products that a sum adds.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// Divides the columns at panels into `parts` ranges, some perhaps empty.
    pub(crate) fn column_parts(&self, parts: usize) -> impl Iterator<Item = Range<usize>> {
        let panels = self.columns.div_ceil(PANEL);
        let bound = move |part: usize| (part * panels / parts * PANEL).min(self.columns);
        (0..parts).map(move |part| bound(part)..bound(part + 1))
    }

    /// Computes `a` times some columns on this thread; they start at a panel.
    ///
    /// An element is the same sum in the same order whatever the other rows and columns.
    pub(crate) fn product(
        &self,
        mut to: MatrixMut,
        output: Output,
        a: Left,
        columns: Range<usize>,
    ) {
        assert_eq!(
            (to.rows(), to.columns(), a.columns()),
            (a.rows(), columns.len(), self.depth),
            "shapes of a product"
        );
        let step = (LEFT / self.depth.max(1)).max(1).next_multiple_of(PANEL);
        for start in (0..a.rows()).step_by(step) {
            let rows = start..a.rows().min(start + step);
            let a = a.row_range(rows.clone());
            let to = to.part(rows, 0..columns.len());
            match (self.form, a) {
                (Form::Pairs(instructions), a) => {
                    let panel = Instructions::panel_length(self.depth);
                    let first = columns.start / PANEL * panel;
                    instructions.product(to, output, a, &self.elements[first..]);
                }
                (Form::Rounded, Left::Float32(a)) => {
                    with_scratch(a.rows() * self.depth, |rounded| {
                        round_to(a, rounded);
                        let a = Matrix::new(rounded, a.rows(), self.depth);
                        let b = Matrix::new(&self.elements, self.depth, self.columns);
                        product(to, output, a, b.column_range(columns.clone()));
                    });
                }
                (Form::Rounded, _) => unreachable!("pairs on a processor without them"),
            }
        }
    }
}

/// Rounds a matrix to bfloat16, a row after the other.
fn round_to(matrix: Matrix, to: &mut [f32]) {
    let columns = matrix.columns().max(1);
    for (row, to) in to.chunks_exact_mut(columns).enumerate() {
        for (column, to) in to.iter_mut().enumerate() {
            *to = matrix.at(row, column);
        }
        round(to);
    }
}

vectorized! {
    fn round(values: &mut [f32]) {
        for value in values {
            *value = rounded(*value);
        }
    }
}

/// The nearest number of 8 significant bits, of two the even one.
#[inline(always)]
fn rounded(value: f32) -> f32 {
    const DROPPED: u32 = 0xFFFF;
    let bits = value.to_bits();
    match value.is_nan() {
        true => value,
        false => f32::from_bits((bits + (DROPPED >> 1) + (bits >> 16 & 1)) & !DROPPED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flex::simd::tests::at_each_level;
    use crate::testing::{assert_close, random_values};

    #[test]
    fn numbers_round_to_the_nearest_and_halves_to_the_even_one() {
        // The spacing at 1 is 2⁻⁷.
        let spacing = 2f32.powi(-7);
        for (value, expected) in [
            (1.0, 1.0),
            (1.0 + 0.49 * spacing, 1.0),
            (1.0 + 0.5 * spacing, 1.0),
            (1.0 + 1.5 * spacing, 1.0 + 2.0 * spacing),
            (-1.0 - 0.51 * spacing, -1.0 - spacing),
            (f32::MAX, f32::INFINITY),
            (f32::NEG_INFINITY, f32::NEG_INFINITY),
            (0.0, 0.0),
        ] {
            assert_eq!(rounded(value), expected, "{value}");
        }
        assert!(rounded(f32::NAN).is_nan());
    }

    /// At every level, of factors in either order, with more columns than a panel and fewer.
    #[test]
    fn products_are_the_sums_of_the_rounded_factors() {
        for [m, k, n] in [
            [1, 1, 1],
            [3, 5, 2],
            [8, 32, 32],
            [9, 33, 31],
            [70, 64, 100],
            [35, 131, 65],
            [2000, 160, 34],
        ] {
            let (a, b) = (random_values(m * k, 1), random_values(k * n, 2));
            let [x, y] = [&a, &b].map(|values| {
                let rounded = values.iter().map(|value| f64::from(rounded(*value)));
                rounded.collect::<Vec<f64>>()
            });
            let expected = |a: &dyn Fn(usize, usize) -> f64, b: &dyn Fn(usize, usize) -> f64| {
                let sum = |i| (0..k).map(|j| a(i / n, j) * b(j, i % n)).sum();
                (0..m * n).map(sum).collect::<Vec<f64>>()
            };
            let ways = [
                (
                    Matrix::new(&a, m, k),
                    Matrix::new(&b, k, n),
                    expected(&|i, j| x[i * k + j], &|j, i| y[j * n + i]),
                ),
                (
                    Matrix::new(&a, k, m).transposed(),
                    Matrix::new(&b, n, k).transposed(),
                    expected(&|i, j| x[j * m + i], &|j, i| y[i * k + j]),
                ),
            ];
            for (way, (a, b, expected)) in ways.iter().enumerate() {
                let all = at_each_level(|| {
                    let right = Right::new(*b, way == 0);
                    // A frame that must stay as it is.
                    let mut found = vec![7.0; m * (n + 1)];
                    for output in [Output::Replace, Output::Add] {
                        let mut to = MatrixMut::strided(&mut found, m, n, n + 1);
                        for columns in right.column_parts(2) {
                            let to = to.part(0..m, columns.clone());
                            right.product(to, output, Left::Float32(*a), columns);
                        }
                    }
                    found
                });
                for (level, found) in all {
                    let what = format!("{m} × {k} × {n}, {way}, {level:?}");
                    let rows = found.chunks(n + 1);
                    let inner: Vec<f32> = rows.clone().flat_map(|row| row[..n].to_vec()).collect();
                    let twice: Vec<f64> = expected.iter().map(|value| 2.0 * value).collect();
                    assert_close(&inner, &twice, 1e-6, &what);
                    assert!(rows.clone().all(|row| row[n] == 7.0), "{what}");
                }
            }
        }
    }

    /// Rows, the right factor and the left one's transpose, of pairs or rounded on the way.
    #[test]
    fn pairs_give_the_same_bits() {
        for [m, k, n] in [[2, 2, 2], [10, 34, 30], [70, 64, 100], [36, 132, 66]] {
            let (a, b) = (random_values(m * k, 1), random_values(k * n, 2));
            let transposed: Vec<f32> = (0..k * m).map(|i| a[i % m * k + i / m]).collect();
            let all = [&a, &b, &transposed].map(|numbers| pairs(numbers));
            let [Some(a_pairs), Some(b_pairs), Some(transposed)] = all else {
                return;
            };
            let product = |right: Right, a: Left| {
                let mut found = vec![0.0; m * n];
                let to = MatrixMut::new(&mut found, m, n);
                right.product(to, Output::Replace, a, 0..n);
                found
            };
            let right = || Right::new(Matrix::new(&b, k, n), false);
            let expected = product(right(), Left::Float32(Matrix::new(&a, m, k)));
            let a = Left::Pairs(Matrix::new(&a_pairs, m, k / 2));
            assert_eq!(product(right(), a), expected);
            let of_pairs = Right::of_pairs(Matrix::new(&b_pairs, k, n / 2));
            assert_eq!(product(of_pairs, a), expected);
            let a = Left::TransposedPairs(Matrix::new(&transposed, k, m / 2));
            assert_eq!(product(right(), a), expected);
        }
    }

    #[test]
    #[should_panic(expected = "shapes of a product")]
    fn shapes_that_do_not_fit_are_refused() {
        let right = Right::new(Matrix::new(&[0.0; 6], 3, 2), false);
        let mut to = [0.0; 4];
        let a = Matrix::new(&[0.0; 4], 2, 2);
        let a = Left::Float32(a);
        right.product(MatrixMut::new(&mut to, 2, 2), Output::Replace, a, 0..2);
    }
}
