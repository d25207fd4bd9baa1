//! Elements of tensors: float32, or bfloat16, which computes in float32.

use burn::tensor::DType;
use half::bf16;

use super::buffer_pool::Plain;
use super::matmul::{Factor, Matrix, MatrixMut};
use super::simd::vectorized;

/// The element type of a tensor that operations of this backend take.
pub(crate) trait Element: burn::tensor::Element + bytemuck::Pod + Plain + Default {
    /// Its name in Burn.
    const DTYPE: DType;

    /// The same number in float32.
    fn widen(self) -> f32;

    /// The nearest number of this type.
    fn round(value: f32) -> Self;

    /// The nearest number of bfloat16.
    fn to_bfloat16(self) -> bf16;

    /// The matrix as a factor of a matrix product.
    fn factor(matrix: Matrix<'_, Self>) -> Factor<'_>;

    /// The matrix itself if it is of float32, or else back as an error.
    fn float32(matrix: MatrixMut<'_, Self>) -> Result<MatrixMut<'_>, MatrixMut<'_, Self>>;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn round(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn to_bfloat16(self) -> bf16 {
        <bf16 as Element>::round(self)
    }

    fn factor(matrix: Matrix<'_, Self>) -> Factor<'_> {
        Factor::Float32(matrix)
    }

    fn float32(matrix: MatrixMut<'_, Self>) -> Result<MatrixMut<'_>, MatrixMut<'_, Self>> {
        Ok(matrix)
    }
}

impl Element for bf16 {
    const DTYPE: DType = DType::BF16;

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    /// Rounds to nearest, ties to even; NaN stays NaN.
    #[inline(always)]
    fn round(value: f32) -> Self {
        const DROPPED: u32 = 0xFFFF;
        /// A mantissa bit, which makes sure that a NaN does not become an infinity.
        const QUIET: u32 = 1 << 22;
        let bits = value.to_bits();
        let nearest = bits.wrapping_add((DROPPED >> 1) + (bits >> 16 & 1));
        let bits = if value.is_nan() {
            bits | QUIET
        } else {
            nearest
        };
        Self::from_bits((bits >> 16) as u16)
    }

    #[inline(always)]
    fn to_bfloat16(self) -> bf16 {
        self
    }

    fn factor(matrix: Matrix<'_, Self>) -> Factor<'_> {
        Factor::BFloat16(matrix)
    }

    fn float32(matrix: MatrixMut<'_, Self>) -> Result<MatrixMut<'_>, MatrixMut<'_, Self>> {
        Err(matrix)
    }
}

vectorized! {
    /// Converts numbers to the nearest of another type.
    pub(crate) fn convert<F: Element, T: Element>(numbers: &[F], output: &mut [T]) {
        let pairs = output.iter_mut().zip(numbers);
        pairs.for_each(|(output, number)| *output = T::round(number.widen()));
    }
}

/// Runs an expression with `T` as the element type of a tensor, float32 or bfloat16.
macro_rules! with_element_type {
    ($dtype:expr, $T:ident => $work:expr) => {
        match $dtype {
            burn::tensor::DType::F32 => {
                type $T = f32;
                $work
            }
            burn::tensor::DType::BF16 => {
                type $T = half::bf16;
                $work
            }
            other => unreachable!("an operation of this backend on {other:?}"),
        }
    };
}
pub(crate) use with_element_type;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_to_nearest_ties_to_even() {
        // The spacing at 1 is 2⁻⁷.
        let spacing = 2f32.powi(-7);
        for (value, expected) in [
            (1.0, 1.0),
            (1.0 + 0.49 * spacing, 1.0),
            (1.0 + 0.5 * spacing, 1.0),
            (1.0 + 1.5 * spacing, 1.0 + 2.0 * spacing),
            (-1.0 - 0.51 * spacing, -1.0 - spacing),
            (f32::MAX, f32::INFINITY),
            (f32::NEG_INFINITY, f32::NEG_INFINITY),
            (0.0, 0.0),
        ] {
            assert_eq!(<bf16 as Element>::round(value).widen(), expected, "{value}");
        }
        for bits in [0x7FC0_0000, 0x7F80_0001, 0xFFFF_FFFF, 0xFF80_0001] {
            let number = <bf16 as Element>::round(f32::from_bits(bits));
            assert!(number.widen().is_nan(), "{bits:x}");
        }
    }
}
