//! The nonlinearity of BERT's feed-forward network.

use std::f64::consts::FRAC_1_SQRT_2;

use burn::tensor::{Tensor, activation};

use crate::storage::in_float32;

/// x·Φ(x), Φ the cumulative normal distribution by the error function
/// ([Hendrycks & Gimpel 2016](https://arxiv.org/abs/1606.08415)), within 1.5·10⁻⁶.
///
/// # Shapes
///
/// - input, output: any
pub fn gelu<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if crate::flex::runs_here(&input) {
        return crate::flex::gelu(input);
    }
    in_float32(input, composed)
}

/// By Burn's own operations.
fn composed<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    if !input.is_autodiff() {
        return activation::gelu(input);
    }
    // Some backends differentiate the fused operation as if it were the tanh form.
    let cumulative = input.clone().mul_scalar(FRAC_1_SQRT_2).erf() + 1.0;
    input.mul_scalar(0.5) * cumulative
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
    const SLOPE: [f64; 7] = [
        -0.085_231_8,
        0.132_504_9,
        0.5,
        1.083_315_5,
        1.011_945_6,
        1.0,
        0.0,
    ];

    /// Twice what the documentation promises of values around 1; the largest here is 12.
    const TOLERANCE: f64 = 3e-7;

    #[test]
    fn values_and_gradients_are_exact_at_every_level() {
        on_each_device(|| {
            let device = device().autodiff();
            // One is not a whole vector, the other is longer than a thread's turn.
            for copies in [1, 5_000] {
                let input: Vec<f32> = X.repeat(copies);
                let ones = Tensor::<1>::ones([input.len()], &device);
                let run = |function: fn(Tensor<1>) -> Tensor<1>| {
                    let input = Tensor::<1>::from_floats(&input[..], &device).require_grad();
                    gradients_of(function(input.clone()), &ones, [&input])
                };
                let mut found = with_each_kernel(|| run(gelu));
                found.push((Kernel::Portable, run(composed)));
                for (level, found) in found {
                    for (found, expected) in found.iter().zip([VALUE, SLOPE]) {
                        let what = format!("{level} {copies}");
                        assert_close(found, &expected.repeat(copies), TOLERANCE, &what);
                    }
                }
            }
        });
    }

    #[test]
    fn without_a_graph_values_are_the_same_and_the_input_is_kept() {
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
    fn not_a_number_is_not_hidden() {
        let input = Tensor::<1>::from_floats([f32::NAN], &Device::flex());
        assert!(gelu(input).into_scalar::<f32>().is_nan());
    }
}
