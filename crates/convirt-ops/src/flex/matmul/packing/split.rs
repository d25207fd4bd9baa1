//! Splitting of numbers into parts of bfloat16, which are stored in pairs.

use half::bf16;

use super::{SQUARE, STEP};
use crate::flex::element::Element;

/// Sixteen pairs of each part, the largest part first; unspecified past the last part.
pub(super) type Row = [[u32; SQUARE]; 3];

/// How numbers are split.
pub(super) trait Split {
    /// How many parts there are.
    const COUNT: usize;

    /// Pairs each number with its neighbour.
    fn neighbours<T: Element>(numbers: &[T; STEP]) -> Row;

    /// Pairs the numbers of two arrays.
    fn pair_up<T: Element>(even: &[T; SQUARE], odd: &[T; SQUARE]) -> Row;
}

/// Splits into `N` parts, on every processor.
pub(super) struct Portable<const N: usize>;

impl<const N: usize> Split for Portable<N> {
    const COUNT: usize = N;

    #[inline(always)]
    fn neighbours<T: Element>(numbers: &[T; STEP]) -> Row {
        let mut pairs = [[0; SQUARE]; 3];
        for index in 0..SQUARE {
            let even = parts::<T, N>(numbers[2 * index]);
            let odd = parts::<T, N>(numbers[2 * index + 1]);
            for part in 0..N {
                pairs[part][index] = even[part] | odd[part] << 16;
            }
        }
        pairs
    }

    #[inline(always)]
    fn pair_up<T: Element>(even: &[T; SQUARE], odd: &[T; SQUARE]) -> Row {
        let mut pairs = [[0; SQUARE]; 3];
        for index in 0..SQUARE {
            let (even, odd) = (parts::<T, N>(even[index]), parts::<T, N>(odd[index]));
            for part in 0..N {
                pairs[part][index] = even[part] | odd[part] << 16;
            }
        }
        pairs
    }
}

/// The bits of the parts of a number.
#[inline(always)]
fn parts<T: Element, const N: usize>(number: T) -> [u32; 3] {
    let bits = |part: bf16| u32::from(part.to_bits());
    if N == 1 {
        return [bits(number.to_bfloat16()), 0, 0];
    }
    let number = number.widen();
    let high = highest(number);
    let residual = number - high.widen();
    let middle = residual.to_bfloat16();
    let low = (residual - middle.widen()).to_bfloat16();
    [bits(high), bits(middle), bits(low)]
}

