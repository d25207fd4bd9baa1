//! Matrix products.
//!
//! A right factor is [prepared](Right) once; then left factors are multiplied by it, on one thread
//! or on all. [`Finish`] says how the sums are written to the output. Each thread computes a
//! [`Region`] of the output:
//!
//! ```text
//!                     columns of the right factor
//!                   ┌──────────┬──────────┬──────────┐
//!                   │ panel 0  │ panel 1  │ …        │  depth (panels are packed once)
//!                   └──────────┴──────────┴──────────┘
//!          depth
//!        ┌────────┐ ┌──────────┬──────────┬──────────┐
//!   rows │ block 0│ │ 32 × 32  │ 32 × 32  │ …        │ ┐
//!        │ block 1│ │ sums     │ sums     │          │ ├ region of thread 0
//!        │ …      │ │          │          │          │ ┘
//!        ├────────┤ ├──────────┼──────────┼──────────┤
//!        │        │ │          │          │          │ ┐ region of thread 1
//!        └────────┘ └──────────┴──────────┴──────────┘ ┘
//! ```
//!
//! Outputs with more columns than rows are divided by columns instead. The tiles of a block of sums
//! are drawn in [`tiles`], the layout of packed factors in [`packing`].
//!
//! Each element is one sum over the whole depth, in the same order in every division: the result
//! does not depend on the number of threads. `gemm` needs parts of a [minimal size](min_part) for
//! that.

mod matrix;
mod finish;
mod fma;
mod packing;
mod tiles;
#[cfg(target_arch = "x86_64")]
mod avx512_bf16;
mod region;
mod kernels;

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use super::buffer_pool::Buffer;
use super::element::Element;
use super::simd::vectorized;
use super::tensor::with_scratch;
use crate::Precision;
use fma::GEMM_SMALL_OUTPUT;
use kernels::{Multiplier, PairKernel};
use packing::{BLOCK_ROWS, PANEL, pack_panel, pack_rows, packed_length};
use region::{Panels, Region, TileKernel};

pub(crate) use finish::{Finish, Write};
pub(crate) use fma::{Output, matmul_float32};
pub(crate) use kernels::{chosen_kernel, has_kernel};
pub(crate) use matrix::{Matrix, MatrixMut};

/// Multiplications below which one thread computes the whole product: half a million take about
/// 10 µs, as long as it takes to wake the other threads.
const MIN_PARALLEL_WORK: usize = 1 << 19;

/// Rows and columns up to which `gemm` adds up in another order than in larger outputs.
const GEMM_SMALL_SIDE: usize = 64;

/// Rows or columns of a thread's region of a small output at least: for a single row or column
/// `gemm` adds up in a third order.
const MIN_REGION_SIDE: usize = 8;

/// Rows of a left factor up to which the right factor is not split into parts, because splitting it
/// takes longer than multiplying it in float32. From three rows on, an element is the same sum for
/// any number of rows.
const MAX_UNSPLIT_ROWS: usize = 2;

/// Rows that a part of an output has at least, if it has `columns` columns and the whole has more
/// rows than that; or columns, given the rows. `gemm` adds up the elements of smaller outputs in
/// another order.
pub(crate) fn min_part(columns: usize) -> usize {
    match columns {
        1 => GEMM_SMALL_OUTPUT + 1,
        _ => GEMM_SMALL_SIDE + 1,
    }
}

/// Divides a length evenly.
pub(crate) fn divide(length: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let bound = move |part: usize| part * length / parts;
    (0..parts).map(move |part| bound(part)..bound(part + 1))
}

/// A factor of a matrix product.
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
    fn write_rounded(self, target: &mut [f32]) {
        match self {
            Self::Float32(matrix) => write_rounded(matrix, target),
            Self::BFloat16(matrix) => write_rounded(matrix, target),
        }
    }
}

fn write_rounded<T: Element>(matrix: Matrix<T>, target: &mut [f32]) {
    for (row, target) in target.chunks_exact_mut(matrix.columns().max(1)).enumerate() {
        match matrix.column_stride() {
            1 => round_row(matrix.row(row), target),
            _ => (target.iter_mut().enumerate()).for_each(|(column, target)| {
                *target = <bf16 as Element>::round(matrix.at(row, column).widen()).widen();
            }),
        }
    }
}

