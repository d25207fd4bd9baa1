//! Matrix products by AVX512-BF16, whose `VDPBF16PS` adds two products to each of sixteen sums.
//!
//! ```text
//!                         ┌ right: 16 pairs ┐ ┌ 16 pairs ┐   one row of a panel
//!                         └─────────────────┘ └──────────┘
//!   left pair, broadcast  ┌ 16 sums ────────┐ ┌ 16 sums ─┐   row 0
//!   left pair, broadcast  │ 16 sums         │ │ 16 sums  │   row 1
//!   …                     │ …               │ │ …        │
//!   left pair, broadcast  └ 16 sums ────────┘ └ 16 sums ─┘   row 7
//! ```
//!
//! Sixteen of the 32 registers hold sums: enough independent additions to hide the instruction's
//! latency, and two loads of the right factor serve eight rows.

use std::arch::x86_64::*;

use super::packing::{BLOCK_ROWS, PANEL, SQUARE};
use super::tiles::{LeftBlock, Sums};

/// Sums in a vector: 512 bits of float32.
const VECTOR: usize = 16;

/// Rows of sums in registers: eight rows of two vectors. More would leave too few of the 32
/// registers for factors.
const ROWS: usize = 8;

/// Proof that this processor has the instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instructions(());

impl Instructions {
    pub(super) fn detected() -> Option<Self> {
        let has_both =
            is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16");
        has_both.then_some(Self(()))
    }

    /// Computes up to [`BLOCK_ROWS`] rows of sums.
    ///
    /// # Safety
    ///
    /// The left block must have its rows in memory.
    pub(super) unsafe fn block(self, left: LeftBlock, rows: usize, right: &[u32], sums: &mut Sums) {
        assert!((1..=BLOCK_ROWS).contains(&rows));
        assert!(right.len() == left.steps * SQUARE * PANEL);
        let lines = sums.0.as_chunks_mut::<PANEL>().0.as_chunks_mut::<ROWS>().0;
        for (first, rows) in (0..rows).step_by(ROWS).zip(lines) {
            // SAFETY: the processor has the instructions, and the rows are in memory.
            unsafe { compute_rows(left, first, right, rows) };
        }
    }
}

/// Computes eight rows of sums.
///
/// # Safety
///
/// The processor must have AVX512-BF16, and the left block the tile of these rows in memory.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn compute_rows(
    left: LeftBlock,
    first: usize,
    right: &[u32],
    output: &mut [[f32; PANEL]; ROWS],
) {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for (step, right) in right.as_chunks::<{ SQUARE * PANEL }>().0.iter().enumerate() {
        let place = left.place(first, step).cast::<u32>();
        let mut rows = [place; ROWS];
        for (index, row) in rows.iter_mut().enumerate() {
            *row = place.wrapping_byte_add(index * left.row);
        }
        for (pair, right) in right.as_chunks::<PANEL>().0.iter().enumerate() {
            let mut halves = [pairs(_mm512_setzero_si512()); 2];
            for (vector, half) in halves.iter_mut().enumerate() {
                // SAFETY: half of the panel's row.
                let right =
                    unsafe { _mm512_loadu_si512(right.as_ptr().add(vector * VECTOR).cast()) };
                *half = pairs(right);
            }
            for (sums, row) in sums.iter_mut().zip(rows) {
                // SAFETY: the rows are in memory, as this function demands.
                let left = unsafe { row.add(pair).read_unaligned() };
                let left = pairs(_mm512_set1_epi32(left as i32));
                for (sum, right) in sums.iter_mut().zip(halves) {
                    *sum = _mm512_dpbf16_ps(*sum, left, right);
                }
            }
        }
    }
    for (row, sums) in output.iter_mut().zip(sums) {
        for (vector, sum) in sums.into_iter().enumerate() {
            // SAFETY: half of the row.
            unsafe { _mm512_storeu_ps(row.as_mut_ptr().add(vector * VECTOR), sum) };
        }
    }
}

fn pairs(bits: __m512i) -> __m512bh {
    // SAFETY: two types of the same 64 bytes.
    unsafe { std::mem::transmute(bits) }
}
