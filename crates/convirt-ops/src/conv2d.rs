//! Two-dimensional convolution.

mod half_sums;

use burn::tensor::module;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{FloatDType, Slice, Tensor};

use crate::storage::is_half;
use crate::{linear, precision};

/// The positions of a convolution's kernel or of a pooling's window on a feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Rows and columns from one position of the window to the next.
    pub stride: [usize; 2],
    /// Zeros (for pooling: nothing) added on both sides of the rows and of the columns.
    pub padding: [usize; 2],
    /// Rows and columns from one element of the window to the next.
    pub dilation: [usize; 2],
}

impl Window {
    /// Stride 1, no padding, no dilation.
    pub const UNIT: Self = Self {
        stride: [1, 1],
        padding: [0, 0],
        dilation: [1, 1],
    };

    /// Shape of a convolution's output.
    ///
    /// # Panics
    ///
    /// When input and weight do not fit.
    pub(crate) fn output(
        &self,
        input: &Tensor<4>,
        weight: &Tensor<4>,
        groups: usize,
    ) -> [usize; 4] {
        let [batch, height, width, channels] = input.dims();
        let [channels_out, group_width, kernel_height, kernel_width] = weight.dims();
        assert!(
            groups > 0
                && channels > 0
                && channels == group_width * groups
                && channels_out.is_multiple_of(groups),
            "{channels} channels in {groups} groups do not fit a weight of {:?}",
            weight.dims()
        );
        let height_out = self.positions(0, height, kernel_height);
        let width_out = self.positions(1, width, kernel_width);
        [batch, height_out, width_out, channels_out]
    }

    /// Positions of a window of `kernel` elements along an axis of `size`.
    ///
    /// # Panics
    ///
    /// When the window is larger than the padded axis, empty, or does not move.
    pub(crate) fn positions(&self, axis: usize, size: usize, kernel: usize) -> usize {
        let (stride, dilation) = (self.stride[axis], self.dilation[axis]);
        assert!(
            kernel > 0 && stride > 0 && dilation > 0,
            "a window needs elements, a stride and a dilation: {kernel} elements, {self:?}"
        );
        let extent = dilation * (kernel - 1) + 1;
        let padded = size + 2 * self.padding[axis];
        assert!(
            extent <= padded,
            "a window of {extent} is larger than an axis of {padded}, padding included"
        );
        (padded - extent) / stride + 1
    }

    /// The row or column of a feature map of `size` under an element of the window; `None` in the
    /// padding.
    #[inline(always)]
    pub(crate) fn under(
        &self,
        axis: usize,
        position: usize,
        tap: usize,
        size: usize,
    ) -> Option<usize> {
        let coordinate = self.offset(axis, position, tap);
        (0..size as isize)
            .contains(&coordinate)
            .then_some(coordinate as usize)
    }

    /// The row or column under an element of the window; negative or beyond the feature map in the
    /// padding.
    #[inline(always)]
    pub(crate) fn offset(&self, axis: usize, position: usize, tap: usize) -> isize {
        let offset = position * self.stride[axis] + tap * self.dilation[axis];
        offset as isize - self.padding[axis] as isize
    }
}

/// Convolves channels-last feature maps without bias (cross-correlation, as
/// `torch.nn.functional.conv2d`), in the [`Precision`](crate::Precision) of the current
/// [`autocast`](crate::autocast).
///
/// # Shapes
///
/// - input: `[batch, height, width, channels]`
/// - weight: `[channels_out, channels / groups, kernel_height, kernel_width]`
/// - output: `[batch, height_out, width_out, channels_out]`, of the input's type
///
/// # Panics
///
/// When the shapes do not fit, or the groups do not divide the channels.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_ops::{Window, conv2d};
///
/// let device = Device::flex();
/// let images = Tensor::<4>::ones([2, 8, 8, 3], &device);
/// let weight = Tensor::<4>::ones([16, 3, 3, 3], &device);
/// let window = Window {
///     stride: [2, 2],
///     padding: [1, 1],
///     dilation: [1, 1],
/// };
/// let output = conv2d(images, weight, window, 1);
/// assert_eq!(output.dims(), [2, 4, 4, 16]);
/// ```
pub fn conv2d(input: Tensor<4>, weight: Tensor<4>, window: Window, groups: usize) -> Tensor<4> {
    window.output(&input, &weight, groups);
    #[cfg(feature = "flex")]
    if crate::flex::runs_here(&input) && crate::flex::float32_here(&weight) {
        return crate::flex::conv2d(input, weight, window, groups);
    }
    composed(input, weight, window, groups)
}

