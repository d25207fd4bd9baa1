//! Functions of one number and sums of many, written so that the compiler vectorizes loops of them.

use std::f32::consts::{FRAC_1_SQRT_2, LOG2_E};

/// Numbers that one instruction takes: 16 of float32 in AVX-512. AVX2 takes two instructions.
pub(crate) const LANES: usize = 16;

/// a·b + c, rounded once where one instruction computes it.
#[inline(always)]
pub(crate) fn mul_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// A polynomial, the highest power's coefficient first.
#[inline(always)]
fn polynomial<const FUSED: bool, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut value = coefficients[0];
    for coefficient in &coefficients[1..] {
        value = mul_add::<FUSED>(value, x, *coefficient);
    }
    value
}

/// eˣ for x up to 88, within 2 units in the last place; 0 where the result is subnormal.
///
/// eˣ = 2ⁿ·eʳ with r = x − n·ln 2, and [Cephes](https://netlib.org/cephes/)'s polynomial (`expf`)
/// for eʳ.
#[inline(always)]
pub(crate) fn exp<const FUSED: bool>(x: f32) -> f32 {
    /// ln of the smallest normal number.
    const MIN_EXPONENT: f32 = -87.336_54;
    /// ln 2 in two parts; multiples of the first are exact, since its last bits are zero.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    /// 3·2²². Adding it to a number below 2²² rounds that number to an integer, which then stands
    /// in the mantissa's last bits.
    const ROUND: f32 = 12_582_912.0;
    let rounded = mul_add::<FUSED>(x, LOG2_E, ROUND);
    let power = rounded - ROUND;
    let remainder = mul_add::<FUSED>(power, -LN_2[0], x);
    let remainder = mul_add::<FUSED>(power, -LN_2[1], remainder);
    let curve = polynomial::<FUSED, _>(
        remainder,
        [
            1.987_569_1e-4,
            1.398_199_9e-3,
            8.333_452e-3,
            4.166_579_6e-2,
            1.666_666_5e-1,
            5e-1,
        ],
    );
    let mantissa = mul_add::<FUSED>(curve, remainder * remainder, remainder) + 1.0;
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits());
    let scale = f32::from_bits(exponent.wrapping_add(127) << 23);
    if x < MIN_EXPONENT {
        0.0
    } else {
        mantissa * scale
    }
}

/// log(1 + eˣ), within 3 units in the last place.
///
/// It is x + log(1 + e⁻ˣ) for positive x, and log(1 + y) = 2·artanh(y / (2 + y)), whose series is cut
/// off below half a unit for y up to 1.
#[inline(always)]
pub(crate) fn softplus<const FUSED: bool>(x: f32) -> f32 {
    let power = exp::<FUSED>(-x.abs());
    let ratio = power / (2.0 + power);
    let series = polynomial::<FUSED, _>(
        ratio * ratio,
        [
            1.0 / 15.0,
            1.0 / 13.0,
            1.0 / 11.0,
            1.0 / 9.0,
            1.0 / 7.0,
            1.0 / 5.0,
            1.0 / 3.0,
            1.0,
        ],
    );
    let positive = if x > 0.0 { x } else { 0.0 };
    mul_add::<FUSED>(2.0 * ratio, series, positive)
}

/// The error function, within 5·10⁻⁷.
///
/// The rational function is [Eigen](https://libeigen.gitlab.io)'s.
#[inline(always)]
fn erf<const FUSED: bool>(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let numerator = polynomial::<FUSED, _>(
        square,
        [
            -2.726_142_3e-10,
            2.770_681_4e-8,
            -2.101_024e-6,
            -5.692_506_4e-5,
            -7.349_906_3e-4,
            -2.954_6e-3,
            -1.609_603_3e-2,
        ],
    );
    let denominator = polynomial::<FUSED, _>(
        square,
        [
            -1.456_607_2e-5,
            -2.133_740_6e-4,
            -1.682_827e-3,
            -7.373_329e-3,
            -1.426_473_9e-2,
        ],
    );
    // In float32 erf(4) rounds to 1.
    if square >= 16.0 {
        0.25 * x
    } else {
        (x * numerator / denominator).clamp(-1.0, 1.0)
    }
}

/// The cumulative normal distribution Φ.
#[inline(always)]
pub(crate) fn normal_cumulative<const FUSED: bool>(x: f32) -> f32 {
    mul_add::<FUSED>(erf::<FUSED>(x * FRAC_1_SQRT_2), 0.5, 0.5)
}

/// The normal distribution's density φ.
#[inline(always)]
pub(crate) fn normal_density<const FUSED: bool>(x: f32) -> f32 {
    /// 1/√(2π).
    const PEAK: f32 = 0.398_942_3;
    exp::<FUSED>(-0.5 * x * x) * PEAK
}

/// Mean and biased variance. The mean of the residuals corrects the mean, because a float32 sum is
/// too coarse where the mean is large beside the spread.
#[inline(always)]
pub(crate) fn moments(values: &[f32]) -> [f32; 2] {
    let inverse_count = 1.0 / values.len() as f32;
    let mean = sum(values, values, |x, _| x) * inverse_count;
    let residual = sum(values, values, |x, _| x - mean) * inverse_count;
    let squares = sum(values, values, |x, _| (x - mean) * (x - mean)) * inverse_count;
    [mean + residual, squares - residual * residual]
}

