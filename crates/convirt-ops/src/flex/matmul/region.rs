//! A region of a matrix product's output, which one thread computes, and in which order.
//!
//! ```text
//!            group of panels, 512 KiB
//!          ┌───────┬───────┬───────┐
//!          │ panel │ panel │ …     │        for each group of panels:
//!          └───────┴───────┴───────┘          for each block of 32 rows:
//!   ┌────┐ ┌───────┬───────┬───────┐            for each panel of 32 columns:
//!   │blk │ │ 1     │ 2     │ 3     │              32 × 32 sums over the whole depth, then Finish
//!   │blk │ │ 4     │ 5     │ 6     │
//!   └────┘ └───────┴───────┴───────┘
//!   rows packed at a time, 512 KiB
//! ```
//!
//! A group of panels and a group of rows together fill half of a second cache of 2 MiB: panels are
//! read from it for each block of rows, and a block's rows for each panel.

use std::ops::Range;

use half::bf16;

#[cfg(target_arch = "x86_64")]
use super::avx512_bf16::Instructions;
use super::fma::{Output, matmul_float32};
use super::matrix::{Matrix, MatrixMut};
use super::packing::{BLOCK_ROWS, PANEL, STEP, pack_rows, packed_length};
use super::tiles::{self, LeftBlock, Sums, Tiles};
use super::{Factor, Finish, Left, divide};
use crate::flex::element::Element;
use crate::flex::tensor::with_scratch;

/// Bytes of rows packed at a time: a quarter of a second cache of 2 MiB.
const LEFT_BYTES: usize = 1 << 19;

/// Bytes of the panels of a group, which stay in the second cache for all blocks of rows: another
/// quarter.
const RIGHT_BYTES: usize = 1 << 19;

/// Float32 elements of intermediate sums, or of rounded rows, at a time: 1 to 2 MiB, as much as a
/// second cache.
const STRIP: usize = 1 << 18;

/// Rows of a strip at least, if the region has as many. `gemm` packs the right factor for each
/// strip; with so many rows the packing is a small part of the work. No fewer than
/// [`min_part`](super::min_part).
const STRIP_ROWS: usize = 288;

/// A region of the output that one thread computes.
pub(super) struct Region<'a, T> {
    pub(super) finish: &'a Finish<'a, T>,
    pub(super) left: Left<'a>,
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
}

/// A packed right factor.
#[derive(Clone, Copy)]
pub(super) struct Panels<'a> {
    pub(super) pairs: &'a [u32],
    pub(super) depth: usize,
    pub(super) parts: usize,
}

/// A kernel that computes blocks of sums from packed factors.
pub(super) trait BlockKernel {
    /// Computes the sums of a block's first rows times a panel.
    ///
    /// # Safety
    ///
    /// The block must have its rows in memory: 16 for up to 16 `rows`, and 32 for more.
    unsafe fn block(
        &mut self,
        left: LeftBlock,
        rows: usize,
        panel: &[u32],
        parts: usize,
        sums: &mut Sums,
    );
}

/// The kernel on tiles, or on their model.
pub(super) struct TileKernel<T>(pub(super) T);

