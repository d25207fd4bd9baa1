//! Packing of factors into the layout that the kernels of bfloat16 read.
//!
//! Packed factors consist of *pairs*: two neighbours along the depth, the axis of the sums, side by
//! side in 32 bits. A *step* is 32 deep; the depth is filled up with zeros to whole steps. Each
//! step is stored tile after tile, so that the kernels read memory in order:
//!
//! ```text
//! left factor: blocks of 32 rows            right factor: panels of 32 columns
//! block → step → part → two tiles           panel → step → part → two tiles side by side
//! ┌ k0 k1 │ k2 k3 │ … │ k30 k31 ┐ row 0     ┌ k0 k1 of column 0 │ of column 1 │ … │ of column 31 ┐
//! │ …                           │           │ k2 k3 of column 0 │ …                             │
//! └ …                           ┘ row 15    └ k30 k31 of column 0 …                             ┘
//! ```
//!
//! A float32 number is the sum of three bfloat16 numbers, its *parts*. One or two parts hold the
//! number rounded to 8 or 16 bits.

mod split;

use super::Factor;
use super::matrix::Matrix;
use crate::flex::element::Element;
use crate::flex::simd::{Level, vectorized};
#[cfg(target_arch = "x86_64")]
use split::Avx512;
use split::{Portable, Split};

/// Columns of a panel: two tiles of AMX, or two vectors of AVX-512.
pub(super) const PANEL: usize = 2 * SQUARE;

/// Rows of a block: two tiles. Two by two tiles of sums leave four of the eight tiles for factors.
pub(super) const BLOCK_ROWS: usize = 2 * SQUARE;

/// Depth of a step: the 32 numbers in a tile's row of 64 bytes.
pub(super) const STEP: usize = 2 * SQUARE;

/// Rows of a tile, and pairs in each row.
pub(super) const SQUARE: usize = 16;

/// Pairs of a tile.
pub(super) const TILE: usize = SQUARE * SQUARE;

/// Pairs of a panel, or of a block of rows.
pub(super) fn packed_length(depth: usize, parts: usize) -> usize {
    depth.div_ceil(STEP) * parts * 2 * TILE
}

/// Packs up to [`PANEL`] columns.
pub(super) fn pack_panel(columns: Factor, parts: usize, packed: &mut [u32]) {
    assert!(packed.len() == packed_length(columns.rows(), parts) && columns.columns() <= PANEL);
    pack(Order::Panel, columns, parts, packed);
}

/// Packs rows in blocks; the missing rows of the last block have unspecified values.
pub(super) fn pack_rows(rows: Factor, parts: usize, packed: &mut [u32]) {
    let blocks = rows.rows().div_ceil(BLOCK_ROWS);
    assert!(packed.len() == blocks * packed_length(rows.columns(), parts));
    pack(Order::Blocks, rows, parts, packed);
}

/// The factor that is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// The columns of a right factor.
    Panel,
    /// The rows of a left factor.
    Blocks,
}

fn pack(order: Order, factor: Factor, parts: usize, packed: &mut [u32]) {
    match (factor, parts) {
        (Factor::BFloat16(factor), 1) => portable::<_, Portable<1>>(order, factor, packed),
        (Factor::BFloat16(factor), 2) => portable::<_, Portable<2>>(order, factor, packed),
        (Factor::BFloat16(factor), _) => portable::<_, Portable<3>>(order, factor, packed),
        (Factor::Float32(factor), _) => {
            #[cfg(target_arch = "x86_64")]
            if Level::detected() == Level::Avx512 && is_x86_feature_detected!("avx512bf16") {
                // SAFETY: the processor has these instructions.
                return unsafe {
                    match parts {
                        1 => avx512::<Avx512<1>>(order, factor, packed),
                        2 => avx512::<Avx512<2>>(order, factor, packed),
                        _ => avx512::<Avx512<3>>(order, factor, packed),
                    }
                };
            }
            match parts {
                1 => portable::<_, Portable<1>>(order, factor, packed),
                2 => portable::<_, Portable<2>>(order, factor, packed),
                _ => portable::<_, Portable<3>>(order, factor, packed),
            }
        }
    }
}

vectorized! {
    fn portable<T: Element, S: Split>(order: Order, factor: Matrix<T>, packed: &mut [u32]) {
        pack_by::<T, S>(order, factor, packed);
    }
}

