//! Products by AVX512-BF16, whose `VDPBF16PS` adds two products to each of sixteen sums.
//!
//! Factors are packed as pairs of neighbours along the axis of the sums, a pair in the place of a
//! float32. Where that axis is odd, a zero ends it.

use std::arch::x86_64::*;
use std::ops::Range;

use super::{Left, Matrix, MatrixMut, Output};
use crate::flex::buffer::with_scratch;
use crate::flex::simd::Level;

/// Columns of a panel: two vectors.
pub(super) const PANEL: usize = 2 * VECTOR;

/// Pairs, or sums, of a vector.
const VECTOR: usize = 16;

/// Rows of sums that are held in registers, in all sixteen vectors.
const ROWS: usize = 8;

/// Proof that this processor has the instructions.
#[derive(Clone, Copy)]
pub(super) struct Instructions(());

impl Instructions {
    pub(super) fn detected() -> Option<Self> {
        (Level::detected() == Level::Avx512BFloat16).then_some(Self(()))
    }

    /// Memory of a panel: `[pairs, PANEL]`.
    pub(super) fn panel_length(depth: usize) -> usize {
        depth.div_ceil(2) * PANEL
    }

    /// Rounds numbers; pairs of neighbours take the place of one each.
    pub(super) fn round_to_pairs(self, numbers: &[f32], to: &mut [f32]) {
        assert_eq!(numbers.len().div_ceil(2), to.len());
        let rest = to.len() % VECTOR;
        let (whole, rest) = to.split_at_mut(to.len() - rest);
        // SAFETY: the processor has the instructions.
        unsafe { pack_row(Matrix::new(numbers, 1, numbers.len()), whole) };
        if !rest.is_empty() {
            let numbers = &numbers[2 * whole.len()..];
            let mut last = [0.0; VECTOR];
            // SAFETY: as above.
            unsafe { pack_row(Matrix::new(numbers, 1, numbers.len()), &mut last) };
            rest.copy_from_slice(&last[..rest.len()]);
        }
    }

    /// Packs up to [`PANEL`] columns; columns past them are zero.
    pub(super) fn pack_panel(self, columns: Matrix, to: &mut [f32]) {
        assert!(to.len() == Self::panel_length(columns.rows()) && columns.columns() <= PANEL);
        // SAFETY: the processor has the instructions, and the lengths are checked.
        unsafe {
            match (columns.column_stride(), columns.row_stride()) {
                (1, _) => pack_columns(columns, to),
                (_, 1) => pack_transposed(columns, to),
                _ => unreachable!("a matrix' rows or its columns lie together"),
            }
        }
    }

    /// As [`pack_panel`](Self::pack_panel), of columns that are packed in pairs of neighbours.
    pub(super) fn pack_panel_of_pairs(self, pairs: Matrix, to: &mut [f32]) {
        assert!(to.len() == Self::panel_length(pairs.rows()) && 2 * pairs.columns() <= PANEL);
        assert!(pairs.column_stride() == 1);
        // SAFETY: the processor has the instructions, and the lengths are checked.
        unsafe { pack_columns_of_pairs(pairs, to) };
    }

    /// Computes `a` times packed panels.
    pub(super) fn product(self, to: MatrixMut, output: Output, a: Left, panels: &[f32]) {
        let length = Self::panel_length(a.columns());
        assert!(panels.len() >= to.columns().div_ceil(PANEL) * length && to.rows() == a.rows());
        match a {
            Left::Pairs(rows) => self.product_of_rows(to, output, rows, panels),
            Left::Float32(a) if a.column_stride() == 1 => {
                let line = a.columns().div_ceil(2).next_multiple_of(VECTOR);
                with_scratch(a.rows() * line, |rows| {
                    for (index, to) in rows.chunks_exact_mut(line.max(1)).enumerate() {
                        // SAFETY: the processor has the instructions.
                        unsafe { pack_row(a.row_range(index..index + 1), to) };
                    }
                    let pairs = a.columns().div_ceil(2);
                    let rows = Matrix::strided(rows, a.rows(), pairs, line);
                    self.product_of_rows(to, output, rows, panels);
                });
            }
            Left::Float32(a) => {
                let pack = |rows: Range<usize>, to: &mut [f32]| {
                    self.pack_panel(a.row_range(rows).transposed(), to);
                };
                self.product_of_panels(to, output, a.columns(), pack, panels);
            }
            Left::TransposedPairs(columns) => {
                let pack = |rows: Range<usize>, to: &mut [f32]| {
                    let pairs = columns.column_range(rows.start / 2..rows.end.div_ceil(2));
                    self.pack_panel_of_pairs(pairs, to);
                };
                self.product_of_panels(to, output, columns.rows(), pack, panels);
            }
        }
    }

    /// Computes packed rows times packed panels.
    fn product_of_rows(self, to: MatrixMut, output: Output, rows: Matrix, panels: &[f32]) {
        let (elements, line) = (rows.elements(), rows.row_stride());
        let left = |row: usize| elements[row * line..][..rows.columns()].as_ptr();
        // SAFETY: each row has a pair for every one of a panel.
        unsafe { self.fill::<1>(to, output, rows.columns(), left, panels) };
    }

