//! Maximum over windows.

use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Tensor, module};

use crate::Window;

/// Takes the maximum of each channel in a window, as `torch.nn.functional.max_pool2d` does. Of
/// equal maxima the first gets the gradient.
///
/// # Shapes
///
/// - input: `[batch, height, width, channels]`
/// - output: `[batch, height_out, width_out, channels]`
///
/// # Panics
///
/// When the window is larger than the padded feature map, or the padding larger than half of the
/// window.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_ops::{Window, max_pool2d};
///
/// // One image of 1 × 3 pixels with one channel.
/// let input = Tensor::from_data([[[[1.0], [4.0], [2.0]]]], &Device::flex());
/// let output = max_pool2d(input, [1, 2], Window::UNIT);
/// assert_eq!(output.into_data(), [[[[4.0f32], [4.0]]]].into());
/// ```
pub fn max_pool2d(input: Tensor<4>, kernel: [usize; 2], window: Window) -> Tensor<4> {
    let [_, height, width, _] = input.dims();
    window.positions(0, height, kernel[0]);
    window.positions(1, width, kernel[1]);
    assert!(
        (0..2).all(|axis| 2 * window.padding[axis] <= kernel[axis]),
        "padding of more than half a window of {kernel:?}: {window:?}"
    );
    #[cfg(feature = "flex")]
    if crate::flex::runs_here(&input) {
        return crate::flex::max_pool2d(input, kernel, window);
    }
    composed(input, kernel, window)
}

/// Pools by Burn's own operation.
fn composed(input: Tensor<4>, kernel: [usize; 2], window: Window) -> Tensor<4> {
    let options = MaxPoolOptions::new(kernel)
        .with_stride(window.stride)
        .with_padding(window.padding)
        .with_dilation(window.dilation);
    module::max_pool2d(input.permute([0, 3, 1, 2]), options).permute([0, 2, 3, 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::tests::with_each_kernel;
    use crate::testing::{device, on_each_device, random};
    use burn::tensor::Device;

    /// Maxima and their gradients are exact.
    fn check(shape: [usize; 4], kernel: [usize; 2], window: Window) {
        let device = device().autodiff();
        let [batch, height, width, channels] = shape;
        let (rows, columns) = (
            window.positions(0, height, kernel[0]),
            window.positions(1, width, kernel[1]),
        );
        // Coarse values, so that some are equal.
        let values = (random(shape, 1, &device) * 4.0).round();
        let gradient = (random([batch, rows, columns, channels], 2, &device) * 8.0).round();
        let x: Vec<f32> = values.clone().into_data().iter().collect();
        let gradient_values: Vec<f32> = gradient.clone().into_data().iter().collect();
        let (mut expected, mut expected_gradient) = (vec![], vec![0.0f32; x.len()]);
        for (index, output_gradient) in gradient_values.iter().enumerate() {
            let (channel, pixel) = (index % channels, index / channels);
            let image = pixel / (rows * columns);
            let mut best: Option<usize> = None;
            for tap in 0..kernel[0] * kernel[1] {
                let y = pixel / columns % rows * window.stride[0]
                    + tap / kernel[1] * window.dilation[0];
                let x_ = pixel % columns * window.stride[1] + tap % kernel[1] * window.dilation[1];
                let (Some(y), Some(x_)) = (
                    y.checked_sub(window.padding[0]).filter(|y| *y < height),
                    x_.checked_sub(window.padding[1]).filter(|x| *x < width),
                ) else {
                    continue;
                };
                let input_index = ((image * height + y) * width + x_) * channels + channel;
                if best.is_none_or(|best| x[input_index] > x[best]) {
                    best = Some(input_index);
                }
            }
            expected.push(x[best.unwrap()]);
            expected_gradient[best.unwrap()] += output_gradient;
        }
        for pool in [max_pool2d, composed] {
            let input = values.clone().detach().require_grad();
            let output = pool(input.clone(), kernel, window);
            let gradients = (output.clone() * gradient.clone()).sum().backward();
            let actual: Vec<f32> = output.into_data().iter().collect();
            assert_eq!(actual, expected, "{shape:?} {window:?}");
            let actual = input.grad(&gradients).unwrap().into_data();
            let actual: Vec<f32> = actual.iter().collect();
            assert_eq!(actual, expected_gradient, "{shape:?} {window:?}");
        }
    }

    #[test]
    fn maxima_are_exact_and_the_first_gets_the_gradient() {
        on_each_device(|| {
            let stem = Window {
                stride: [2, 2],
                padding: [1, 1],
                dilation: [1, 1],
            };
            with_each_kernel(|| check([2, 8, 7, 3], [3, 3], stem));
            check([1, 1, 1, 17], [3, 3], stem);
            check([3, 5, 6, 2], [2, 3], Window::UNIT);
            let wide = Window {
                stride: [1, 2],
                padding: [1, 0],
                dilation: [2, 1],
            };
            check([1, 7, 9, 4], [3, 2], wide);
        });
    }

    #[test]
    fn nan_is_a_maximum() {
        let device = Device::flex();
        let input = Tensor::from_data([[[[1.0], [f32::NAN], [2.0]]]], &device);
        let output = max_pool2d(input, [1, 3], Window::UNIT);
        assert!(output.into_scalar::<f32>().is_nan());
    }

    #[test]
    #[should_panic(expected = "padding of more than half a window")]
    fn windows_in_the_padding_only_panic() {
        let window = Window {
            padding: [2, 2],
            ..Window::UNIT
        };
        max_pool2d(Tensor::zeros([1, 4, 4, 1], &Device::flex()), [3, 3], window);
    }
}