impl<T: Tiles> BlockKernel for TileKernel<T> {
    #[inline]
    unsafe fn block(
        &mut self,
        left: LeftBlock,
        rows: usize,
        panel: &[u32],
        parts: usize,
        sums: &mut Sums,
    ) {
        let tiles = &mut self.0;
        // SAFETY: as this function demands.
        unsafe {
            if rows > BLOCK_ROWS / 2 {
                tiles::block::<T, true>(tiles, left, panel, parts, sums);
            } else {
                tiles::block::<T, false>(tiles, left, panel, parts, sums);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl BlockKernel for Instructions {
    #[inline]
    unsafe fn block(
        &mut self,
        left: LeftBlock,
        rows: usize,
        panel: &[u32],
        _: usize,
        sums: &mut Sums,
    ) {
        // SAFETY: as this function demands.
        unsafe {
            Instructions::block(*self, left, rows, panel, sums);
        }
    }
}

impl<T: Element> Region<'_, T> {
    /// Computes the region in float32, from a left factor rounded to bfloat16 if `is_rounded`.
    pub(super) fn multiply_float32(
        &self,
        mut target: MatrixMut<T>,
        right: Matrix,
        is_rounded: bool,
    ) {
        let (depth, columns) = (right.rows(), self.columns.clone());
        let right = right.column_range(columns.clone());
        let left = self.left.factor().row_range(self.rows.clone());
        let unrounded = match left {
            Factor::Float32(left) if !is_rounded => Some(left),
            _ => None,
        };
        let is_plain = !matches!(self.finish, Finish::With(_));
        if let (Some(left), true) = (unrounded, is_plain) {
            match T::float32(target) {
                Ok(target) => return self.multiply_into(target, left, right),
                Err(other) => target = other,
            }
        }
        let strip = (STRIP / depth.max(columns.len()).max(1)).max(STRIP_ROWS);
        // Strips of at least this size, so that none is smaller than `min_part`.
        for rows in divide(left.rows(), (left.rows() / strip).max(1)) {
            let mut target = target.part(rows.clone(), 0..columns.len());
            let left = left.row_range(rows.clone());
            let length = if unrounded.is_some() {
                0
            } else {
                rows.len() * depth
            };
            with_scratch(length, |rounded: &mut [f32]| {
                let left = match left {
                    Factor::Float32(left) if !is_rounded => left,
                    left => {
                        left.write_rounded(rounded);
                        Matrix::new(rounded, rows.len(), depth)
                    }
                };
                with_scratch(rows.len() * columns.len(), |sums| {
                    let sum_matrix = MatrixMut::new(sums, rows.len(), columns.len());
                    matmul_float32(sum_matrix, Output::Replace, left, right);
                    let sums = Matrix::new(sums, rows.len(), columns.len());
                    let first = [self.rows.start + rows.start, columns.start];
                    self.finish.apply(first, sums, target.reborrow());
                });
            });
        }
    }

    /// Computes the region straight into an output of float32.
    fn multiply_into(&self, mut target: MatrixMut, left: Matrix, right: Matrix) {
        let output = match self.finish {
            Finish::Replace => Output::Replace,
            Finish::Add => Output::Add,
            Finish::Bias(bias) => {
                for row in 0..target.rows() {
                    target
                        .row_mut(row)
                        .copy_from_slice(&bias[self.columns.clone()]);
                }
                Output::Add
            }
            Finish::With(_) => unreachable!("the function needs the sums in scratch memory"),
        };
        matmul_float32(target, output, left, right);
    }

    /// Computes the region by products of packed pairs.
    pub(super) fn multiply_panels(
        &self,
        mut target: MatrixMut<T>,
        panels: Panels,
        kernel: &mut impl BlockKernel,
    ) {
        let steps = panels.depth.div_ceil(STEP);
        let first_unpacked = match self.left {
            Left::Packed { pairs, parts, .. } => {
                assert!(parts == panels.parts && self.rows.start.is_multiple_of(BLOCK_ROWS));
                let length = packed_length(panels.depth, parts);
                let block = |row: usize| {
                    let packed = &pairs[row / BLOCK_ROWS * length..][..length];
                    LeftBlock::packed(packed, steps, parts)
                };
                // SAFETY: whole blocks are packed.
                return unsafe {
                    self.blocks(&mut target, self.rows.clone(), block, panels, kernel)
                };
            }
            // Rows of bfloat16 that fill whole steps have a tile's layout already.
            Left::Factor(Factor::BFloat16(left))
                if panels.parts == 1
                    && left.column_stride() == 1
                    && panels.depth.is_multiple_of(STEP) =>
            {
                let whole = self.rows.len() / BLOCK_ROWS * BLOCK_ROWS;
                let rows = self.rows.start..self.rows.start + whole;
                let stride = left.row_stride() * size_of::<bf16>();
                let block = |row: usize| LeftBlock {
                    first: left
                        .row_range(row..row + BLOCK_ROWS)
                        .elements()
                        .as_ptr()
                        .cast(),
                    row: stride,
                    tile: BLOCK_ROWS / 2 * stride,
                    part: 0,
                    step: STEP * size_of::<bf16>(),
                    steps,
                };
                // SAFETY: the matrix has these rows, and each its depth.
                unsafe { self.blocks(&mut target, rows.clone(), block, panels, kernel) };
                rows.end
            }
            _ => self.rows.start,
        };
        let length = packed_length(panels.depth, panels.parts);
        let bytes = (length * size_of::<u32>()).max(1);
        let group = (LEFT_BYTES / bytes).max(1) * BLOCK_ROWS;
        for first in (first_unpacked..self.rows.end).step_by(group) {
            let rows = first..self.rows.end.min(first + group);
            let left = self.left.factor().row_range(rows.clone());
            with_scratch(rows.len().div_ceil(BLOCK_ROWS) * length, |packed| {
                pack_rows(left, panels.parts, packed);
                let block = |row: usize| {
                    let packed = &packed[(row - first) / BLOCK_ROWS * length..][..length];
                    LeftBlock::packed(packed, steps, panels.parts)
                };
                // SAFETY: whole blocks of them are packed.
                unsafe { self.blocks(&mut target, rows, block, panels, kernel) };
            });
        }
    }

    /// Computes some rows; `block` returns the block that starts at a row.
    ///
    /// # Safety
    ///
    /// Blocks of all rows must be in memory.
    unsafe fn blocks(
        &self,
        target: &mut MatrixMut<T>,
        rows: Range<usize>,
        block: impl Fn(usize) -> LeftBlock,
        panels: Panels,
        kernel: &mut impl BlockKernel,
    ) {
        let mut sums = Sums([0.0; _]);
        let length = packed_length(panels.depth, panels.parts);
        let group = (RIGHT_BYTES / (length * size_of::<u32>()).max(1)).max(1) * PANEL;
        for start in self.columns.clone().step_by(group) {
            let columns = start..self.columns.end.min(start + group);
            for first in rows.clone().step_by(BLOCK_ROWS) {
                let end = rows.end.min(first + BLOCK_ROWS);
                let left = block(first);
                for column in columns.clone().step_by(PANEL) {
                    let panel = column..columns.end.min(column + PANEL);
                    let pairs = &panels.pairs[column / PANEL * length..][..length];
                    // SAFETY: the block is in memory, as this function demands.
                    unsafe { kernel.block(left, end - first, pairs, panels.parts, &mut sums) };
                    let block_sums = Matrix::strided(&sums.0, end - first, panel.len(), PANEL);
                    let target = target.part(
                        first - self.rows.start..end - self.rows.start,
                        panel.start - self.columns.start..panel.end - self.columns.start,
                    );
                    self.finish.apply([first, column], block_sums, target);
                }
            }
        }
    }
}