/// Convolves by Burn's own operations.
fn composed(input: Tensor<4>, weight: Tensor<4>, window: Window, groups: usize) -> Tensor<4> {
    let [_, _, kernel_height, kernel_width] = weight.dims();
    if [kernel_height, kernel_width, groups] == [1; 3] && window.padding == [0; 2] {
        return pointwise(input, weight, window.stride);
    }
    precision::composed(input, weight, |input, weight| {
        let dtype = input.dtype();
        let loses_sums =
            is_half(dtype) && !half_sums::are_in_float32(&input, &weight, window, groups);
        let (input, weight) = match loses_sums {
            true => (input.cast(FloatDType::F32), weight.cast(FloatDType::F32)),
            false => (input, weight),
        };
        let output = convolve(input.permute([0, 3, 1, 2]), weight, window, groups);
        output.cast(dtype).permute([0, 2, 3, 1])
    })
}

/// Convolves by a window of one pixel: a linear layer for each pixel. Burn's gradients of such a
/// convolution would copy the feature maps.
fn pointwise(input: Tensor<4>, weight: Tensor<4>, [rows, columns]: [usize; 2]) -> Tensor<4> {
    let every = |step: usize| Slice::with_step(0, None, step as isize);
    let input = match [rows, columns] {
        [1, 1] => input,
        _ => input.slice([Slice::full(), every(rows), every(columns), Slice::full()]),
    };
    let [batch, height, width, channels] = input.dims();
    let channels_out = weight.dims()[0];
    let weight = weight.reshape([channels_out, channels]).transpose();
    let pixels = input.reshape([batch * height * width, channels]);
    let output = linear::composed(pixels, weight, None);
    output.reshape([batch, height, width, channels_out])
}

