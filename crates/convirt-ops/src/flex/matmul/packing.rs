//! Factors as the kernels of bfloat16 take them.
//!
//! Both hold *pairs*: two neighbours along the depth, the axis of the sums, side by side in 32
//! bits. The depth is filled up with zeros to whole [steps](STEP).
//!
//! ```text
//! left: rows              right: panels of 32 columns
//! ┌ k0 k1 │ k2 k3 │ … ┐   ┌ k0 k1 of column 0 │ of column 1 │ … of column 31 ┐
//! │ row 0             │   │ k2 k3 of column 0 │ of column 1 │ …              │
//! └ row 1 …           ┘   └ …                                                ┘
//! ```
//!
//! A number of float32 is the sum of three numbers of bfloat16, its [parts](Part).

use half::bf16;

use super::Factor;
use super::matrix::Matrix;
use crate::flex::element::Element;
use crate::flex::simd::{Level, vectorized};

/// Columns of a panel: two tiles, or two vectors.
pub(super) const PANEL: usize = 2 * SQUARE;

/// Depth of a tile, to whole multiples of which depths are filled up.
pub(super) const STEP: usize = 2 * SQUARE;

/// Rows and pairs of a tile; sides of the squares that are transposed.
const SQUARE: usize = 16;

/// Pairs of a panel, filled up.
pub(super) fn panel_length(depth: usize) -> usize {
    depth.next_multiple_of(STEP) / 2 * PANEL
}

/// Packs a part of up to [`PANEL`] columns.
pub(super) fn pack_panel(columns: Factor, part: Part, to: &mut [u32]) {
    assert!(to.len() == panel_length(columns.rows()) && columns.columns() <= PANEL);
    match (columns, part) {
        (Factor::BFloat16(columns), Part::Whole | Part::High) => {
            pack_panel_of::<_, Whole>(columns, to);
        }
        (Factor::BFloat16(_), Part::Middle | Part::Low) => to.fill(0),
        (Factor::Float32(columns), Part::Whole) => pack_panel_of::<_, Whole>(columns, to),
        (Factor::Float32(columns), Part::High) => pack_panel_of::<_, High>(columns, to),
        (Factor::Float32(columns), Part::Middle) => pack_panel_of::<_, Middle>(columns, to),
        (Factor::Float32(columns), Part::Low) => pack_panel_of::<_, Low>(columns, to),
    }
}

/// Packs a part of rows, each to `line` elements.
pub(super) fn pack_rows(rows: Factor, part: Part, line: usize, to: &mut [bf16]) {
    assert!(to.len() >= rows.rows() * line && line >= rows.columns());
    match (rows, part) {
        (Factor::BFloat16(rows), Part::Whole | Part::High) => {
            pack_rows_of::<_, Whole>(rows, line, to);
        }
        (Factor::BFloat16(_), Part::Middle | Part::Low) => to.fill(bf16::ZERO),
        (Factor::Float32(rows), Part::Whole) => pack_rows_of::<_, Whole>(rows, line, to),
        (Factor::Float32(rows), Part::High) => pack_rows_of::<_, High>(rows, line, to),
        (Factor::Float32(rows), Part::Middle) => pack_rows_of::<_, Middle>(rows, line, to),
        (Factor::Float32(rows), Part::Low) => pack_rows_of::<_, Low>(rows, line, to),
    }
}

/// One of the numbers of bfloat16 that stand for a number of float32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The only one: the number rounded to 8 significant bits.
    Whole,
    /// The first of several: the same, but never infinite for a finite number.
    High,
    /// What the first leaves, rounded.
    Middle,
    /// What both leave, which has no more than 8 significant bits.
    Low,
}

/// The parts, where there are one, two or three.
pub(super) const PARTS: [&[Part]; 3] = [
    &[Part::Whole],
    &[Part::High, Part::Middle],
    &[Part::High, Part::Middle, Part::Low],
];

/// A [`Part`] as a type.
trait Split: 'static {
    fn of(number: f32) -> bf16;
}

struct Whole;
struct High;
struct Middle;
struct Low;

impl Split for Whole {
    #[inline(always)]
    fn of(number: f32) -> bf16 {
        <bf16 as Element>::round(number)
    }
}

impl Split for High {
    #[inline(always)]
    fn of(number: f32) -> bf16 {
        const INFINITE: u16 = bf16::INFINITY.to_bits();
        let nearest = Whole::of(number).to_bits();
        let bits = match nearest & 0x7FFF == INFINITE {
            true => (number.to_bits() >> 16) as u16,
            false => nearest,
        };
        bf16::from_bits(bits)
    }
}

impl Split for Middle {
    #[inline(always)]
    fn of(number: f32) -> bf16 {
        Whole::of(number - High::of(number).widen())
    }
}

impl Split for Low {
    #[inline(always)]
    fn of(number: f32) -> bf16 {
        let residual = number - High::of(number).widen();
        Whole::of(residual - Whole::of(residual).widen())
    }
}

#[inline(always)]
fn bits<T: Element, P: Split>(number: T) -> u32 {
    u32::from(P::of(number.widen()).to_bits())
}

fn pack_panel_of<T: Element, P: Split>(columns: Matrix<T>, to: &mut [u32]) {
    match columns.column_stride() {
        1 => interleave::<T, P>(columns, to),
        _ => pack_panel_of_columns::<T, P>(columns, to),
    }
}

fn pack_rows_of<T: Element, P: Split>(rows: Matrix<T>, line: usize, to: &mut [bf16]) {
    match rows.column_stride() {
        1 => round_rows::<T, P>(rows, line, to),
        _ => transpose_rows::<T, P>(rows, line, to),
    }
}