    /// Computes rows that `pack` packs as the columns of panels, times packed panels.
    fn product_of_panels(
        self,
        to: MatrixMut,
        output: Output,
        depth: usize,
        pack: impl Fn(Range<usize>, &mut [f32]),
        panels: &[f32],
    ) {
        let (rows, length) = (to.rows(), Self::panel_length(depth));
        with_scratch(rows.div_ceil(PANEL) * length, |packed| {
            for (index, to) in packed.chunks_exact_mut(length.max(1)).enumerate() {
                pack(index * PANEL..rows.min((index + 1) * PANEL), to);
            }
            let left = |row: usize| {
                let panel = &packed[row / PANEL * length..][..length];
                panel[(row % PANEL).min(length)..].as_ptr()
            };
            // SAFETY: a panel's columns have a pair for every one of another.
            unsafe { self.fill::<PANEL>(to, output, depth.div_ceil(2), left, panels) };
        });
    }

    /// Computes all of an output, eight rows of a panel's columns at a time.
    ///
    /// # Safety
    ///
    /// `left` must give each row's first of so many pairs, `PAIR_STRIDE` apart.
    unsafe fn fill<const PAIR_STRIDE: usize>(
        self,
        mut to: MatrixMut,
        output: Output,
        pairs: usize,
        left: impl Fn(usize) -> *const f32,
        panels: &[f32],
    ) {
        let length = pairs * PANEL;
        for (index, panel) in (0..to.columns()).step_by(PANEL).enumerate() {
            let columns = panel..to.columns().min(panel + PANEL);
            let right = &panels[index * length..][..length];
            for first in (0..to.rows()).step_by(ROWS) {
                let rows = first..to.rows().min(first + ROWS);
                // The last row once more where there are fewer than eight.
                let left = std::array::from_fn(|row| left((first + row).min(rows.end - 1)));
                let to = to.part(rows, columns.clone());
                // SAFETY: the processor has the instructions, and the rows have their pairs.
                unsafe { add_up::<PAIR_STRIDE>(to, output == Output::Add, left, right) };
            }
        }
    }
}

/// The lanes below a number of elements.
fn lanes(count: usize) -> __mmask16 {
    match count {
        ..VECTOR => (1 << count) - 1,
        _ => !0,
    }
}

/// Packs up to [`PANEL`] columns, a row of which lies together in memory.
///
/// # Safety
///
/// The processor must have AVX512-BF16, and `to` two rows of the factor in each of its rows.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack_columns(columns: Matrix, to: &mut [f32]) {
    // From all of one row and all of the next to one of each in turn.
    let mut order = [0i16; 2 * VECTOR];
    for (lane, from) in order.iter_mut().enumerate() {
        *from = (lane / 2 + lane % 2 * VECTOR) as i16;
    }
    // SAFETY: the array has the size of a vector.
    let order = unsafe { _mm512_loadu_epi16(order.as_ptr()) };
    let first = columns.elements().as_ptr();
    for (pair, to) in to.chunks_exact_mut(PANEL).enumerate() {
        for (vector, to) in to.chunks_exact_mut(VECTOR).enumerate() {
            let start = vector * VECTOR;
            let mask = lanes(columns.columns().saturating_sub(start));
            let [even, odd] = [2 * pair, 2 * pair + 1].map(|row| match row < columns.rows() {
                // SAFETY: lanes of the mask are elements of the matrix; others are not read.
                true => unsafe {
                    let from = first.wrapping_add(row * columns.row_stride() + start);
                    _mm512_maskz_loadu_ps(mask, from)
                },
                false => _mm512_setzero_ps(),
            });
            let pairs = bits(_mm512_cvtne2ps_pbh(odd, even));
            let pairs = _mm512_permutexvar_epi16(order, pairs);
            // SAFETY: `to` has the size of a vector.
            unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs) };
        }
    }
}

/// Packs up to [`PANEL`] columns, a row of which lies together in memory in pairs.
///
/// # Safety
///
/// As for [`pack_columns`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack_columns_of_pairs(columns: Matrix, to: &mut [f32]) {
    // One of each row in turn, from the first half of both rows and from the second.
    let mut orders = [[0i16; 2 * VECTOR]; 2];
    for (half, order) in orders.iter_mut().enumerate() {
        for (lane, from) in order.iter_mut().enumerate() {
            *from = (half * VECTOR + lane / 2 + lane % 2 * PANEL) as i16;
        }
    }
    // SAFETY: the arrays have the size of a vector.
    let orders = orders.map(|order| unsafe { _mm512_loadu_epi16(order.as_ptr()) });
    let mask = lanes(columns.columns());
    let first = columns.elements().as_ptr();
    for (pair, to) in to.chunks_exact_mut(PANEL).enumerate() {
        let [even, odd] = [2 * pair, 2 * pair + 1].map(|row| match row < columns.rows() {
            // SAFETY: lanes of the mask are elements of the matrix; others are not read.
            true => unsafe {
                let from = first.wrapping_add(row * columns.row_stride());
                _mm512_maskz_loadu_epi32(mask, from.cast())
            },
            false => _mm512_setzero_si512(),
        });
        for (order, to) in orders.into_iter().zip(to.chunks_exact_mut(VECTOR)) {
            let pairs = _mm512_permutex2var_epi16(even, order, odd);
            // SAFETY: `to` has the size of a vector.
            unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs) };
        }
    }
}

