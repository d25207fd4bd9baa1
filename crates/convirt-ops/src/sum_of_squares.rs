//! Sums of squares, the roots of which are norms.

use burn::tensor::Tensor;

use crate::composition::{column_sums, parts};

/// Numbers that a device adds up in one kernel; more are divided among two.
const ONE_ROW: usize = 1 << 14;

/// Computes the sum of the squares of all elements. It does not depend on the number of threads.
///
/// # Shapes
///
/// - input: any
/// - output: `[1]`, without a gradient
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_ops::sum_of_squares;
///
/// let gradient = Tensor::<2>::from_data([[1.0, 2.0], [-2.0, 4.0]], &Device::flex());
/// assert_eq!(sum_of_squares(gradient).into_scalar::<f32>(), 25.0);
/// ```
pub fn sum_of_squares<const D: usize>(input: Tensor<D>) -> Tensor<1> {
    let input = input.without_autodiff();
    #[cfg(feature = "flex")]
    if crate::flex::runs_here(&input) {
        return crate::flex::sum_of_squares(input);
    }
    let count = input.shape().num_elements();
    if count == 0 {
        return Tensor::zeros([1], (&input.device(), input.dtype()));
    }
    let rows = match count {
        ..=ONE_ROW => 1,
        _ => parts(count),
    };
    column_sums(input.reshape([rows, count / rows]).square()).flatten(0, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::is_flex;
    use crate::kernel::tests::with_each_kernel;
    use crate::testing::{device, on_each_device, random};

    #[test]
    fn sums_are_those_of_burns_operations() {
        on_each_device(|| {
            with_each_kernel(|| {
                // A part of a vector, a part of a block, some blocks.
                for length in [0, 3, 1_000, 100_003] {
                    let input: Tensor<1> = random([length], 7, &device());
                    let exact: f64 = input.to_data().iter::<f64>().map(|it| it * it).sum();
                    let sum = sum_of_squares(input).into_scalar::<f64>();
                    // Burn's sum adds number after number where a device has few threads.
                    let tolerance = if is_flex(&device()) { 1e-6 } else { 3e-5 };
                    let error = (sum - exact).abs();
                    assert!(error <= tolerance * exact, "{sum}, not {exact}");
                }
            });
        });
    }

    #[test]
    fn a_number_that_is_not_finite_is_seen_at_any_place() {
        for place in [0, 17, 999, 20_000] {
            let mut numbers = vec![1e-3_f32; 20_001];
            numbers[place] = f32::NAN;
            let input = Tensor::<1>::from_floats(&*numbers, &device());
            assert!(sum_of_squares(input).into_scalar::<f32>().is_nan());
        }
    }
}
