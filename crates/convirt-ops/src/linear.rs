//! Linear layers.

use burn::tensor::{Tensor, module};

use crate::precision;

/// Computes x·W + b for each vector x, in the [`Precision`](crate::Precision) of the current
/// [`autocast`](crate::autocast).
///
/// # Shapes
///
/// - input: `[..., d_input]`
/// - weight: `[d_input, d_output]`
/// - bias: `[d_output]`
/// - output: `[..., d_output]`, of the input's type
///
/// # Panics
///
/// When the shapes do not fit.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_ops::{Precision, autocast, linear};
///
/// let device = Device::flex();
/// let input = Tensor::<2>::from_floats([[1.0, 2.0]], &device);
/// let weight = Tensor::<2>::from_floats([[3.0, 5.0, 7.0], [4.0, 6.0, 8.0]], &device);
/// let output = autocast(Precision::BFloat16, || linear(input, weight, None));
/// assert_eq!(output.into_data(), [[11.0f32, 17.0, 23.0]].into());
/// ```
pub fn linear<const D: usize>(
    input: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let [d_input, d_output] = weight.dims();
    assert_eq!(input.dims()[D - 1], d_input, "width of the input");
    if let Some(bias) = &bias {
        assert_eq!(bias.dims(), [d_output], "width of the bias");
    }
    #[cfg(feature = "flex")]
    if crate::flex::runs_here(&input) && crate::flex::float32_here(&weight) {
        return crate::flex::linear(input, weight, bias);
    }
    composed(input, weight, bias)
}