/// Packs up to [`PANEL`] columns, each of which lies together in memory.
///
/// # Safety
///
/// As for [`pack_columns`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack_transposed(columns: Matrix, to: &mut [f32]) {
    for (block, to) in to.chunks_mut(VECTOR * PANEL).enumerate() {
        let start = block * PANEL;
        for vector in 0..2 {
            let mut pairs = [_mm512_setzero_si512(); VECTOR];
            for (lane, pairs) in pairs.iter_mut().enumerate() {
                let column = vector * VECTOR + lane;
                if column < columns.columns() {
                    let column = columns.column_range(column..column + 1).transposed();
                    // SAFETY: the processor has the instructions.
                    *pairs = unsafe { pairs_of_row(column, start) };
                }
            }
            let rows = to.chunks_exact_mut(PANEL);
            for (pairs, to) in transposed(pairs).into_iter().zip(rows) {
                let to = &mut to[vector * VECTOR..][..VECTOR];
                // SAFETY: `to` has the size of a vector.
                unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs) };
            }
        }
    }
}

/// Packs a row whose elements lie together in memory.
///
/// # Safety
///
/// The processor must have AVX512-BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack_row(row: Matrix, to: &mut [f32]) {
    for (block, to) in to.chunks_exact_mut(VECTOR).enumerate() {
        // SAFETY: `to` has the size of a vector, and the processor the instructions.
        unsafe {
            let pairs = pairs_of_row(row, block * PANEL);
            _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs);
        }
    }
}

/// Sixteen pairs of a row whose elements lie together, zero past its end.
///
/// # Safety
///
/// The processor must have AVX512-BF16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pairs_of_row(row: Matrix, start: usize) -> __m512i {
    let [low, high] = [start, start + VECTOR].map(|start| {
        let mask = lanes(row.columns().saturating_sub(start));
        // SAFETY: lanes of the mask are elements of the row; others are not read.
        unsafe { _mm512_maskz_loadu_ps(mask, row.elements().as_ptr().wrapping_add(start)) }
    });
    bits(_mm512_cvtne2ps_pbh(high, low))
}

fn bits(pairs: __m512bh) -> __m512i {
    // SAFETY: two names of the same 64 bytes.
    unsafe { std::mem::transmute(pairs) }
}

fn pairs(bits: __m512i) -> __m512bh {
    // SAFETY: two names of the same 64 bytes.
    unsafe { std::mem::transmute(bits) }
}

/// Transposes a square of 32-bit elements.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(rows: [__m512i; VECTOR]) -> [__m512i; VECTOR] {
    // Within each quarter of the vectors, squares of 2 × 2, then of 4 × 4.
    let mut twos = rows;
    for index in (0..VECTOR).step_by(2) {
        let [a, b] = [rows[index], rows[index + 1]];
        twos[index] = _mm512_unpacklo_epi32(a, b);
        twos[index + 1] = _mm512_unpackhi_epi32(a, b);
    }
    let mut fours = twos;
    for index in (0..VECTOR).step_by(4) {
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
    all
}

/// Computes up to eight rows of a panel's columns.
///
/// # Safety
///
/// The processor must have AVX512-BF16, and each row of `left` as many pairs as the panel `right`,
/// `PAIR_STRIDE` apart.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn add_up<const PAIR_STRIDE: usize>(
    mut to: MatrixMut,
    add: bool,
    left: [*const f32; ROWS],
    right: &[f32],
) {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for (pair, right) in right.chunks_exact(PANEL).enumerate() {
        let right = [0, VECTOR].map(|start| {
            // SAFETY: half of the panel's row.
            unsafe { _mm512_loadu_si512(right.as_ptr().add(start).cast()) }
        });
        for (sums, left) in sums.iter_mut().zip(left) {
            // SAFETY: as this function demands.
            let left = unsafe { *left.add(pair * PAIR_STRIDE) };
            let left = pairs(_mm512_set1_epi32(left.to_bits() as i32));
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = _mm512_dpbf16_ps(*sum, left, pairs(right));
            }
        }
    }
    let (rows, columns) = (to.rows(), to.columns());
    for (row, sums) in sums.into_iter().enumerate().take(rows) {
        let to = to.row_mut(row).as_mut_ptr();
        for (vector, mut sum) in sums.into_iter().enumerate() {
            let start = vector * VECTOR;
            let mask = lanes(columns.saturating_sub(start));
            let to = to.wrapping_add(start);
            // SAFETY: lanes of the mask are elements of the row; others are neither read nor
            // written.
            unsafe {
                if add {
                    sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, to));
                }
                _mm512_mask_storeu_ps(to, mask, sum);
            }
        }
    }
}
