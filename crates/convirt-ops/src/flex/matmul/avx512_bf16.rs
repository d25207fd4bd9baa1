//! Matrix products by AVX512-BF16, whose `VDPBF16PS` adds two products to each of sixteen sums.
//!
//! Eight rows of sums times a panel of 32 columns are held in registers: sixteen vectors, which
//! hide the instruction's latency. Each row's pair is broadcast to all lanes.

use std::arch::x86_64::*;

use super::packing::PANEL;
use super::tiles::{BLOCK_ROWS, Sums};

/// Sums of a vector.
const VECTOR: usize = 16;

/// Rows of sums that are held in registers, in all sixteen vectors.
const ROWS: usize = 8;

/// Proof that this processor has the instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instructions(());

impl Instructions {
    pub(super) fn detected() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16");
        found.then_some(Self(()))
    }

    /// Computes up to [`BLOCK_ROWS`] rows of sums. `left` gives the place of each row's pairs.
    ///
    /// # Safety
    ///
    /// Each row must have as many pairs as the panel `right`, one after the other.
    pub(super) unsafe fn block(
        self,
        rows: usize,
        left: impl Fn(usize) -> *const u32,
        right: &[u32],
        sums: &mut Sums,
    ) {
        assert!((1..=BLOCK_ROWS).contains(&rows));
        let lines = sums.0.as_chunks_mut::<PANEL>().0.as_chunks_mut::<ROWS>().0;
        for (first, to) in (0..rows).step_by(ROWS).zip(lines) {
            // The last row once more where there are fewer than eight.
            let left = std::array::from_fn(|row| left((first + row).min(rows - 1)));
            // SAFETY: the processor has the instructions, and the rows have their pairs.
            unsafe { add_up(left, right, to) };
        }
    }
}

/// Computes eight rows of a panel's columns.
///
/// # Safety
///
/// The processor must have AVX512-BF16, and each row of `left` as many pairs as the panel `right`.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn add_up(left: [*const u32; ROWS], right: &[u32], to: &mut [[f32; PANEL]; ROWS]) {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for (pair, right) in right.chunks_exact(PANEL).enumerate() {
        let right = [0, VECTOR].map(|start| {
            // SAFETY: half of the panel's row.
            pairs(unsafe { _mm512_loadu_si512(right.as_ptr().add(start).cast()) })
        });
        for (sums, left) in sums.iter_mut().zip(left) {
            // SAFETY: as this function demands.
            let left = unsafe { left.add(pair).read_unaligned() };
            let left = pairs(_mm512_set1_epi32(left as i32));
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = _mm512_dpbf16_ps(*sum, left, right);
            }
        }
    }
    for (to, sums) in to.iter_mut().zip(sums) {
        for (vector, sum) in sums.into_iter().enumerate() {
            // SAFETY: half of the row.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr().add(vector * VECTOR), sum) };
        }
    }
}

fn pairs(bits: __m512i) -> __m512bh {
    // SAFETY: two names of the same 64 bytes.
    unsafe { std::mem::transmute(bits) }
}
