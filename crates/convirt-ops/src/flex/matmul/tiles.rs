//! Matrix products by tiles of bfloat16 (Intel AMX).
//!
//! A tile has 16 rows of 64 bytes: 16 × 16 sums of float32, 16 rows × 32 of the left factor, or 16
//! pairs × 16 columns of the right one. Four tiles hold a block of sums; each step of the depth
//! loads four others and multiplies them crosswise, so that every load serves two multiplications:
//!
//! ```text
//!                    ┌ right 0 ┐ ┌ right 1 ┐   32 deep
//!                    └─────────┘ └─────────┘
//! ┌ left 0, 32 deep ┐ ┌ sums 0 ┐ ┌ sums 1 ┐    16 rows
//! └─────────────────┘ └────────┘ └────────┘
//! ┌ left 1 ─────────┐ ┌ sums 2 ┐ ┌ sums 3 ┐    16 rows
//! └─────────────────┘ └────────┘ └────────┘
//! ```

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) mod amx;
pub(super) mod model;

use half::bf16;

use super::packing::{PANEL, STEP};

/// Rows of a tile.
const ROWS: usize = 16;

/// Rows of a block of sums.
pub(super) const BLOCK_ROWS: usize = 2 * ROWS;

/// A block of sums, row after row.
#[repr(C, align(64))]
pub(super) struct Sums(pub(super) [f32; BLOCK_ROWS * PANEL]);

/// The instructions on a processor's eight tiles, or a model of them. Tiles are all of 16 rows of
/// 64 bytes.
pub(super) trait Tiles {
    /// `TILEZERO`: fills a tile with zeros.
    fn zero<const TILE: usize>(&mut self);

    /// `TILELOADD`: loads a tile's rows from memory.
    ///
    /// # Safety
    ///
    /// There must be 64 bytes to read at each of 16 places, `stride` bytes from one to the next.
    unsafe fn load<const TILE: usize>(&mut self, from: *const u8, stride: usize);

    /// `TDPBF16PS`: adds a left tile times a right one to sums.
    fn multiply<const SUMS: usize, const LEFT: usize, const RIGHT: usize>(&mut self);

    /// `TILESTORED`: stores a tile's rows to memory.
    ///
    /// # Safety
    ///
    /// There must be 64 bytes to write at each of 16 places, `stride` bytes from one to the next.
    unsafe fn store<const TILE: usize>(&self, to: *mut u8, stride: usize);
}

/// Rows of a left factor for one block: [packed](super::packing), each of `steps` whole steps.
#[derive(Clone, Copy)]
pub(super) struct LeftBlock {
    /// The first row of the first part.
    pub(super) first: *const bf16,
    /// Elements from a row to the next.
    pub(super) stride: usize,
    /// Elements from a part to the next.
    pub(super) part: usize,
    /// Whether there are rows for a second tile.
    pub(super) is_tall: bool,
    pub(super) steps: usize,
}

/// Computes a block of sums of the given products of parts, in their order.
///
/// # Safety
///
/// The block must have its rows in memory, 16 or 32, for each part named.
#[inline(always)]
pub(super) unsafe fn block<T: Tiles>(
    tiles: &mut T,
    left: LeftBlock,
    right: &[u32],
    products: &[[usize; 2]],
    sums: &mut Sums,
) {
    const LINE: usize = PANEL * size_of::<f32>();
    const HALF: usize = LINE / 2;
    let panel = left.steps * STEP / 2 * PANEL;
    let stride = left.stride * size_of::<bf16>();
    tiles.zero::<0>();
    tiles.zero::<1>();
    tiles.zero::<2>();
    tiles.zero::<3>();
    for [left_part, right_part] in products {
        let right = right[right_part * panel..][..panel].as_ptr().cast::<u8>();
        let first = left.first.wrapping_add(left_part * left.part).cast::<u8>();
        for step in 0..left.steps {
            let left_0 = first.wrapping_add(step * STEP * size_of::<bf16>());
            let right = right.wrapping_add(step * STEP / 2 * LINE);
            // SAFETY: rows and panel have this step, as this function demands.
            unsafe {
                tiles.load::<4>(left_0, stride);
                tiles.load::<6>(right, LINE);
                tiles.multiply::<0, 4, 6>();
                tiles.load::<7>(right.wrapping_add(HALF), LINE);
                tiles.multiply::<1, 4, 7>();
                if left.is_tall {
                    tiles.load::<5>(left_0.wrapping_add(ROWS * stride), stride);
                    tiles.multiply::<2, 5, 6>();
                    tiles.multiply::<3, 5, 7>();
                }
            }
        }
    }
    let to = sums.0.as_mut_ptr().cast::<u8>();
    // SAFETY: the sums are 32 lines of two halves.
    unsafe {
        tiles.store::<0>(to, LINE);
        tiles.store::<1>(to.add(HALF), LINE);
        tiles.store::<2>(to.add(ROWS * LINE), LINE);
        tiles.store::<3>(to.add(ROWS * LINE + HALF), LINE);
    }
}
