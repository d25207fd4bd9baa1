//! A model of the instructions in plain Rust, exact to the bit, for tests on processors without
//! tiles and under tools that do not know the instructions.
//!
//! After Intel's Software Developer's Manual, volume 2, `TDPBF16PS`: of each step, products at even
//! and at odd depths are summed separately from zero by fused multiplications, and the sum of both
//! is added. Denormal numbers count as zero, as factors and as results.

use half::bf16;

use super::{SQUARE as ROWS, Tiles};

/// Bytes of a tile's row.
const ROW_BYTES: usize = 64;

/// Eight tiles.
pub(in super::super) struct Model([[[u8; ROW_BYTES]; ROWS]; 8]);

impl Model {
    pub(in super::super) fn new() -> Self {
        Self([[[0; ROW_BYTES]; ROWS]; 8])
    }
}

/// A factor, zero if it is denormal.
fn factor(row: &[u8; ROW_BYTES], index: usize) -> f32 {
    flushed(f32::from(bf16::from_le_bytes(row.as_chunks().0[index])))
}

/// A number, zero of its sign if it is denormal.
fn flushed(number: f32) -> f32 {
    if number.is_subnormal() {
        0f32.copysign(number)
    } else {
        number
    }
}

impl Tiles for Model {
    fn zero<const TILE: usize>(&mut self) {
        self.0[TILE] = [[0; ROW_BYTES]; ROWS];
    }

    unsafe fn load<const TILE: usize>(&mut self, source: *const u8, stride: usize) {
        for (index, row) in self.0[TILE].iter_mut().enumerate() {
            // SAFETY: the memory is valid, as this function demands.
            *row = unsafe { source.add(index * stride).cast::<[u8; ROW_BYTES]>().read() };
        }
    }

    fn multiply<const SUMS: usize, const LEFT: usize, const RIGHT: usize>(&mut self) {
        let (left, right) = (self.0[LEFT], self.0[RIGHT]);
        for (sums, left) in self.0[SUMS].iter_mut().zip(&left) {
            for (column, sum) in sums.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let [even, odd] = [0, 1].map(|odd| {
                    right.iter().enumerate().fold(0.0, |sum, (pair, right)| {
                        let [a, b] = [
                            factor(left, 2 * pair + odd),
                            factor(right, 2 * column + odd),
                        ];
                        flushed(a.mul_add(b, sum))
                    })
                });
                let before = flushed(f32::from_le_bytes(*sum));
                *sum = flushed(before + flushed(even + odd)).to_le_bytes();
            }
        }
    }

    unsafe fn store<const TILE: usize>(&self, target: *mut u8, stride: usize) {
        for (index, row) in self.0[TILE].iter().enumerate() {
            // SAFETY: the memory is valid, as this function demands.
            unsafe {
                target
                    .add(index * stride)
                    .cast::<[u8; ROW_BYTES]>()
                    .write(*row)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row 0, 1, …, 31 times a column of ones, added twice; and a row of denormal factors.
    #[test]
    fn products_are_summed_and_denormals_are_zero() {
        let mut tiles = Model::new();
        let row = |element: fn(usize) -> f32| -> [u8; ROW_BYTES] {
            let numbers =
                (0..2 * ROWS).flat_map(|index| bf16::from_f32(element(index)).to_le_bytes());
            numbers.collect::<Vec<_>>().try_into().unwrap()
        };
        tiles.0[4] = [row(|index| index as f32); ROWS];
        tiles.0[4][3] = row(|_| 1e-39);
        tiles.0[6] = [row(|_| 1.0); ROWS];
        tiles.multiply::<0, 4, 6>();
        tiles.multiply::<0, 4, 6>();
        for row in 0..ROWS {
            let expected = if row == 3 {
                0.0
            } else {
                2.0 * (31.0 * 32.0 / 2.0)
            };
            let sums = tiles.0[0][row].as_chunks().0.iter();
            assert!(
                sums.map(|sum| f32::from_le_bytes(*sum))
                    .all(|sum| sum == expected)
            );
        }
    }

    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    #[test]
    fn instructions_and_model_agree_to_the_bit() {
        use super::super::amx::Amx;
        let Some(amx) = Amx::detected() else {
            return println!("skipped: no AMX");
        };
        // Factors of all magnitudes, including denormal numbers and NaN.
        let mut state = 1u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for round in 0..200 {
            let mut bytes = [[[0u8; ROW_BYTES]; ROWS]; 3];
            for (tile, bytes) in bytes.iter_mut().enumerate() {
                for pair in bytes.as_flattened_mut().as_chunks_mut::<4>().0 {
                    let [low, high] = [random(), random()].map(|bits| match round % 4 {
                        // Around 1.
                        0 => (bits as u16 & 0x80FF) | 0x3F00,
                        // Products and sums that become denormal.
                        1 => (bits as u16 & 0x87FF) | 0x1C00,
                        2 => bits as u16 & 0xBFFF,
                        _ => bits as u16,
                    });
                    let sum = if round % 4 == 3 {
                        random() as u32
                    } else {
                        0x3F80_0000
                    };
                    *pair = match tile {
                        0 => sum.to_le_bytes(),
                        _ => (u32::from(low) | u32::from(high) << 16).to_le_bytes(),
                    };
                }
            }
            fn run(tiles: &mut impl Tiles, bytes: &[[[u8; ROW_BYTES]; ROWS]; 3]) -> Vec<u32> {
                let mut target = [[0u8; ROW_BYTES]; ROWS];
                // SAFETY: each tile's bytes are row after row.
                unsafe {
                    tiles.load::<0>(bytes[0].as_ptr().cast(), ROW_BYTES);
                    tiles.load::<4>(bytes[1].as_ptr().cast(), ROW_BYTES);
                    tiles.load::<6>(bytes[2].as_ptr().cast(), ROW_BYTES);
                    tiles.multiply::<0, 4, 6>();
                    tiles.store::<0>(target.as_mut_ptr().cast(), ROW_BYTES);
                }
                let words = target.as_flattened().as_chunks().0.iter();
                let numbers = words.map(|word| f32::from_le_bytes(*word));
                // NaN has many bit patterns.
                let bits = numbers.map(|n| if n.is_nan() { f32::NAN } else { n }.to_bits());
                bits.collect()
            }
            let model = run(&mut Model::new(), &bytes);
            assert_eq!(run(&mut amx.configure(), &bytes), model, "round {round}");
        }
    }
}