/// # Safety
///
/// The processor must have these instructions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
fn avx512<S: Split>(order: Order, factor: Matrix<f32>, packed: &mut [u32]) {
    pack_by::<f32, S>(order, factor, packed);
}

// No closures below: they would not be compiled for the caller's instructions.

#[inline(always)]
fn pack_by<T: Element, S: Split>(order: Order, factor: Matrix<T>, packed: &mut [u32]) {
    match (order, factor.column_stride()) {
        (Order::Panel, 1) => interleave::<T, S>(factor, packed),
        (Order::Panel, _) => transpose_columns::<T, S>(factor.transposed(), packed),
        (Order::Blocks, 1) => split_rows::<T, S>(factor, packed),
        (Order::Blocks, _) => transpose_rows::<T, S>(factor.transposed(), packed),
    }
}

/// `N` numbers of a row from `start` on, and zeros past the row's end.
#[inline(always)]
fn chunk<T: Element, const N: usize>(row: &[T], start: usize) -> [T; N] {
    let remainder = &row[start.min(row.len())..];
    if let Some(whole) = remainder.first_chunk() {
        return *whole;
    }
    let mut numbers = [T::default(); N];
    for (packed, number) in numbers.iter_mut().zip(remainder) {
        *packed = *number;
    }
    numbers
}

/// Packs columns of a matrix whose rows are contiguous.
#[inline(always)]
fn interleave<T: Element, S: Split>(columns: Matrix<T>, packed: &mut [u32]) {
    let depth = columns.rows();
    for (step, packed) in packed.chunks_exact_mut(S::COUNT * 2 * TILE).enumerate() {
        for pair in 0..SQUARE {
            let first = step * STEP + 2 * pair;
            let mut rows = [[T::default(); PANEL]; 2];
            for (odd, row) in rows.iter_mut().enumerate() {
                if first + odd < depth {
                    *row = chunk::<T, PANEL>(columns.row(first + odd), 0);
                }
            }
            for half in 0..2 {
                let (even, odd) = (rows[0].as_chunks().0, rows[1].as_chunks().0);
                let pairs = S::pair_up(&even[half], &odd[half]);
                for part in 0..S::COUNT {
                    let packed = &mut packed[part * 2 * TILE + pair * PANEL + half * SQUARE..];
                    packed[..SQUARE].copy_from_slice(&pairs[part]);
                }
            }
        }
    }
}

/// Packs columns of a matrix whose columns are contiguous; `columns` is its transposed.
#[inline(always)]
fn transpose_columns<T: Element, S: Split>(columns: Matrix<T>, packed: &mut [u32]) {
    for (step, packed) in packed.chunks_exact_mut(S::COUNT * 2 * TILE).enumerate() {
        for half in 0..2 {
            let mut squares = [[[0; SQUARE]; SQUARE]; 3];
            for lane in 0..SQUARE {
                let column = half * SQUARE + lane;
                if column < columns.rows() {
                    let numbers = chunk::<T, STEP>(columns.row(column), step * STEP);
                    let pairs = S::neighbours(&numbers);
                    for (square, pairs) in squares.iter_mut().zip(&pairs) {
                        square[lane] = *pairs;
                    }
                }
            }
            for (part, square) in squares.iter_mut().enumerate().take(S::COUNT) {
                transpose(square);
                let packed = packed[part * 2 * TILE..].chunks_exact_mut(PANEL);
                for (pairs, packed) in square.iter().zip(packed) {
                    packed[half * SQUARE..][..SQUARE].copy_from_slice(pairs);
                }
            }
        }
    }
}

/// Packs rows of a matrix whose rows are contiguous.
#[inline(always)]
fn split_rows<T: Element, S: Split>(rows: Matrix<T>, packed: &mut [u32]) {
    let length = packed_length(rows.columns(), S::COUNT);
    for row in 0..rows.rows() {
        let (block, tile) = (row / BLOCK_ROWS, row % BLOCK_ROWS / SQUARE);
        let packed = &mut packed[block * length..][..length];
        for (step, packed) in packed.chunks_exact_mut(S::COUNT * 2 * TILE).enumerate() {
            let pairs = S::neighbours(&chunk::<T, STEP>(rows.row(row), step * STEP));
            for part in 0..S::COUNT {
                let packed = &mut packed[(2 * part + tile) * TILE + row % SQUARE * SQUARE..];
                packed[..SQUARE].copy_from_slice(&pairs[part]);
            }
        }
    }
}

