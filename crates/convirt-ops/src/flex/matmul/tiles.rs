//! Matrix products by tiles of bfloat16 (Intel AMX).
//!
//! A tile has 16 rows of 64 bytes: 16 × 16 sums of float32, 16 rows of 32 numbers of the left
//! factor, or 16 pairs of 16 columns of the right factor. The processor has eight tiles. Four hold
//! a block of sums; for each step of the depth, the other four are loaded and each left tile is
//! multiplied by each right tile, so that every load serves two multiplications:
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

use super::packing::{BLOCK_ROWS, PANEL, SQUARE, TILE};

/// A block of sums, row after row.
#[repr(C, align(64))]
pub(super) struct Sums(pub(super) [f32; BLOCK_ROWS * PANEL]);

/// Rows of a left factor for one block, packed or in place in a matrix of bfloat16.
#[derive(Clone, Copy)]
pub(super) struct LeftBlock {
    pub(super) first: *const u8,
    /// Bytes from a row of a tile to the next.
    pub(super) row: usize,
    /// Bytes from the first tile to the second, which holds the next 16 rows.
    pub(super) tile: usize,
    /// Bytes from a part to the next.
    pub(super) part: usize,
    /// Bytes from a step of the depth to the next.
    pub(super) step: usize,
    /// How many steps there are.
    pub(super) steps: usize,
}

impl LeftBlock {
    /// A block of packed rows.
    pub(super) fn packed(pairs: &[u32], steps: usize, parts: usize) -> Self {
        const TILE_BYTES: usize = TILE * size_of::<u32>();
        Self {
            first: pairs.as_ptr().cast(),
            row: TILE_BYTES / SQUARE,
            tile: TILE_BYTES,
            part: 2 * TILE_BYTES,
            step: 2 * TILE_BYTES * parts,
            steps,
        }
    }

    /// The address of a row's pairs of a step.
    pub(super) fn place(&self, row: usize, step: usize) -> *const u8 {
        let offset = row / SQUARE * self.tile + row % SQUARE * self.row + step * self.step;
        self.first.wrapping_add(offset)
    }
}

/// The instructions on a processor's eight tiles, or a model of them. Every tile has 16 rows of 64
/// bytes.
pub(super) trait Tiles {
    /// `TILEZERO`: fills a tile with zeros.
    fn zero<const TILE: usize>(&mut self);

    /// `TILELOADD`: loads a tile's rows from memory.
    ///
    /// # Safety
    ///
    /// There must be 64 bytes to read at each of 16 places, `stride` bytes from one to the next.
    unsafe fn load<const TILE: usize>(&mut self, from: *const u8, stride: usize);

    /// `TDPBF16PS`: adds the product of a left and a right tile to sums.
    fn multiply<const SUMS: usize, const LEFT: usize, const RIGHT: usize>(&mut self);

    /// `TILESTORED`: stores a tile's rows to memory.
    ///
    /// # Safety
    ///
    /// There must be 64 bytes to write at each of 16 places, `stride` bytes from one to the next.
    unsafe fn store<const TILE: usize>(&self, target: *mut u8, stride: usize);
}

/// Computes a block of sums: 32 rows if it `IS_TALL`, else the first 16.
///
/// Products of small parts come before the product of the largest parts, and each product shares a
/// loaded tile with the one before it. Products too small for float32 are left out: of the nine
/// products of three parts, six are computed, and of the four products of two parts, three.
///
/// # Safety
///
/// The left block must have its rows in memory.
#[inline(always)]
pub(super) unsafe fn block<T: Tiles, const IS_TALL: bool>(
    tiles: &mut T,
    left: LeftBlock,
    right: &[u32],
    parts: usize,
    sums: &mut Sums,
) {
    const LINE: usize = PANEL * size_of::<f32>();
    const HALF: usize = LINE / 2;
    const PART: usize = 2 * TILE * size_of::<u32>();
    assert!(size_of_val(right) == left.steps * parts * PART);
    tiles.zero::<0>();
    tiles.zero::<1>();
    tiles.zero::<2>();
    tiles.zero::<3>();
    for step in 0..left.steps {
        let first = left.first.wrapping_add(step * left.step);
        let right = right
            .as_ptr()
            .cast::<u8>()
            .wrapping_add(step * parts * PART);
        // Loads the given parts, if any, and multiplies.
        let mut multiply = |left_part: Option<usize>, right_part: Option<usize>| {
            let first = left_part.map(|part| first.wrapping_add(part * left.part));
            let right = right_part.map(|part| right.wrapping_add(part * PART));
            // SAFETY: rows and panel have this step, as this function demands.
            unsafe {
                if let Some(first) = first {
                    tiles.load::<4>(first, left.row);
                }
                if let Some(right) = right {
                    tiles.load::<6>(right, LINE);
                }
                tiles.multiply::<0, 4, 6>();
                if let Some(right) = right {
                    tiles.load::<7>(right.wrapping_add(HALF), LINE);
                }
                tiles.multiply::<1, 4, 7>();
                if IS_TALL {
                    if let Some(first) = first {
                        tiles.load::<5>(first.wrapping_add(left.tile), left.row);
                    }
                    tiles.multiply::<2, 5, 6>();
                    tiles.multiply::<3, 5, 7>();
                }
            }
        };
        match parts {
            1 => multiply(Some(0), Some(0)),
            2 => {
                multiply(Some(0), Some(1));
                multiply(Some(1), Some(0));
                multiply(Some(0), None);
            }
            _ => {
                multiply(Some(0), Some(2));
                multiply(None, Some(1));
                multiply(Some(1), None);
                multiply(None, Some(0));
                multiply(Some(2), None);
                multiply(Some(0), None);
            }
        }
    }
    let target = sums.0.as_mut_ptr().cast::<u8>();
    // SAFETY: the sums are 32 lines of two halves.
    unsafe {
        tiles.store::<0>(target, LINE);
        tiles.store::<1>(target.add(HALF), LINE);
        tiles.store::<2>(target.add(SQUARE * LINE), LINE);
        tiles.store::<3>(target.add(SQUARE * LINE + HALF), LINE);
    }
}
