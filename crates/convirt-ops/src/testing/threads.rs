//! The results on the CPU do not depend on the number of threads.

use burn::tensor::{DType, Device, Int, Tensor};

use super::{gradients_of, random};
use crate::kernel::tests::assert_same_on_any_threads;
use crate::{
    ContrastiveOptions, Epilogue, Normalization, Precision, Window, autocast, batch_norm_train,
    contrastive_loss, conv2d, conv2d_batch_norm, linear, to_storage,
};

const PRECISIONS: [Precision; 3] = [Precision::Float32, Precision::High, Precision::BFloat16];

fn device() -> Device {
    Device::flex().autodiff()
}

/// The output and the gradients of a convolution, of its input only if asked for.
fn convolved(
    shape: [usize; 4],
    [channels_out, side]: [usize; 2],
    window: Window,
    has_input_gradient: bool,
) -> Vec<Vec<f32>> {
    let weight = [channels_out, shape[3], side, side];
    let weight = random(weight, 2, &device()).require_grad();
    let input = random(shape, 1, &device());
    if has_input_gradient {
        let input = input.require_grad();
        let output = conv2d(input.clone(), weight.clone(), window, 1);
        let gradient = random(output.dims(), 3, &device());
        return gradients_of(output, &gradient, [&input, &weight]);
    }
    let output = conv2d(input, weight.clone(), window, 1);
    let gradient = random(output.dims(), 3, &device());
    gradients_of(output, &gradient, [&weight])
}

fn window(stride: usize) -> Window {
    Window {
        stride: [stride; 2],
        padding: [1; 2],
        dilation: [1; 2],
    }
}

/// More than 512 products in a sum and at most 64 channels: `gemm` adds them up in another order
/// for outputs of few pixels.
#[test]
fn convolutions_and_their_gradients() {
    for precision in PRECISIONS {
        for stride in [1, 2] {
            let context = format!("{precision:?}, stride {stride}");
            assert_same_on_any_threads(&context, || {
                autocast(precision, || {
                    convolved([3, 30, 29, 64], [40, 3], window(stride), true)
                })
            });
        }
    }
}

/// The gradient of a weight that is divided by columns, summed over several steps of pixels.
#[test]
fn gradients_of_large_convolution_weights() {
    assert_same_on_any_threads("bfloat16", || {
        autocast(Precision::BFloat16, || {
            convolved([1, 33, 34, 512], [512, 1], Window::UNIT, false)
        })
    });
}

#[test]
fn convolutions_with_an_epilogue() {
    let device = Device::flex();
    let vector = |seed| random([40], seed, &device);
    for precision in PRECISIONS {
        assert_same_on_any_threads(&format!("{precision:?}"), || {
            let normalization = Normalization {
                gamma: vector(2),
                beta: vector(3),
                mean: vector(4),
                variance: vector(5).square(),
                epsilon: 1e-5,
            };
            let input = random([1, 20, 13, 64], 1, &device);
            let weight = random([40, 64, 3, 3], 6, &device);
            let epilogue = Epilogue::Relu;
            let output = autocast(precision, || {
                conv2d_batch_norm(input, weight, window(1), 1, normalization, epilogue)
            });
            output.into_data()
        });
    }
}

/// In the sum of a channel's gradients, 10³⁰ and −10³⁰ cancel: what is added to one of them before
/// is lost, so that the result shows the order of the summation.
#[test]
fn batch_normalizations_and_their_gradients() {
    assert_same_on_any_threads("batch norm", || {
        let shape = [2, 32, 32, 64];
        let input = random(shape, 1, &device()).require_grad();
        let [gamma, beta] = [2, 3].map(|seed| random([64], seed, &device()).require_grad());
        let epilogue = Epilogue::Nothing;
        let normalized =
            batch_norm_train(input.clone(), gamma.clone(), beta.clone(), 1e-5, epilogue);
        // Of 8 blocks of 256 pixels, the first and the fourth.
        let mut gradient: Vec<f32> = random(shape, 4, &device()).into_data().iter().collect();
        gradient[..64].fill(1e30);
        gradient[3 * 256 * 64..][..64].fill(-1e30);
        let gradient = Tensor::<1>::from_floats(gradient.as_slice(), &device()).reshape(shape);
        let loss = (normalized.output.clone() * gradient).sum();
        let gradients = loss.backward();
        [
            normalized.output.into_data(),
            normalized.mean.into_data(),
            normalized.variance.into_data(),
            beta.grad(&gradients).unwrap().into_data(),
            gamma.grad(&gradients).unwrap().into_data(),
        ]
    });
}

/// Few columns, a single column and a single row, for which `gemm` adds up in other orders.
#[test]
fn linear_layers_and_their_gradients() {
    for [rows, d_input, d_output] in [[900, 1_200, 40], [600, 1_200, 1], [1, 1_200, 600]] {
        for (precision, dtype) in [
            (Precision::Float32, DType::F32),
            (Precision::High, DType::F32),
            (Precision::BFloat16, DType::F32),
            (Precision::BFloat16, DType::BF16),
        ] {
            let context = format!("[{rows}, {d_input}] → {d_output}, {precision:?}, {dtype:?}");
            assert_same_on_any_threads(&context, || {
                let input = random([rows, d_input], 1, &device()).require_grad();
                let weight = random([d_input, d_output], 2, &device()).require_grad();
                let bias = random([d_output], 3, &device()).require_grad();
                let output = autocast(precision, || {
                    let input = match dtype {
                        DType::BF16 => to_storage(input.clone()),
                        _ => input.clone(),
                    };
                    linear(input, weight.clone(), Some(bias.clone())).cast(DType::F32)
                });
                let gradient = random([rows, d_output], 4, &device());
                let gradients = (output.clone() * gradient).sum().backward();
                [
                    output.into_data(),
                    input.grad(&gradients).unwrap().into_data(),
                    weight.grad(&gradients).unwrap().into_data(),
                    bias.grad(&gradients).unwrap().into_data(),
                ]
            });
        }
    }
}

/// Three strips of rows, and two chunks of columns.
#[test]
fn contrastive_losses() {
    assert_same_on_any_threads("contrastive loss", || {
        let (size, device) = (1_100, device());
        let [rows, columns] = [1, 2].map(|seed| random([size, 24], seed, &device).require_grad());
        let scale = random([1], 4, &device).abs().detach().require_grad();
        let classes = Tensor::<1, Int>::arange(0..size as i64, &device).remainder_scalar(999);
        let options = ContrastiveOptions {
            row_weight: 0.75,
            excludes_diagonal: false,
        };
        let (u, v) = (rows.clone(), columns.clone());
        let loss = contrastive_loss(u, v, scale.clone(), classes, options).loss;
        let gradients = loss.clone().backward();
        let scale_gradient = scale.grad(&gradients).unwrap();
        let vectors = [rows, columns].map(|it| it.grad(&gradients).unwrap().into_data());
        let numbers = [loss, scale_gradient].map(Tensor::into_data);
        let results = numbers.into_iter().chain(vectors);
        let vectors = results.map(|data| data.try_to_vec::<f32>().unwrap());
        vectors.collect::<Vec<_>>()
    });
}