vectorized! {
    fn round_row<T: Element>(row: &[T], target: &mut [f32]) {
        for (target, number) in target.iter_mut().zip(row) {
            *target = <bf16 as Element>::round(number.widen()).widen();
        }
    }
}

/// The left factor of a matrix product.
#[derive(Clone, Copy)]
pub(crate) enum Left<'a> {
    /// Not packed.
    Factor(Factor<'a>),
    /// Packed for several products by [`with_left`].
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

    /// The factor, for kernels that take it as it is.
    fn factor(&self) -> Factor<'_> {
        match self {
            Self::Factor(factor) => *factor,
            Self::Packed { .. } => unreachable!("packed for another kernel"),
        }
    }
}

/// Whether splitting the factors into parts pays off.
fn pays_to_split(parts: usize, rows: usize) -> bool {
    parts == 1 || rows > MAX_UNSPLIT_ROWS
}

/// Packs a left factor for several products on this thread, if the precision's kernel needs it
/// packed.
pub(crate) fn with_left<R>(
    factor: Factor,
    precision: Precision,
    work: impl FnOnce(Left) -> R,
) -> R {
    let (rows, depth) = (factor.rows(), factor.columns());
    match Multiplier::for_precision(precision) {
        Multiplier::Parts(_, parts) if pays_to_split(parts, rows) => {
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

/// The right factor of matrix products, prepared once for all of them.
pub(crate) struct Right<'a> {
    form: Form<'a>,
    depth: usize,
    columns: usize,
}

enum Form<'a> {
    /// As it is, for products in float32.
    Float32(Matrix<'a>),
    /// Rounded to bfloat16 and stored in float32, `[depth, columns]`.
    Rounded(Buffer),
    /// [Packed](packing) in `parts` parts.
    Panels {
        kernel: PairKernel,
        parts: usize,
        pairs: Buffer<u32>,
    },
}

impl<'a> Right<'a> {
    /// Prepares a factor on all threads, for left factors of `rows` rows.
    pub(crate) fn new(factor: Factor<'a>, precision: Precision, rows: usize) -> Self {
        Self::for_multiplier(Self::multiplier(factor, precision, rows), factor, true)
    }

    /// Prepares a factor on this thread, for a left factor.
    pub(crate) fn on_this_thread(factor: Factor<'a>, precision: Precision, left: &Left) -> Self {
        let multiplier = match left {
            Left::Factor(left) => Self::multiplier(factor, precision, left.rows()),
            Left::Packed { .. } => Multiplier::for_precision(precision),
        };
        Self::for_multiplier(multiplier, factor, false)
    }

    fn multiplier(factor: Factor, precision: Precision, rows: usize) -> Multiplier {
        match (Multiplier::for_precision(precision), factor) {
            // Rounding a factor of bfloat16 to bfloat16 is exact.
            (Multiplier::Fma, Factor::BFloat16(_)) => Multiplier::RoundedFma,
            (Multiplier::Parts(_, parts), Factor::Float32(_)) if !pays_to_split(parts, rows) => {
                Multiplier::Fma
            }
            (multiplier, _) => multiplier,
        }
    }

    fn for_multiplier(multiplier: Multiplier, factor: Factor<'a>, in_parallel: bool) -> Self {
        let (depth, columns) = (factor.rows(), factor.columns());
        let form = match (multiplier, factor) {
            (Multiplier::Fma, Factor::Float32(factor)) => Form::Float32(factor),
            (Multiplier::Fma | Multiplier::RoundedFma, _) => {
                let mut rounded = Buffer::unspecified(depth * columns);
                let round = |(row, output): (usize, &mut [f32])| {
                    factor.row_range(row..row + 1).write_rounded(output);
                };
                for_each_chunk(&mut rounded, columns, in_parallel, round);
                Form::Rounded(rounded)
            }
            (Multiplier::Parts(kernel, parts), _) => {
                let length = packed_length(depth, parts);
                let mut pairs = Buffer::unspecified(columns.div_ceil(PANEL) * length);
                for_each_chunk(&mut pairs, length, in_parallel, |(index, panel)| {
                    let first = index * PANEL;
                    let columns = first..columns.min(first + PANEL);
                    pack_panel(factor.column_range(columns), parts, panel);
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
    /// if there are more than two rows and more than 64 columns.
    pub(crate) fn multiply<'l, T: Element>(
        &self,
        target: MatrixMut<T>,
        finish: &Finish<T>,
        left: impl Into<Left<'l>>,
    ) {
        let left = left.into();
        self.multiply_region(target, finish, left, [0..left.rows(), 0..self.columns]);
    }

    /// Computes the product with `left` on all threads.
    pub(crate) fn parallel_multiply<'l, T: Element>(
        &self,
        target: MatrixMut<T>,
        finish: &Finish<T>,
        left: impl Into<Left<'l>>,
    ) {
        let left = left.into();
        let threads = rayon::current_num_threads();
        let (rows, columns) = (left.rows(), self.columns);
        if threads == 1 || rows * self.depth * columns < MIN_PARALLEL_WORK {
            return self.multiply(target, finish, left);
        }
        // Panels: four regions a thread even out threads of different speed. `gemm` packs both
        // factors for each region, so one region a thread; all must be small or none.
        let (row_unit, column_unit, regions_per_thread, min_side) = match &self.form {
            Form::Panels { .. } => (BLOCK_ROWS, PANEL, 4, 2 * PANEL),
            _ if rows <= GEMM_SMALL_SIDE && columns <= GEMM_SMALL_SIDE => {
                (1, 1, 1, MIN_REGION_SIDE)
            }
            _ => (1, 1, 1, min_part(rows.min(columns))),
        };
        let divide = |size: usize, unit: usize, regions_per_thread: usize| {
            let parts = (threads * regions_per_thread).min(size / min_side).max(1);
            let bound = move |bound: usize| bound.next_multiple_of(unit).min(size);
            divide(size, parts).map(move |part| bound(part.start)..bound(part.end))
        };
        let by_rows = columns <= rows || rows >= threads * regions_per_thread * 64;
        let regions: Vec<[Range<usize>; 2]> = if by_rows {
            divide(rows, row_unit, regions_per_thread)
                .map(|rows| [rows, 0..columns])
                .collect()
        } else {
            divide(columns, column_unit, 1)
                .map(|columns| [0..rows, columns])
                .collect()
        };
        // The regions are disjoint.
        let regions = regions.into_iter().map(|region| {
            let [rows, columns] = region.clone();
            (target.shared(rows, columns), region)
        });
        let regions: Vec<_> = regions.collect();
        regions.into_par_iter().for_each(|(target, region)| {
            self.multiply_region(target, finish, left, region);
        });
    }

    /// Computes some rows of `left` times some columns, the first of which starts a panel.
    fn multiply_region<T: Element>(
        &self,
        target: MatrixMut<T>,
        finish: &Finish<T>,
        left: Left,
        [rows, columns]: [Range<usize>; 2],
    ) {
        assert_eq!(
            [target.rows(), target.columns(), left.depth()],
            [rows.len(), columns.len(), self.depth],
            "shapes of a matrix product"
        );
        let region = Region {
            finish,
            left,
            rows,
            columns,
        };
        match &self.form {
            Form::Float32(right) => region.multiply_float32(target, *right, false),
            Form::Rounded(right) => {
                let right = Matrix::new(right, self.depth, self.columns);
                region.multiply_float32(target, right, true);
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
                        region.multiply_panels(target, panels, &mut TileKernel(amx.configure()));
                    }
                    PairKernel::Model => {
                        region.multiply_panels(
                            target,
                            panels,
                            &mut TileKernel(tiles::model::Model::new()),
                        );
                    }
                    #[cfg(target_arch = "x86_64")]
                    PairKernel::Avx512(mut instructions) => {
                        region.multiply_panels(target, panels, &mut instructions);
                    }
                }
            }
        }
    }
}

fn for_each_chunk<T: Send>(
    elements: &mut [T],
    length: usize,
    in_parallel: bool,
    work: impl Fn((usize, &mut [T])) + Send + Sync,
) {
    let length = length.max(1);
    if in_parallel {
        elements.par_chunks_mut(length).enumerate().for_each(work);
    } else {
        elements.chunks_mut(length).enumerate().for_each(work);
    }
}

#[cfg(test)]
mod tests;
