//! Matrix products.
//!
//! A right factor is [made ready](Right) once; then it is multiplied by left factors, on this
//! thread or on all. What a product does with its sums is its [`Finish`].

#[cfg(target_arch = "x86_64")]
mod avx512_bf16;
mod finish;
mod fma;
mod kernels;
mod matrix;
mod packing;
mod share;
mod tiles;

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use super::buffer::with_scratch;
use super::element::Element;
use super::memory::Buffer;
use super::simd::vectorized;
use crate::Precision;
use kernels::{Multiplier, PairKernel};
use packing::{BLOCK_ROWS, PANEL, pack_panel, pack_rows, packed_length};
use share::{ByTiles, Panels, Share};

pub(crate) use finish::{Finish, Write};
pub(crate) use fma::{Output, product};
pub(crate) use kernels::{has_kernel, kernel_of};
pub(crate) use matrix::{Matrix, MatrixMut};

/// Multiplications below which a second thread costs more than it brings.
const WORTH_A_THREAD: usize = 1 << 19;

/// Rows and columns up to which `gemm` adds up in another order than in larger outputs.
const SMALL: usize = 64;

/// Rows or columns of a thread's part at least: of one, `gemm` adds up in a third order.
const MIN_PART: usize = 8;

/// Rows of a left factor for which no right factor is split: that takes longer than to
/// multiply it in float32. One more, and an element is the same sum for any number of rows.
const FEW_ROWS: usize = 2;

/// A factor of a product.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Factor<'a> {
    Float32(Matrix<'a>),
    BFloat16(Matrix<'a, bf16>),
}

impl Factor<'_> {
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Float32(matrix) => matrix.rows(),
            Self::BFloat16(matrix) => matrix.rows(),
        }
    }

    pub(crate) fn columns(&self) -> usize {
        self.transposed().rows()
    }

    pub(crate) fn transposed(self) -> Self {
        match self {
            Self::Float32(matrix) => Self::Float32(matrix.transposed()),
            Self::BFloat16(matrix) => Self::BFloat16(matrix.transposed()),
        }
    }

    pub(crate) fn row_range(self, rows: Range<usize>) -> Self {
        match self {
            Self::Float32(matrix) => Self::Float32(matrix.row_range(rows)),
            Self::BFloat16(matrix) => Self::BFloat16(matrix.row_range(rows)),
        }
    }

    pub(crate) fn column_range(self, columns: Range<usize>) -> Self {
        self.transposed().row_range(columns).transposed()
    }

    /// Writes the elements in float32, row after row, rounded to bfloat16.
    fn write_rounded(self, to: &mut [f32]) {
        match self {
            Self::Float32(matrix) => write_rounded(matrix, to),
            Self::BFloat16(matrix) => write_rounded(matrix, to),
        }
    }
}

fn write_rounded<T: Element>(matrix: Matrix<T>, to: &mut [f32]) {
    for (row, to) in to.chunks_exact_mut(matrix.columns().max(1)).enumerate() {
        match matrix.column_stride() {
            1 => round_row(matrix.row(row), to),
            _ => (to.iter_mut().enumerate()).for_each(|(column, to)| {
                *to = <bf16 as Element>::round(matrix.at(row, column).widen()).widen();
            }),
        }
    }
}

vectorized! {
    fn round_row<T: Element>(row: &[T], to: &mut [f32]) {
        for (to, number) in to.iter_mut().zip(row) {
            *to = <bf16 as Element>::round(number.widen()).widen();
        }
    }
}

/// The left factor of a product.
#[derive(Clone, Copy)]
pub(crate) enum Left<'a> {
    /// As it is.
    Factor(Factor<'a>),
    /// Made ready for several products by [`with_left`].
    Packed {
        pairs: &'a [u32],
        parts: usize,
        rows: usize,
        depth: usize,
    },
}

impl<'a> From<Factor<'a>> for Left<'a> {
    fn from(factor: Factor<'a>) -> Self {
        Self::Factor(factor)
    }
}

