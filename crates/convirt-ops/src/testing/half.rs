//! Every operation takes feature maps and token states of bfloat16 or float16 and returns the same
//! type.

use burn::tensor::{DType, Device, FloatDType, Tensor};

use super::{assert_close, device, on_each_device, random, seeded};
use crate::kernel::tests::with_each_kernel;
use crate::{
    AttentionOptions, Epilogue, Normalization, Precision, Window, add_layer_norm, attention,
    autocast, batch_norm, batch_norm_train, conv2d, conv2d_batch_norm, dropout, gelu, layer_norm,
    linear, max_pool2d,
};

/// The precisions of 16 bits. The tolerance is a few roundings, of 2⁻⁹ or 2⁻¹² each: of the output, or
/// of a gradient and the numbers it is computed from.
const PRECISIONS: [(Precision, FloatDType, f64); 2] = [
    (Precision::BFloat16, FloatDType::BF16, 8e-3),
    (Precision::Float16, FloatDType::F16, 1e-3),
];

/// Computes in float32 and, from the same numbers, in 16 bits; compares outputs and gradients.
fn check<const D: usize, const N: usize>(
    context: &str,
    shapes: [[usize; D]; N],
    apply: impl Fn([Tensor<D>; N]) -> Tensor<D> + Sync,
) {
    on_each_device(|| {
        for (precision, half, tolerance) in PRECISIONS {
            if precision.runs_on(&device()) {
                check_in(precision, half, tolerance, context, shapes, &apply);
            }
        }
    });
}

fn check_in<const D: usize, const N: usize>(
    precision: Precision,
    half: FloatDType,
    tolerance: f64,
    context: &str,
    shapes: [[usize; D]; N],
    apply: &(impl Fn([Tensor<D>; N]) -> Tensor<D> + Sync),
) {
    let run = |dtype: FloatDType| {
        let graph = device().autodiff();
        let numbers = |shape, seed| {
            let numbers: Tensor<D> = random(shape, seed, &graph);
            numbers.cast(half).cast(dtype).detach()
        };
        let mut seeds = 1..;
        let inputs = shapes.map(|shape| numbers(shape, seeds.next().unwrap()).require_grad());
        let output = seeded(3, || autocast(precision, || apply(inputs.clone())));
        let gradient = numbers(output.dims(), 99);
        let gradients = (output.clone() * gradient).sum().backward();
        let mut results = vec![output];
        results.extend(inputs.map(|input| Tensor::from_inner(input.grad(&gradients).unwrap())));
        let results = results.into_iter().map(|tensor| {
            assert_eq!(tensor.dtype(), DType::from(dtype), "{context}");
            tensor.into_data().iter::<f32>().collect::<Vec<f32>>()
        });
        results.collect::<Vec<_>>()
    };
    let expected = run(FloatDType::F32);
    for (kernel, actual) in with_each_kernel(|| run(half)) {
        for (index, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
            let expected: Vec<f64> = expected.iter().map(|number| f64::from(*number)).collect();
            assert_close(
                actual,
                &expected,
                tolerance,
                &format!("{context}, {index}, {kernel}, {precision:?}"),
            );
        }
    }
}

fn weight<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    random(shape, 7, &device().autodiff())
}

fn window(stride: usize, padding: usize) -> Window {
    Window {
        stride: [stride; 2],
        padding: [padding; 2],
        dilation: [1; 2],
    }
}

#[test]
fn convolutions() {
    for (input, kernel, window, groups) in [
        ([2, 20, 19, 40], [24, 40, 1, 1], Window::UNIT, 1),
        ([2, 9, 8, 32], [12, 32, 3, 3], window(1, 1), 1),
        ([2, 9, 8, 3], [12, 3, 7, 7], window(2, 3), 1),
        ([2, 9, 8, 8], [12, 4, 3, 3], window(2, 1), 2),
        // 4,608 products, of which sums in 16 bits would leave little.
        ([2, 4, 4, 512], [8, 512, 3, 3], window(1, 1), 1),
    ] {
        check("conv2d", [input], |[input]| {
            conv2d(input, weight(kernel), window, groups)
        });
    }
}

