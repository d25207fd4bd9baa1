//! Matrix products.
//!
//! A right factor is [made ready](Right) once; then it is multiplied by left factors, on this
//! thread or on all. What a product does with its sums is its [`Finish`].

#[cfg(target_arch = "x86_64")]
mod avx512_bf16;
mod fma;
mod kernels;
mod matrix;
mod packing;
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
use packing::{BLOCK_ROWS, PANEL, STEP, pack_panel, pack_rows, packed_length};
use tiles::{LeftBlock, Sums, Tiles};

pub(crate) use fma::{Output, product};
pub(crate) use kernels::{has_kernel, kernel_of};
pub(crate) use matrix::{Matrix, MatrixMut};

/// Multiplications below which a second thread costs more than it brings.
const WORTH_A_THREAD: usize = 1 << 19;

/// Rows and columns up to which `gemm` adds up in another order than in larger outputs.
const SMALL: usize = 64;

/// Rows or columns of a thread's part at least: of one, `gemm` adds up in a third order.
const MIN_PART: usize = 8;

/// Rows of a left factor for which no right factor is taken apart: that takes longer than to
/// multiply it in float32. One more, and an element is the same sum for any number of rows.
const FEW_ROWS: usize = 2;

/// Bytes of packed rows made at a time.
const LEFT_BYTES: usize = 1 << 19;

/// Bytes of panels that stay in a second cache for several blocks of rows.
const RIGHT_BYTES: usize = 1 << 19;

/// Float32 elements of intermediate sums, or of rounded rows, at a time: 2 MiB.
const STRIP: usize = 1 << 19;

/// Rows of them at least, for `gemm` packs the right factor each time.
const STRIP_ROWS: usize = 256;

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

/// Whether a product of float32 is worth taking its factors apart.
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
    match Multiplier::of(precision) {
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
    fn apply(&self, [row, column]: [usize; 2], sums: Matrix, mut to: MatrixMut<T>) {
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
            Left::Packed { .. } => Multiplier::of(precision),
        };
        Self::by(multiplier, factor, false)
    }

    fn multiplier(factor: Factor, precision: Precision, rows: usize) -> Multiplier {
        match (Multiplier::of(precision), factor) {
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

/// What one thread computes of a product.
struct Share<'a, T> {
    finish: &'a Finish<'a, T>,
    left: Left<'a>,
    rows: Range<usize>,
    columns: Range<usize>,
}

/// A packed right factor.
#[derive(Clone, Copy)]
struct Panels<'a> {
    pairs: &'a [u32],
    depth: usize,
    parts: usize,
}

/// What computes blocks of sums of packed factors.
trait BlockKernel {
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

struct ByTiles<T>(T);

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
impl BlockKernel for avx512_bf16::Instructions {
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
            avx512_bf16::Instructions::block(*self, left, rows, panel, sums);
        }
    }
}

impl<T: Element> Share<'_, T> {
    /// Computes the part in float32; `is_rounded` of a left factor rounded to bfloat16.
    fn by_fma(&self, mut to: MatrixMut<T>, right: Matrix, is_rounded: bool) {
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
    fn by_panels(&self, mut to: MatrixMut<T>, panels: Panels, kernel: &mut impl BlockKernel) {
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

#[cfg(test)]
mod tests;