/// The number rounded to 8 significant bits. A finite number stays finite.
#[inline(always)]
fn highest(number: f32) -> bf16 {
    const INFINITE: u16 = bf16::INFINITY.to_bits();
    let nearest = number.to_bfloat16().to_bits();
    let bits = if nearest & 0x7FFF == INFINITE {
        (number.to_bits() >> 16) as u16
    } else {
        nearest
    };
    bf16::from_bits(bits)
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::Avx512;

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::*;

    use super::{Row, Split};
    use crate::flex::element::Element;
    use crate::flex::matmul::packing::{SQUARE, STEP};

    /// Splits into `N` parts by `VCVTNE2PS2BF16`, which rounds 32 numbers at once and denormal ones
    /// to zero. Its functions may be called only where AVX-512 BW and BF16 are enabled.
    pub(in super::super) struct Avx512<const N: usize>;

    impl<const N: usize> Split for Avx512<N> {
        const COUNT: usize = N;

        #[inline(always)]
        fn neighbours<T: Element>(numbers: &[T; STEP]) -> Row {
            let (low, high) = numbers.split_at(SQUARE);
            // SAFETY: the caller is compiled for these instructions.
            unsafe { stored(parts::<N>(vector(low), vector(high))) }
        }

        #[inline(always)]
        fn pair_up<T: Element>(even: &[T; SQUARE], odd: &[T; SQUARE]) -> Row {
            // SAFETY: the caller is compiled for these instructions.
            unsafe {
                let mut parts = parts::<N>(vector(even), vector(odd));
                // Interleave the two halves.
                let order = _mm512_set_epi32(
                    0x1F_000F, 0x1E_000E, 0x1D_000D, 0x1C_000C, 0x1B_000B, 0x1A_000A, 0x19_0009,
                    0x18_0008, 0x17_0007, 0x16_0006, 0x15_0005, 0x14_0004, 0x13_0003, 0x12_0002,
                    0x11_0001, 0x10_0000,
                );
                for part in &mut parts {
                    *part = _mm512_permutexvar_epi16(order, *part);
                }
                stored(parts)
            }
        }
    }

    #[inline(always)]
    unsafe fn vector<T: Element>(numbers: &[T]) -> __m512 {
        let mut wide = [0.0; SQUARE];
        wide.iter_mut()
            .zip(numbers)
            .for_each(|(target, number)| *target = number.widen());
        // SAFETY: the array has the size of a vector.
        unsafe { _mm512_loadu_ps(wide.as_ptr()) }
    }

    /// Parts of 32 numbers.
    #[inline(always)]
    unsafe fn parts<const N: usize>(mut low: __m512, mut high: __m512) -> [__m512i; 3] {
        // SAFETY: the caller is compiled for these instructions.
        unsafe {
            let round = |low, high| -> __m512i {
                // Two types of the same 64 bytes.
                std::mem::transmute(_mm512_cvtne2ps_pbh(high, low))
            };
            let widen = |half: __m256i| {
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)))
            };
            let mut split = [_mm512_setzero_si512(); 3];
            if N > 1 {
                // No finite number may round to infinity; NaN stays NaN.
                let [max, min] = [_mm512_set1_ps(MAX_BFLOAT16), _mm512_set1_ps(-MAX_BFLOAT16)];
                let clamp = |number| _mm512_min_ps(max, _mm512_max_ps(min, number));
                split[0] = round(clamp(low), clamp(high));
            } else {
                split[0] = round(low, high);
            }
            for part in 1..N {
                low = _mm512_sub_ps(low, widen(_mm512_castsi512_si256(split[part - 1])));
                high = _mm512_sub_ps(high, widen(_mm512_extracti64x4_epi64::<1>(split[part - 1])));
                split[part] = round(low, high);
            }
            split
        }
    }

    /// The largest number of bfloat16.
    const MAX_BFLOAT16: f32 = f32::from_bits(0x7F7F_0000);

    #[inline(always)]
    unsafe fn stored(parts: [__m512i; 3]) -> Row {
        let mut row = [[0; SQUARE]; 3];
        for (target, part) in row.iter_mut().zip(parts) {
            // SAFETY: the array has the size of a vector.
            unsafe { _mm512_storeu_si512(target.as_mut_ptr().cast(), part) };
        }
        row
    }

    #[cfg(test)]
    mod tests {
        use super::super::Portable;
        use super::*;
        use crate::testing::random_values;

        #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
        fn both<const N: usize>(numbers: &[f32; STEP]) -> [Row; 2] {
            let (even, odd) = (
                numbers.first_chunk().unwrap(),
                numbers.last_chunk().unwrap(),
            );
            [
                Avx512::<N>::neighbours(numbers),
                Avx512::<N>::pair_up(even, odd),
            ]
        }

        fn check<const N: usize>(numbers: &[f32; STEP]) {
            let (even, odd) = (
                numbers.first_chunk().unwrap(),
                numbers.last_chunk().unwrap(),
            );
            let expected = [
                Portable::<N>::neighbours(numbers),
                Portable::<N>::pair_up(even, odd),
            ];
            // SAFETY: the test has checked for the instructions.
            let actual = unsafe { both::<N>(numbers) };
            for (actual, expected) in actual.iter().zip(&expected) {
                assert_eq!(actual[..N], expected[..N], "{numbers:?} in {N}");
            }
        }

        #[test]
        fn instruction_and_portable_code_give_the_same_parts() {
            if !is_x86_feature_detected!("avx512bf16") || !is_x86_feature_detected!("avx512bw") {
                return println!("skipped: no AVX512-BF16");
            }
            for (round, numbers) in random_values(STEP * 200, 1).chunks(STEP).enumerate() {
                let scale = 2f32.powi(round as i32 - 90);
                let mut numbers: [f32; STEP] = numbers.try_into().unwrap();
                numbers.iter_mut().for_each(|number| *number *= scale);
                numbers[3] = 0.0;
                check::<1>(&numbers);
                check::<2>(&numbers);
                check::<3>(&numbers);
            }
            // Without the bound, the largest number would round to infinity.
            check::<3>(&[f32::MAX; STEP]);
            check::<3>(&[f32::MIN; STEP]);
        }
    }
}