/// Computes the layer by Burn's own operation.
pub(crate) fn composed<const D: usize>(
    input: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let output = precision::composed(input, weight, |input, weight| {
        module::linear(input, weight, None)
    });
    match bias {
        Some(bias) => {
            let dtype = output.dtype();
            output + bias.unsqueeze().cast(dtype)
        }
        None => output,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::tests::with_each_kernel;
    use crate::testing::{assert_close, device, on_each_device, random, values, values_in};
    use crate::{Precision, autocast};
    use burn::tensor::Device;

    type Function = fn(Tensor<3>, Tensor<2>, Option<Tensor<1>>) -> Tensor<3>;

    /// The output, then the gradients of input, weight and bias, as sums in float64.
    fn reference(
        [rows, d_input, d_output]: [usize; 3],
        [x, w, b, g]: [&[f32]; 4],
    ) -> [Vec<f64>; 4] {
        let at = |values: &[f32], index: usize| f64::from(values[index]);
        let matrix = |rows: usize, columns: usize, element: &dyn Fn(usize, usize) -> f64| {
            (0..rows * columns)
                .map(|index| element(index / columns, index % columns))
                .collect::<Vec<f64>>()
        };
        [
            matrix(rows, d_output, &|i, j| {
                let product = |k| at(x, i * d_input + k) * at(w, k * d_output + j);
                at(b, j) + (0..d_input).map(product).sum::<f64>()
            }),
            matrix(rows, d_input, &|i, k| {
                let product = |j| at(g, i * d_output + j) * at(w, k * d_output + j);
                (0..d_output).map(product).sum()
            }),
            matrix(d_input, d_output, &|k, j| {
                let product = |i| at(x, i * d_input + k) * at(g, i * d_output + j);
                (0..rows).map(product).sum()
            }),
            matrix(1, d_output, &|_, j| {
                (0..rows).map(|i| at(g, i * d_output + j)).sum()
            }),
        ]
    }

    fn check(function: Function, shape: [usize; 4], has_bias: bool) {
        // A sum of n products of numbers up to 1 is about √n large and is rounded n times.
        check_in(Precision::Float32, 1e-5, function, shape, has_bias);
    }

    fn check_in(
        precision: Precision,
        tolerance: f64,
        function: Function,
        [batch, tokens, d_input, d_output]: [usize; 4],
        has_bias: bool,
    ) {
        let device = device().autodiff();
        let input = random([batch, tokens, d_input], 1, &device).require_grad();
        let weight = random([d_input, d_output], 2, &device).require_grad();
        let bias = random([d_output], 3, &device)
            .mul_scalar(f64::from(u8::from(has_bias)))
            .detach()
            .require_grad();
        let gradient = random([batch, tokens, d_output], 4, &device);
        let optional_bias = has_bias.then(|| bias.clone());
        let output = autocast(precision, || {
            function(input.clone(), weight.clone(), optional_bias)
        });
        let gradients = (output.clone() * gradient.clone()).sum().backward();
        let mut actual = vec![
            values(&output),
            values(&input.grad(&gradients).unwrap()),
            values(&weight.grad(&gradients).unwrap()),
        ];
        actual.extend(has_bias.then(|| values(&bias.grad(&gradients).unwrap())));
        let (x, w) = (values_in(precision, input), values_in(precision, weight));
        let (b, g) = (values(&bias), values_in(precision, gradient.clone()));
        let mut expected = reference([batch * tokens, d_input, d_output], [&x, &w, &b, &g]);
        // The bias is not rounded, since it is added and not multiplied.
        let exact = [&x[..], &w, &b, &values(&gradient)];
        expected[3] = reference([batch * tokens, d_input, d_output], exact)[3].clone();
        for (actual, expected) in actual.iter().zip(&expected) {
            let context = format!("{batch} {tokens} {d_input} {d_output} {has_bias} {precision:?}");
            assert_close(actual, expected, tolerance, &context);
        }
    }

    /// Burn's own operation rounds the sums as well.
    #[test]
    fn bfloat16_gives_sums_of_products_of_rounded_factors() {
        on_each_device(|| {
            if !Precision::BFloat16.runs_on(&device()) {
                return;
            }
            let ways: [(Function, f64); 2] = [(linear, 1e-5), (composed, 6e-3)];
            for (function, tolerance) in ways {
                for shape in [
                    [1, 1, 1, 1],
                    [2, 3, 5, 20],
                    [3, 50, 70, 90],
                    [1, 300, 17, 3],
                ] {
                    with_each_kernel(|| {
                        check_in(Precision::BFloat16, tolerance, function, shape, true)
                    });
                }
            }
        });
    }

    #[test]
    fn values_and_gradients_are_sums_of_products() {
        on_each_device(|| {
            let shapes = [[1, 1, 1, 1], [1, 1, 33, 7], [2, 3, 5, 20], [3, 50, 70, 90]];
            for shape in shapes.into_iter().chain([[1, 300, 17, 3]]) {
                for has_bias in [false, true] {
                    check(linear, shape, has_bias);
                    check(composed, shape, has_bias);
                }
            }
        });
    }

    #[test]
    fn empty_batches_give_empty_outputs_and_zero_gradients() {
        on_each_device(|| {
            check(linear, [0, 3, 4, 5], true);
        });
    }

    #[test]
    fn float64_is_computed_by_burns_operations() {
        let device = Device::flex();
        let double = burn::tensor::DType::F64;
        let (input, weight) = (random([2, 3], 1, &device), random([3, 4], 2, &device));
        let actual = linear(
            input.clone().cast(double),
            weight.clone().cast(double),
            None,
        );
        assert_eq!(actual.dtype(), double);
        let expected: Vec<f64> = actual.into_data().iter().collect();
        assert_close(
            &values(&linear(input, weight, None)),
            &expected,
            1e-6,
            "both",
        );
    }

    #[test]
    fn inputs_outside_autodiff_get_no_gradient() {
        let device = Device::flex().autodiff();
        let input = random([2, 3], 1, &device);
        let weight = random([3, 4], 2, &device).require_grad();
        let gradients = linear(input.clone(), weight.clone(), None).sum().backward();
        assert!(input.grad(&gradients).is_none() && weight.grad(&gradients).is_some());
    }

    #[test]
    #[should_panic(expected = "width of the input")]
    fn widths_that_do_not_fit_panic() {
        let device = Device::flex();
        linear(random([2, 3], 1, &device), random([4, 5], 2, &device), None);
    }
}