/// Packs rows of a matrix whose columns are contiguous; `columns` is its transposed.
#[inline(always)]
fn transpose_rows<T: Element, S: Split>(columns: Matrix<T>, packed: &mut [u32]) {
    let length = packed_length(columns.rows(), S::COUNT);
    for first in (0..columns.columns()).step_by(SQUARE) {
        let (block, tile) = (first / BLOCK_ROWS, first % BLOCK_ROWS / SQUARE);
        let packed = &mut packed[block * length..][..length];
        for (step, packed) in packed.chunks_exact_mut(S::COUNT * 2 * TILE).enumerate() {
            let mut squares = [[[0; SQUARE]; SQUARE]; 3];
            for pair in 0..SQUARE {
                let column = step * STEP + 2 * pair;
                let mut numbers = [[T::default(); SQUARE]; 2];
                for (odd, numbers) in numbers.iter_mut().enumerate() {
                    if column + odd < columns.rows() {
                        *numbers = chunk::<T, SQUARE>(columns.row(column + odd), first);
                    }
                }
                let pairs = S::pair_up(&numbers[0], &numbers[1]);
                for (square, pairs) in squares.iter_mut().zip(&pairs) {
                    square[pair] = *pairs;
                }
            }
            for (part, square) in squares.iter_mut().enumerate().take(S::COUNT) {
                transpose(square);
                let packed = &mut packed[(2 * part + tile) * TILE..][..TILE];
                packed.copy_from_slice(square.as_flattened());
            }
        }
    }
}

/// Transposes a square of pairs.
fn transpose(square: &mut [[u32; SQUARE]; SQUARE]) {
    #[cfg(target_arch = "x86_64")]
    if Level::detected() == Level::Avx512 {
        // SAFETY: the processor has these instructions.
        return unsafe { x86_64::transpose(square) };
    }
    let before = *square;
    for (index, row) in square.iter_mut().enumerate() {
        for (pair, column) in row.iter_mut().zip(&before) {
            *pair = column[index];
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::*;

    use super::SQUARE;

    /// Transposes a square of pairs in registers.
    #[target_feature(enable = "avx512f")]
    pub(super) fn transpose(square: &mut [[u32; SQUARE]; SQUARE]) {
        // No closures: they would not be compiled for these instructions.
        let mut rows = [_mm512_setzero_si512(); SQUARE];
        for (vector, row) in rows.iter_mut().zip(square.iter()) {
            // SAFETY: a row has the size of a vector.
            *vector = unsafe { _mm512_loadu_si512(row.as_ptr().cast()) };
        }
        // Transpose squares of 2 × 2, then of 4 × 4, within each quarter of the vectors.
        let mut twos = rows;
        for index in (0..SQUARE).step_by(2) {
            let [a, b] = [rows[index], rows[index + 1]];
            twos[index] = _mm512_unpacklo_epi32(a, b);
            twos[index + 1] = _mm512_unpackhi_epi32(a, b);
        }
        let mut fours = twos;
        for index in (0..SQUARE).step_by(4) {
            for half in 0..2 {
                let [a, b] = [twos[index + half], twos[index + half + 2]];
                fours[index + 2 * half] = _mm512_unpacklo_epi64(a, b);
                fours[index + 2 * half + 1] = _mm512_unpackhi_epi64(a, b);
            }
        }
        // Transpose the quarters.
        let mut all = fours;
        for column in 0..4 {
            let [a, b] = [fours[column], fours[4 + column]];
            let [c, d] = [fours[8 + column], fours[12 + column]];
            let [even, odd] = [
                [
                    _mm512_shuffle_i32x4::<0x88>(a, b),
                    _mm512_shuffle_i32x4::<0x88>(c, d),
                ],
                [
                    _mm512_shuffle_i32x4::<0xDD>(a, b),
                    _mm512_shuffle_i32x4::<0xDD>(c, d),
                ],
            ];
            all[column] = _mm512_shuffle_i32x4::<0x88>(even[0], even[1]);
            all[column + 4] = _mm512_shuffle_i32x4::<0x88>(odd[0], odd[1]);
            all[column + 8] = _mm512_shuffle_i32x4::<0xDD>(even[0], even[1]);
            all[column + 12] = _mm512_shuffle_i32x4::<0xDD>(odd[0], odd[1]);
        }
        for (row, vector) in square.iter_mut().zip(all) {
            // SAFETY: a row has the size of a vector.
            unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), vector) };
        }
    }
}