vectorized! {
    /// Packs columns of which a row lies together in memory.
    fn interleave<T: Element, P: Split>(columns: Matrix<T>, to: &mut [u32]) {
        let (depth, width) = (columns.rows(), columns.columns());
        for (pair, to) in to.chunks_exact_mut(PANEL).enumerate() {
            let [even, odd] = [2 * pair, 2 * pair + 1]
                .map(|row| if row < depth { columns.row(row) } else { &[] });
            let (to, padding) = to.split_at_mut(width);
            padding.fill(0);
            match (even.is_empty(), odd.is_empty()) {
                (true, _) => to.fill(0),
                (false, true) => {
                    for (to, even) in to.iter_mut().zip(even) {
                        *to = bits::<T, P>(*even);
                    }
                }
                (false, false) => {
                    for ((to, even), odd) in to.iter_mut().zip(even).zip(odd) {
                        *to = bits::<T, P>(*even) | bits::<T, P>(*odd) << 16;
                    }
                }
            }
        }
    }
}

vectorized! {
    /// Packs columns each of which lies together in memory.
    fn pack_panel_of_columns<T: Element, P: Split>(columns: Matrix<T>, to: &mut [u32]) {
        let columns = columns.transposed();
        for (block, to) in to.chunks_exact_mut(SQUARE * PANEL).enumerate() {
            for half in 0..2 {
                let mut square = [[0; SQUARE]; SQUARE];
                for (lane, pairs) in square.iter_mut().enumerate() {
                    let column = half * SQUARE + lane;
                    if column < columns.rows() {
                        pair_up::<T, P>(columns.row(column), block * STEP, pairs);
                    }
                }
                transpose(&mut square);
                for (pairs, to) in square.iter().zip(to.chunks_exact_mut(PANEL)) {
                    to[half * SQUARE..][..SQUARE].copy_from_slice(pairs);
                }
            }
        }
    }
}

/// Pairs of neighbours from a place of a row on, zeros past its end.
#[inline(always)]
fn pair_up<T: Element, P: Split>(row: &[T], start: usize, to: &mut [u32; SQUARE]) {
    let rest = &row[start.min(row.len())..];
    let mut numbers = [T::default(); STEP];
    let count = rest.len().min(STEP);
    numbers[..count].copy_from_slice(&rest[..count]);
    for (to, [even, odd]) in to.iter_mut().zip(numbers.as_chunks().0) {
        *to = bits::<T, P>(*even) | bits::<T, P>(*odd) << 16;
    }
}

vectorized! {
    /// Packs rows each of which lies together in memory.
    fn round_rows<T: Element, P: Split>(rows: Matrix<T>, line: usize, to: &mut [bf16]) {
        for (index, to) in to.chunks_exact_mut(line).enumerate().take(rows.rows()) {
            let row = rows.row(index);
            let (to, padding) = to.split_at_mut(row.len());
            to.iter_mut().zip(row).for_each(|(to, number)| *to = P::of(number.widen()));
            padding.fill(bf16::ZERO);
        }
    }
}

vectorized! {
    /// Packs rows of which a column lies together in memory.
    fn transpose_rows<T: Element, P: Split>(rows: Matrix<T>, line: usize, to: &mut [bf16]) {
        let columns = rows.transposed();
        for first in (0..rows.rows()).step_by(SQUARE) {
            let count = SQUARE.min(rows.rows() - first);
            for start in (0..line).step_by(STEP) {
                let mut square = [[0; SQUARE]; SQUARE];
                for (pair, square) in square.iter_mut().enumerate() {
                    for odd in 0..2 {
                        let column = start + 2 * pair + odd;
                        if column < columns.rows() {
                            let numbers = &columns.row(column)[first..first + count];
                            for (to, number) in square.iter_mut().zip(numbers) {
                                *to |= bits::<T, P>(*number) << (16 * odd);
                            }
                        }
                    }
                }
                transpose(&mut square);
                for (row, pairs) in square.iter().enumerate().take(count) {
                    let to = &mut to[(first + row) * line + start..][..STEP.min(line - start)];
                    for (to, pair) in to.chunks_mut(2).zip(pairs) {
                        to[0] = bf16::from_bits(*pair as u16);
                        if let Some(to) = to.get_mut(1) {
                            *to = bf16::from_bits((pair >> 16) as u16);
                        }
                    }
                }
            }
        }
    }
}

/// Transposes a square of pairs.
fn transpose(square: &mut [[u32; SQUARE]; SQUARE]) {
    #[cfg(target_arch = "x86_64")]
    if Level::detected() == Level::Avx512 {
        // SAFETY: the processor has these instructions.
        return unsafe { avx512::transpose(square) };
    }
    for row in 1..SQUARE {
        for column in 0..row {
            let other = square[column][row];
            square[column][row] = std::mem::replace(&mut square[row][column], other);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::SQUARE;

    /// Transposes a square of pairs in registers.
    #[target_feature(enable = "avx512f")]
    pub(super) fn transpose(square: &mut [[u32; SQUARE]; SQUARE]) {
        // SAFETY: a row has the size of a vector.
        let rows = square.map(|row| unsafe { _mm512_loadu_si512(row.as_ptr().cast()) });
        // Within each quarter of the vectors, squares of 2 × 2, then of 4 × 4.
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
        // Then the quarters.
        let mut all = fours;
        for column in 0..4 {
            let [a, b, c, d] = [0, 4, 8, 12].map(|row| fours[row + column]);
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
