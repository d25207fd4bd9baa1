//! What one thread computes of a product, and in which order.

use std::ops::Range;

use half::bf16;

#[cfg(target_arch = "x86_64")]
use super::avx512_bf16::Instructions;
use super::fma::{Output, product};
use super::matrix::{Matrix, MatrixMut};
use super::packing::{BLOCK_ROWS, PANEL, STEP, pack_rows, packed_length};
use super::tiles::{self, LeftBlock, Sums, Tiles};
use super::{Factor, Finish, Left};
use crate::flex::buffer::with_scratch;
use crate::flex::element::Element;

/// Bytes of packed rows made at a time.
const LEFT_BYTES: usize = 1 << 19;

/// Bytes of panels that stay in a second cache for several blocks of rows.
const RIGHT_BYTES: usize = 1 << 19;

/// Float32 elements of intermediate sums, or of rounded rows, at a time: 2 MiB.
const STRIP: usize = 1 << 19;

/// Rows of them at least, for `gemm` packs the right factor each time.
const STRIP_ROWS: usize = 256;

/// What one thread computes of a product.
pub(super) struct Share<'a, T> {
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

/// What computes blocks of sums of packed factors.
pub(super) trait BlockKernel {
    /// Computes the sums of a block's first rows times a panel.
    ///
    /// # Safety
    ///
    /// The block must have its rows in memory: 16 for up to 16 wanted, or else 32.
    unsafe fn block(
        &mut self,
        left: LeftBlock,
        rows: usize,
        panel: &[u32],
        parts: usize,
        sums: &mut Sums,
    );
}

/// Tiles, or their model.
pub(super) struct ByTiles<T>(pub(super) T);

impl<T: Tiles> BlockKernel for ByTiles<T> {
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
            match rows > BLOCK_ROWS / 2 {
                true => tiles::block::<T, true>(tiles, left, panel, parts, sums),
                false => tiles::block::<T, false>(tiles, left, panel, parts, sums),
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

impl<T: Element> Share<'_, T> {
    /// Computes the part in float32; `is_rounded` of a left factor rounded to bfloat16.
    pub(super) fn by_fma(&self, mut to: MatrixMut<T>, right: Matrix, is_rounded: bool) {
        let (depth, columns) = (right.rows(), self.columns.clone());
        let right = right.column_range(columns.clone());
        let left = self.left.factor().row_range(self.rows.clone());
        let as_it_is = match left {
            Factor::Float32(left) if !is_rounded => Some(left),
            _ => None,
        };
        let is_plain = !matches!(self.finish, Finish::With(_));
        if let (Some(left), true) = (as_it_is, is_plain) {
            match T::float32(to) {
                Ok(to) => return self.product(to, left, right),
                Err(other) => to = other,
            }
        }
        let strip = (STRIP / depth.max(columns.len()).max(1)).max(STRIP_ROWS);
        for first in (0..left.rows()).step_by(strip) {
            let rows = first..left.rows().min(first + strip);
            let mut to = to.part(rows.clone(), 0..columns.len());
            let left = left.row_range(rows.clone());
            let length = if as_it_is.is_some() {
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
                    let of_sums = MatrixMut::new(sums, rows.len(), columns.len());
                    product(of_sums, Output::Replace, left, right);
                    let sums = Matrix::new(sums, rows.len(), columns.len());
                    let at = [self.rows.start + rows.start, columns.start];
                    self.finish.apply(at, sums, to.reborrow());
                });
            });
        }
    }

    /// Computes the part straight into an output of float32.
    fn product(&self, mut to: MatrixMut, left: Matrix, right: Matrix) {
        let output = match self.finish {
            Finish::Replace => Output::Replace,
            Finish::Add => Output::Add,
            Finish::Bias(bias) => {
                for row in 0..to.rows() {
                    to.row_mut(row).copy_from_slice(&bias[self.columns.clone()]);
                }
                Output::Add
            }
            Finish::With(_) => unreachable!("its sums are written elsewhere first"),
        };
        product(to, output, left, right);
    }

    /// Computes the part by products of packed pairs.
    pub(super) fn by_panels(
        &self,
        mut to: MatrixMut<T>,
        panels: Panels,
        kernel: &mut impl BlockKernel,
    ) {
        let steps = panels.depth.div_ceil(STEP);
        let packed_from = match self.left {
            Left::Packed { pairs, parts, .. } => {
                assert!(parts == panels.parts && self.rows.start.is_multiple_of(BLOCK_ROWS));
                let length = packed_length(panels.depth, parts);
                let block = |row: usize| {
                    let packed = &pairs[row / BLOCK_ROWS * length..][..length];
                    LeftBlock::packed(packed, steps, parts)
                };
                // SAFETY: whole blocks are packed.
                return unsafe { self.blocks(&mut to, self.rows.clone(), block, panels, kernel) };
            }
            // Rows that lie as a tile takes them are taken where they are.
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
                unsafe { self.blocks(&mut to, rows.clone(), block, panels, kernel) };
                rows.end
            }
            _ => self.rows.start,
        };
        let length = packed_length(panels.depth, panels.parts);
        let bytes = (length * size_of::<u32>()).max(1);
        let group = (LEFT_BYTES / bytes).max(1) * BLOCK_ROWS;
        for first in (packed_from..self.rows.end).step_by(group) {
            let rows = first..self.rows.end.min(first + group);
            let left = self.left.factor().row_range(rows.clone());
            with_scratch(rows.len().div_ceil(BLOCK_ROWS) * length, |packed| {
                pack_rows(left, panels.parts, packed);
                let block = |row: usize| {
                    let packed = &packed[(row - first) / BLOCK_ROWS * length..][..length];
                    LeftBlock::packed(packed, steps, panels.parts)
                };
                // SAFETY: whole blocks of them are packed.
                unsafe { self.blocks(&mut to, rows, block, panels, kernel) };
            });
        }
    }

    /// Computes some rows, of which a function gives each block by its first row.
    ///
    /// # Safety
    ///
    /// Blocks of all rows must be in memory.
    unsafe fn blocks(
        &self,
        to: &mut MatrixMut<T>,
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
                    let found = Matrix::strided(&sums.0, end - first, panel.len(), PANEL);
                    let to = to.part(
                        first - self.rows.start..end - self.rows.start,
                        panel.start - self.columns.start..panel.end - self.columns.start,
                    );
                    self.finish.apply([first, column], found, to);
                }
            }
        }
    }
}