#[test]
fn batch_norms() {
    let shape = [3, 5, 4, 20];
    let vectors = || [weight([20]) + 2.0, weight([20])];
    check("batch_norm_train", [shape], |[input]| {
        let [gamma, beta] = vectors();
        batch_norm_train(input, gamma, beta, 1e-5, Epilogue::Nothing).output
    });
    let normalization = || {
        let [gamma, beta] = vectors();
        Normalization {
            gamma,
            beta,
            mean: weight([20]) * 0.3,
            variance: weight([20]) * 0.2 + 1.0,
            epsilon: 1e-5,
        }
    };
    check("batch_norm", [shape], |[input]| {
        batch_norm(input, normalization(), Epilogue::Nothing)
    });
    check("conv2d_batch_norm", [shape], |[input]| {
        conv2d_batch_norm(
            input,
            weight([20, 20, 1, 1]),
            Window::UNIT,
            1,
            normalization(),
            Epilogue::Nothing,
        )
    });
}

/// The numbers are so large that rounding changes no sign.
#[test]
fn sums_after_a_relu() {
    let shape = [3, 5, 4, 20];
    check(
        "batch_norm, shortcut",
        [shape, shape],
        |[input, shortcut]| {
            let normalization = Normalization {
                gamma: weight([20]).zeros_like() + 1.0,
                beta: weight([20]).sign() * 4.0,
                mean: weight([20]).zeros_like(),
                variance: weight([20]).zeros_like() + 1.0,
                epsilon: 1e-5,
            };
            batch_norm(input, normalization, Epilogue::AddRelu(shortcut))
        },
    );
}

/// Without autodiff the sums are normalized before they are rounded.
#[test]
fn convolution_and_normalization_in_one_pass_round_once() {
    let device = Device::flex();
    let input = random([2, 6, 5, 32], 1, &device).cast(FloatDType::BF16);
    let shortcut = random([2, 6, 5, 20], 2, &device).cast(FloatDType::BF16);
    let vector = |seed| random([20], seed, &device);
    let normalization = || Normalization {
        gamma: vector(3),
        beta: vector(4),
        mean: vector(5),
        variance: vector(6) * 0.2 + 1.0,
        epsilon: 1e-5,
    };
    let kernel = random([20, 32, 3, 3], 8, &device);
    let run = |input: Tensor<4>, shortcut: Tensor<4>| {
        let after = Epilogue::AddRelu(shortcut);
        let kernel = kernel.clone();
        conv2d_batch_norm(input, kernel, window(1, 1), 1, normalization(), after)
    };
    let float32 = |tensor: &Tensor<4>| tensor.clone().cast(FloatDType::F32);
    autocast(Precision::BFloat16, || {
        let exact = run(float32(&input), float32(&shortcut));
        for (kernel, actual) in with_each_kernel(|| {
            autocast(Precision::BFloat16, || run(input.clone(), shortcut.clone()))
        }) {
            assert_eq!(actual.dtype(), DType::BF16);
            let exact: Vec<f64> = exact.clone().into_data().iter().collect();
            let actual: Vec<f32> = actual.into_data().iter().collect();
            assert_close(&actual, &exact, 2f64.powi(-8), &kernel.to_string());
        }
    });
}

#[test]
fn pools() {
    // Rounding keeps the order, so the maxima are the same.
    check("max_pool2d", [[2, 9, 8, 20]], |[input]| {
        max_pool2d(input, [3, 3], window(2, 1))
    });
}

#[test]
fn states_of_texts() {
    let shape = [2, 23, 32];
    let vectors = || [weight([32]) + 2.0, weight([32])];
    for width in [32, 50] {
        check("linear", [shape], |[input]| {
            linear(input, weight([32, width]), Some(weight([width])))
        });
    }
    check("gelu", [shape], |[input]| gelu(input * 3.0));
    check("dropout", [shape], |[input]| dropout(input, 0.4));
    check("layer_norm", [shape], |[input]| {
        let [gamma, beta] = vectors();
        layer_norm(input, gamma, beta, 1e-5)
    });
    check("add_layer_norm", [shape, shape], |[input, residual]| {
        add_layer_norm(input, residual, vectors(), 1e-5, 0.1.into())
    });
    check("attention", [shape; 3], |inputs| {
        let options = AttentionOptions {
            heads: 4,
            key_bias: Tensor::zeros([2, 23], &device()),
            lengths: None,
            dropout: 0.1,
        };
        attention(inputs, options)
    });
}