/// Convolves `[batch, channels, height, width]` by Burn's own operation.
fn convolve(input: Tensor<4>, weight: Tensor<4>, window: Window, groups: usize) -> Tensor<4> {
    let options = ConvOptions::new(window.stride, window.padding, window.dilation, groups);
    module::conv2d(input, weight, None, options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::tests::with_each_kernel;
    use crate::testing::{assert_close, device, gradients_of, on_each_device, random, values_in};
    use crate::{Precision, autocast};
    use burn::tensor::Device;

    /// A convolution and its gradients in float64, summed pixel by pixel.
    struct Reference {
        output: Vec<f64>,
        input_gradient: Vec<f64>,
        weight_gradient: Vec<f64>,
    }

    fn reference(
        input: (&[f32], [usize; 4]),
        weight: (&[f32], [usize; 4]),
        gradient: &[f32],
        window: Window,
        groups: usize,
    ) -> Reference {
        let (input, [batch, height, width, channels]) = input;
        let (weight, [channels_out, group_width, rows, columns]) = weight;
        let height_out = window.positions(0, height, rows);
        let width_out = window.positions(1, width, columns);
        let mut expected = Reference {
            output: vec![0.0; batch * height_out * width_out * channels_out],
            input_gradient: vec![0.0; input.len()],
            weight_gradient: vec![0.0; weight.len()],
        };
        for (output_index, output_gradient) in gradient.iter().enumerate() {
            let output_gradient = f64::from(*output_gradient);
            let channel_out = output_index % channels_out;
            let pixel = output_index / channels_out;
            let (x, y) = (pixel % width_out, pixel / width_out % height_out);
            let image = pixel / (width_out * height_out);
            let group = channel_out / (channels_out / groups);
            for tap in 0..group_width * rows * columns {
                let (column, row) = (tap % columns, tap / columns % rows);
                let channel = tap / (columns * rows);
                let y = (y * window.stride[0] + row * window.dilation[0])
                    .checked_sub(window.padding[0])
                    .filter(|y| *y < height);
                let x = (x * window.stride[1] + column * window.dilation[1])
                    .checked_sub(window.padding[1])
                    .filter(|x| *x < width);
                let (Some(y), Some(x)) = (y, x) else {
                    continue;
                };
                let input_index = ((image * height + y) * width + x) * channels;
                let input_index = input_index + group * group_width + channel;
                let weight_index = channel_out * group_width * rows * columns + tap;
                let [x, w] = [input[input_index], weight[weight_index]].map(f64::from);
                expected.output[output_index] += x * w;
                expected.input_gradient[input_index] += output_gradient * w;
                expected.weight_gradient[weight_index] += output_gradient * x;
            }
        }
        expected
    }

    type Conv2d = fn(Tensor<4>, Tensor<4>, Window, usize) -> Tensor<4>;

    fn check(
        convolve: Conv2d,
        [batch, height, width, channels]: [usize; 4],
        [channels_out, rows, columns]: [usize; 3],
        window: Window,
        groups: usize,
    ) {
        let shape = (
            [batch, height, width, channels],
            [channels_out, rows, columns],
        );
        check_in(Precision::Float32, 2e-6, convolve, shape, window, groups);
    }

    fn check_in(
        precision: Precision,
        tolerance: f64,
        convolve: Conv2d,
        ([batch, height, width, channels], [channels_out, rows, columns]): ([usize; 4], [usize; 3]),
        window: Window,
        groups: usize,
    ) {
        let shape = [batch, height, width, channels];
        let weight_shape = [channels_out, channels / groups, rows, columns];
        let device = device().autodiff();
        let input = random(shape, 1, &device).require_grad();
        let weight = random(weight_shape, 2, &device).require_grad();
        let output = autocast(precision, || {
            convolve(input.clone(), weight.clone(), window, groups)
        });
        let gradient = random(output.dims(), 3, &device);
        let actual = gradients_of(output, &gradient, [&input, &weight]);
        let [input, weight, gradient] = [input, weight, gradient].map(|t| values_in(precision, t));
        let expected = reference(
            (&input, shape),
            (&weight, weight_shape),
            &gradient,
            window,
            groups,
        );
        let context = format!("{shape:?} {weight_shape:?} {window:?} {groups}");
        let expected = [
            expected.output,
            expected.input_gradient,
            expected.weight_gradient,
        ];
        for (actual, expected) in actual.into_iter().zip(expected) {
            assert_close(&actual, &expected, tolerance, &context);
        }
    }

    const fn window(stride: usize, padding: usize, dilation: usize) -> Window {
        Window {
            stride: [stride; 2],
            padding: [padding; 2],
            dilation: [dilation; 2],
        }
    }

    #[test]
    fn values_and_gradients_are_sums_over_pixels() {
        on_each_device(|| {
            for convolve in [conv2d, composed] as [Conv2d; 2] {
                check(convolve, [2, 5, 7, 3], [4, 1, 1], Window::UNIT, 1);
                check(convolve, [2, 5, 7, 3], [4, 1, 1], window(2, 0, 1), 1);
                check(convolve, [1, 1, 1, 1], [1, 1, 1], Window::UNIT, 1);
                check(convolve, [2, 9, 6, 5], [7, 3, 3], window(1, 1, 1), 1);
                check(convolve, [3, 9, 6, 2], [3, 3, 3], window(2, 1, 1), 1);
                check(convolve, [2, 8, 9, 3], [5, 7, 7], window(2, 3, 1), 1);
                check(convolve, [1, 9, 9, 4], [6, 3, 3], window(1, 2, 2), 2);
                check(convolve, [2, 6, 5, 6], [6, 3, 3], window(1, 1, 1), 6);
                check(convolve, [2, 7, 8, 4], [4, 2, 3], window(3, 1, 2), 2);
                // Padding beyond the kernel's reach.
                check(convolve, [1, 4, 3, 2], [2, 2, 2], window(1, 3, 1), 1);
                let uneven = Window {
                    stride: [2, 1],
                    padding: [0, 2],
                    dilation: [1, 2],
                };
                check(convolve, [2, 6, 5, 4], [2, 3, 2], uneven, 2);
            }
        });
    }

    /// Shapes for which the kernel divides its work differently: by rows, and by the weight's
    /// columns.
    #[test]
    fn large_shapes_are_divided_correctly() {
        on_each_device(|| {
            check(conv2d, [3, 20, 19, 8], [6, 3, 3], window(1, 1, 1), 1);
            with_each_kernel(|| check(conv2d, [3, 20, 19, 8], [6, 3, 3], window(2, 1, 1), 2));
            check(conv2d, [1, 6, 5, 96], [320, 3, 3], window(1, 1, 1), 1);
            check(conv2d, [2, 20, 19, 40], [24, 1, 1], Window::UNIT, 2);
            check(conv2d, [1, 5, 5, 520], [530, 1, 1], window(2, 0, 1), 1);
        });
    }

    /// Burn's own operation rounds the sums as well.
    #[test]
    fn bfloat16_gives_sums_of_products_of_rounded_factors() {
        on_each_device(|| {
            if !Precision::BFloat16.runs_on(&device()) {
                return;
            }
            let ways: [(Conv2d, f64); 2] = [(conv2d, 2e-6), (composed, 6e-3)];
            for (convolve, tolerance) in ways {
                for (shape, window, groups) in [
                    (([2, 5, 7, 3], [4, 1, 1]), Window::UNIT, 1),
                    (([3, 20, 19, 8], [6, 3, 3]), window(1, 1, 1), 1),
                    (([3, 20, 19, 8], [6, 3, 3]), window(2, 1, 1), 2),
                    (([2, 20, 19, 40], [70, 1, 1]), Window::UNIT, 2),
                    (([1, 6, 5, 96], [320, 3, 3]), window(1, 1, 1), 1),
                    (([1, 5, 5, 40], [36, 1, 1]), window(2, 0, 1), 1),
                    // Groups of an even number of channels.
                    (([2, 9, 8, 8], [12, 3, 3]), window(2, 1, 1), 2),
                    (([2, 9, 8, 8], [12, 3, 2]), window(1, 2, 2), 2),
                    (([2, 20, 19, 40], [72, 1, 1]), Window::UNIT, 2),
                ] {
                    with_each_kernel(|| {
                        let precision = Precision::BFloat16;
                        check_in(precision, tolerance, convolve, shape, window, groups);
                    });
                }
            }
        });
    }

    #[test]
    fn values_without_autodiff_are_the_same() {
        let device = Device::flex();
        let (input, weight) = (
            random([2, 6, 5, 3], 1, &device),
            random([4, 3, 3, 3], 2, &device),
        );
        let plain = conv2d(input.clone(), weight.clone(), window(1, 1, 1), 1);
        let graph = device.clone().autodiff();
        let recorded = conv2d(
            input.to_device(&graph),
            weight.to_device(&graph),
            window(1, 1, 1),
            1,
        );
        assert_eq!(plain.into_data(), recorded.into_data());
    }

    #[test]
    fn float64_is_computed_by_burns_operations() {
        use burn::tensor::FloatDType;
        let device = Device::flex();
        let input = random([1, 4, 4, 2], 1, &device).cast(FloatDType::F64);
        let weight = random([3, 2, 3, 3], 2, &device).cast(FloatDType::F64);
        let output = conv2d(input, weight, Window::UNIT, 1);
        assert_eq!(output.dtype(), burn::tensor::DType::F64);
    }

    #[test]
    #[should_panic(expected = "a window of 3 is larger than an axis of 2")]
    fn window_larger_than_the_feature_map_panics() {
        let device = Device::flex();
        let input = random([1, 2, 2, 1], 1, &device);
        conv2d(input, random([1, 1, 3, 3], 2, &device), Window::UNIT, 1);
    }

    #[test]
    #[should_panic(expected = "3 channels in 2 groups")]
    fn groups_that_do_not_divide_the_channels_panic() {
        let device = Device::flex();
        let input = random([1, 2, 2, 3], 1, &device);
        conv2d(input, random([2, 1, 1, 1], 2, &device), Window::UNIT, 2);
    }
}