impl Left<'_> {
    fn rows(&self) -> usize {
        match self {
            Self::Factor(factor) => factor.rows(),
            Self::Packed { rows, .. } => *rows,
        }
    }

    fn depth(&self) -> usize {
        match self {
            Self::Factor(factor) => factor.columns(),
            Self::Packed { depth, .. } => *depth,
        }
    }

    /// The factor that it is, for kernels that pack none.
    fn factor(&self) -> Factor<'_> {
        match self {
            Self::Factor(factor) => *factor,
            Self::Packed { .. } => unreachable!("packed for another kernel"),
        }
    }
}

/// Whether a product of float32 is worth splitting its factors.
fn is_worth_parts(parts: usize, rows: usize) -> bool {
    parts == 1 || rows > FEW_ROWS
}

/// Makes a left factor ready for several products of a precision on this thread.
pub(crate) fn with_left<R>(
    factor: Factor,
    precision: Precision,
    work: impl FnOnce(Left) -> R,
) -> R {
    let (rows, depth) = (factor.rows(), factor.columns());
    match Multiplier::for_precision(precision) {
        Multiplier::Parts(_, parts) if is_worth_parts(parts, rows) => {
            let length = rows.div_ceil(BLOCK_ROWS) * packed_length(depth, parts);
            with_scratch(length, |pairs| {
                pack_rows(factor, parts, pairs);
                work(Left::Packed {
                    pairs,
                    parts,
                    rows,
                    depth,
                })
            })
        }
        _ => work(factor.into()),
    }
}

/// The right factor of products, made ready once for all of them.
pub(crate) struct Right<'a> {
    form: Form<'a>,
    depth: usize,
    columns: usize,
}

enum Form<'a> {
    /// As it is, for products in float32.
    Float32(Matrix<'a>),
    /// Numbers of bfloat16 in float32, `[depth, columns]`.
    Rounded(Buffer),
    /// [Packed](packing) in so many parts.
    Panels {
        kernel: PairKernel,
        parts: usize,
        pairs: Buffer<u32>,
    },
}

impl<'a> Right<'a> {
    /// Makes a factor ready, on all threads, for left ones of so many rows.
    pub(crate) fn new(factor: Factor<'a>, precision: Precision, rows: usize) -> Self {
        Self::by(Self::multiplier(factor, precision, rows), factor, true)
    }

    /// Makes a factor ready on this thread, for a left one.
    pub(crate) fn here(factor: Factor<'a>, precision: Precision, left: &Left) -> Self {
        let multiplier = match left {
            Left::Factor(left) => Self::multiplier(factor, precision, left.rows()),
            Left::Packed { .. } => Multiplier::for_precision(precision),
        };
        Self::by(multiplier, factor, false)
    }

    fn multiplier(factor: Factor, precision: Precision, rows: usize) -> Multiplier {
        match (Multiplier::for_precision(precision), factor) {
            // It has no exact form but this.
            (Multiplier::Fma, Factor::BFloat16(_)) => Multiplier::RoundedFma,
            (Multiplier::Parts(_, parts), Factor::Float32(_)) if !is_worth_parts(parts, rows) => {
                Multiplier::Fma
            }
            (multiplier, _) => multiplier,
        }
    }

    fn by(multiplier: Multiplier, factor: Factor<'a>, in_parallel: bool) -> Self {
        let (depth, columns) = (factor.rows(), factor.columns());
        let form = match (multiplier, factor) {
            (Multiplier::Fma, Factor::Float32(factor)) => Form::Float32(factor),
            (Multiplier::Fma | Multiplier::RoundedFma, _) => {
                let mut rounded = Buffer::any(depth * columns);
                let round = |(row, to): (usize, &mut [f32])| {
                    factor.row_range(row..row + 1).write_rounded(to);
                };
                each_chunk(&mut rounded, columns, in_parallel, round);
                Form::Rounded(rounded)
            }
            (Multiplier::Parts(kernel, parts), _) => {
                let length = packed_length(depth, parts);
                let mut pairs = Buffer::any(columns.div_ceil(PANEL) * length);
                each_chunk(&mut pairs, length, in_parallel, |(index, to)| {
                    let first = index * PANEL;
                    let columns = first..columns.min(first + PANEL);
                    pack_panel(factor.column_range(columns), parts, to);
                });
                Form::Panels {
                    kernel,
                    parts,
                    pairs,
                }
            }
        };
        Self {
            form,
            depth,
            columns,
        }
    }