/// Adds sums to totals in float64.
pub(crate) fn add_in_float64<T: Copy + Into<f64>>(totals: &mut [f64], sums: &[T]) {
    for (total, sum) in totals.iter_mut().zip(sums) {
        *total += (*sum).into();
    }
}

/// Sums a function of the pairs of two slices' elements.
#[inline(always)]
pub(crate) fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (chunks_a, remainder_a) = a.as_chunks::<LANES>();
    let (chunks_b, remainder_b) = b.as_chunks::<LANES>();
    for (a, b) in chunks_a.iter().zip(chunks_b) {
        for lane in 0..LANES {
            lanes[lane] += term(a[lane], b[lane]);
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(remainder_a).zip(remainder_b) {
        *lane += term(*a, *b);
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::super::simd::vectorized;
    use super::*;
    use crate::kernel::tests::with_each_kernel;

    vectorized! {
        fn exponentials(values: &mut [f32]) {
            values.iter_mut().for_each(|value| *value = exp::<FUSED>(*value));
        }
    }

    vectorized! {
        fn softpluses(values: &mut [f32]) {
            values.iter_mut().for_each(|value| *value = softplus::<FUSED>(*value));
        }
    }

    #[test]
    fn softplus_is_within_three_units_of_the_last_place_and_nan_stays_nan() {
        let x = line(-87.0, 88.0);
        for (level, actual) in with_each_kernel(|| {
            let mut values = x.clone();
            softpluses(&mut values);
            let mut ends = [-1e4, 1e4, f32::NAN];
            softpluses(&mut ends);
            (values, ends)
        }) {
            for (x, actual) in x.iter().zip(actual.0) {
                let exact = f64::from(*x).exp().ln_1p();
                let unit = f64::from((exact as f32).next_up() - exact as f32);
                let error = (f64::from(actual) - exact).abs();
                assert!(error <= 3.0 * unit, "{level:?}: {x}: {exact}, not {actual}");
            }
            assert_eq!(actual.1[..2], [0.0, 1e4], "{level:?}");
            assert!(actual.1[2].is_nan(), "{level:?}");
        }
    }

    vectorized! {
        fn cumulative(values: &mut [f32]) {
            values.iter_mut().for_each(|value| *value = normal_cumulative::<FUSED>(*value));
        }
    }

    fn line(start: f32, end: f32) -> Vec<f32> {
        let count = 100_003;
        (0..count)
            .map(|i| start + (end - start) * (i as f32 / count as f32))
            .collect()
    }

    #[test]
    fn exponentials_are_within_two_units_of_the_last_place() {
        let x = line(-87.3, 88.0);
        for (level, actual) in with_each_kernel(|| {
            let mut values = x.clone();
            exponentials(&mut values);
            values
        }) {
            for (x, actual) in x.iter().zip(actual) {
                let exact = f64::from(*x).exp();
                let error = (f64::from(actual) - exact).abs();
                let unit = f64::from((exact as f32).next_up() - exact as f32);
                assert!(
                    error <= 2.0 * unit,
                    "{level:?}: e^{x} is {exact}, not {actual}"
                );
            }
        }
    }

    #[test]
    fn exponentials_underflow_to_zero_and_nan_stays_nan() {
        for (level, actual) in with_each_kernel(|| {
            let mut values = [-87.4, -1e4, f32::MIN, f32::NEG_INFINITY, 0.0, f32::NAN];
            exponentials(&mut values);
            values
        }) {
            assert_eq!(actual[..5], [0.0, 0.0, 0.0, 0.0, 1.0], "{level:?}");
            assert!(actual[5].is_nan(), "{level:?}");
        }
    }

    /// Φ by the series Σ xᵏ/(1·3·5…k) times φ (Marsaglia 2004), in float64.
    fn exact_normal_cumulative(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        let mut odd = 1.0;
        while term.abs() > 1e-18 {
            odd += 2.0;
            term *= x * x / odd;
            sum += term;
        }
        0.5 + sum * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
    }

    /// Half the error function's tolerance, and the rounding of a number up to 1.
    #[test]
    fn cumulative_distribution_is_that_of_the_series_and_ends_at_0_and_1() {
        let x = line(-6.0, 6.0);
        for (level, actual) in with_each_kernel(|| {
            let mut values = x.clone();
            cumulative(&mut values);
            let mut ends = [-6.0, -1e30, 6.0, f32::INFINITY, f32::NAN];
            cumulative(&mut ends);
            (values, ends)
        }) {
            for (x, actual) in x.iter().zip(actual.0) {
                let exact = exact_normal_cumulative(f64::from(*x));
                let error = (f64::from(actual) - exact).abs();
                assert!(error < 3.1e-7, "{level:?}: Φ({x}) is {exact}, not {actual}");
            }
            assert_eq!(actual.1[..4], [0.0, 0.0, 1.0, 1.0], "{level:?}");
            assert!(actual.1[4].is_nan(), "{level:?}");
        }
    }

    #[test]
    fn sums_take_every_pair() {
        for length in [0, 1, 15, 16, 17, 100] {
            let a: Vec<f32> = (0..length).map(|i| i as f32).collect();
            let actual = sum(&a, &a, |a, b| a * b + 1.0);
            let expected: usize = (0..length).map(|i| i * i + 1).sum();
            assert_eq!(actual, expected as f32, "{length}");
        }
    }
}
