//! The nonlinearity of BERT's feed-forward network.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use burn::backend::DispatchTensor;
use burn::tensor::Tensor;

use crate::composition::{Composition, compose};
use crate::storage::from_storage;

/// Computes x·Φ(x) within 1.5·10⁻⁶; Φ is the cumulative normal distribution by the error function
/// ([Hendrycks & Gimpel 2016](https://arxiv.org/abs/1606.08415)).
///
/// # Shapes
///
/// - input, output: any
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_ops::gelu;
///
/// let output = gelu(Tensor::<1>::from_floats([1.0], &Device::flex()));
/// assert!((output.into_scalar::<f32>() - 0.841_345).abs() < 1e-5);
/// ```
pub fn gelu<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if crate::flex::runs_here(&input) {
        return crate::flex::gelu(input);
    }
    composed(input)
}

/// Computes GELU by Burn's own operations.
fn composed<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    compose(Gelu::<D>, [input.into_dispatch()]).0
}

/// Some of Burn's backends differentiate its own operation as if it were the tanh form.
#[derive(Debug)]
struct Gelu<const D: usize>;

/// Input: a tensor of `D` dimensions.
impl<const D: usize> Composition<1> for Gelu<D> {
    type Saved = Tensor<D>;

    fn forward(&self, [input]: [DispatchTensor; 1]) -> (DispatchTensor, Tensor<D>) {
        let saved = Tensor::<D>::from_dispatch(input);
        let input = from_storage(saved.clone());
        let output = input.clone() * cumulative(input);
        (output.cast(saved.dtype()).into_dispatch(), saved)
    }

    /// The derivative is Φ(x) + x·φ(x), φ being the density.
    fn backward(
        self,
        saved: Tensor<D>,
        gradient: DispatchTensor,
        _: [bool; 1],
    ) -> [Option<DispatchTensor>; 1] {
        let gradient = Tensor::<D>::from_dispatch(gradient);
        let input = from_storage(saved);
        let density = input.clone().square().mul_scalar(-0.5).exp();
        let density = density.mul_scalar(FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * 0.5);
        let derivative = cumulative(input.clone()) + input * density;
        let of_input = from_storage(gradient.clone()) * derivative;
        [Some(of_input.cast(gradient.dtype()).into_dispatch())]
    }
}

/// Φ(x).
fn cumulative<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    input
        .mul_scalar(FRAC_1_SQRT_2)
        .erf()
        .add_scalar(1.0)
        .mul_scalar(0.5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Kernel;
    use crate::kernel::tests::with_each_kernel;
    use crate::testing::{assert_close, device, gradients_of, on_each_device, random};
    use burn::tensor::Device;

    /// `torch.nn.functional.gelu(x)` and its derivative, in float64, at -2, -0.5, 0, 1, 3, 12, -12.
    const X: [f32; 7] = [-2.0, -0.5, 0.0, 1.0, 3.0, 12.0, -12.0];
    const VALUE: [f64; 7] = [
        -0.045_500_264,
        -0.154_268_77,
        0.0,
        0.841_344_75,
        2.995_950_3,
        12.0,
        0.0,
    ];
    const DERIVATIVE: [f64; 7] = [
        -0.085_231_8,
        0.132_504_9,
        0.5,
        1.083_315_5,
        1.011_945_6,
        1.0,
        0.0,
    ];

    /// Relative to the largest value, 12: 3.6·10⁻⁶, twice what the documentation promises.
    const TOLERANCE: f64 = 3e-7;

    #[test]
    fn values_and_gradients_are_pytorchs_with_every_kernel() {
        on_each_device(|| {
            let device = device().autodiff();
            // Less than a vector, and more than one task.
            for copies in [1, 5_000] {
                let input: Vec<f32> = X.repeat(copies);
                let ones = Tensor::<1>::ones([input.len()], &device);
                let run = |function: fn(Tensor<1>) -> Tensor<1>| {
                    let input = Tensor::<1>::from_floats(&input[..], &device).require_grad();
                    gradients_of(function(input.clone()), &ones, [&input])
                };
                let mut actual = with_each_kernel(|| run(gelu));
                actual.push((Kernel::Portable, run(composed)));
                for (level, actual) in actual {
                    for (actual, expected) in actual.iter().zip([VALUE, DERIVATIVE]) {
                        let context = format!("{level} {copies}");
                        assert_close(actual, &expected.repeat(copies), TOLERANCE, &context);
                    }
                }
            }
        });
    }

    #[test]
    fn values_without_autodiff_are_the_same_and_the_input_does_not_change() {
        let device = Device::flex();
        let input = random([3, 37], 1, &device);
        let before = input.clone().into_data();
        let plain = gelu(input.clone()).into_data();
        assert_eq!(input.clone().into_data(), before);
        let recorded = gelu(input.clone().autodiff().require_grad());
        assert_eq!(plain, recorded.into_data());
        assert_eq!(plain, gelu(input).into_data(), "in the input's own memory");
    }

    #[test]
    fn nan_is_not_hidden() {
        let input = Tensor::<1>::from_floats([f32::NAN], &Device::flex());
        assert!(gelu(input).into_scalar::<f32>().is_nan());
    }
}