    /// Computes the product with `left` on this thread.
    ///
    /// An element is the same sum in the same order whatever the factors' other rows and columns,
    /// as long as there are more than two rows and 64 columns.
    pub(crate) fn multiply<'l, T: Element>(
        &self,
        to: MatrixMut<T>,
        finish: &Finish<T>,
        left: impl Into<Left<'l>>,
    ) {
        let left = left.into();
        self.multiply_part(to, finish, left, [0..left.rows(), 0..self.columns]);
    }

    /// Computes the product with `left` on all threads.
    pub(crate) fn parallel_multiply<'l, T: Element>(
        &self,
        to: MatrixMut<T>,
        finish: &Finish<T>,
        left: impl Into<Left<'l>>,
    ) {
        let left = left.into();
        let threads = rayon::current_num_threads();
        let (rows, columns) = (left.rows(), self.columns);
        if threads == 1 || rows * self.depth * columns < WORTH_A_THREAD {
            return self.multiply(to, finish, left);
        }
        // `gemm` packs both factors for each part: few parts, all small or none.
        let (row_unit, column_unit, turns, min_part) = match &self.form {
            Form::Panels { .. } => (BLOCK_ROWS, PANEL, 4, 2 * PANEL),
            _ if rows <= SMALL && columns <= SMALL => (1, 1, 1, MIN_PART),
            _ => (1, 1, 1, SMALL + 1),
        };
        let divide = |size: usize, unit: usize, turns: usize| {
            let parts = (threads * turns).min(size / min_part).max(1);
            let bound = move |part: usize| (part * size / parts).next_multiple_of(unit).min(size);
            (0..parts).map(move |part| bound(part)..bound(part + 1))
        };
        let parts: Vec<[Range<usize>; 2]> = if columns <= rows || rows >= threads * turns * 64 {
            divide(rows, row_unit, turns)
                .map(|rows| [rows, 0..columns])
                .collect()
        } else {
            divide(columns, column_unit, 1)
                .map(|columns| [0..rows, columns])
                .collect()
        };
        // The parts are disjoint.
        let parts = parts.into_iter().map(|part| {
            let [rows, columns] = part.clone();
            (to.shared(rows, columns), part)
        });
        let parts: Vec<_> = parts.collect();
        parts.into_par_iter().for_each(|(to, part)| {
            self.multiply_part(to, finish, left, part);
        });
    }

    /// Computes some rows of `left` times some columns, which start at a panel.
    fn multiply_part<T: Element>(
        &self,
        to: MatrixMut<T>,
        finish: &Finish<T>,
        left: Left,
        [rows, columns]: [Range<usize>; 2],
    ) {
        assert_eq!(
            [to.rows(), to.columns(), left.depth()],
            [rows.len(), columns.len(), self.depth],
            "shapes of a product"
        );
        let share = Share {
            finish,
            left,
            rows,
            columns,
        };
        match &self.form {
            Form::Float32(right) => share.by_fma(to, *right, false),
            Form::Rounded(right) => {
                let right = Matrix::new(right, self.depth, self.columns);
                share.by_fma(to, right, true);
            }
            Form::Panels {
                kernel,
                parts,
                pairs,
            } => {
                let panels = Panels {
                    pairs,
                    depth: self.depth,
                    parts: *parts,
                };
                match *kernel {
                    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
                    PairKernel::Amx(amx) => {
                        share.by_panels(to, panels, &mut ByTiles(amx.configure()));
                    }
                    PairKernel::Model => {
                        share.by_panels(to, panels, &mut ByTiles(tiles::model::Model::new()));
                    }
                    #[cfg(target_arch = "x86_64")]
                    PairKernel::Avx512(mut instructions) => {
                        share.by_panels(to, panels, &mut instructions);
                    }
                }
            }
        }
    }
}

fn each_chunk<T: Send>(
    elements: &mut [T],
    length: usize,
    in_parallel: bool,
    work: impl Fn((usize, &mut [T])) + Send + Sync,
) {
    let length = length.max(1);
    match in_parallel {
        true => elements.par_chunks_mut(length).enumerate().for_each(work),
        false => elements.chunks_mut(length).enumerate().for_each(work),
    }
}

#[cfg(test)]
mod tests;
