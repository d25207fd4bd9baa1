//! Whether a device's convolutions of 16 bits add up in float32.
//!
//! Burn tries several algorithms for each shape and takes the fastest. One of CubeCL's, the direct
//! convolution, adds up in the type of the feature map: after a few hundred products nothing is left
//! of 8 significant bits. Matrix units add up in float32. Which one was taken shows in its errors
//! only, so a shape is tried once on numbers of which some sums are known.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use burn::tensor::{DType, Device, FloatDType, Tensor};

use super::{Window, convolve};

/// Sums that are compared of each result.
const SAMPLES: usize = 64;

/// The numbers are (index · seed mod [`PERIOD`] − [`PERIOD`] / 2) / [`DIVISOR`], exact in 8 bits.
const PERIOD: usize = 251;
const DIVISOR: f64 = 128.0;
const SEEDS: [usize; 3] = [37, 101, 83];

/// A convolution, by its shapes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Case {
    device: String,
    dtype: DType,
    /// `[batch, height, width, channels]`.
    input: [usize; 4],
    weight: [usize; 4],
    window: Window,
    groups: usize,
    has_gradients: bool,
}

/// Whether the convolution of this feature map and weight, and its gradients if it is in a graph, have
/// the errors of rounded results, measured once for each shape.
pub(super) fn are_in_float32(
    input: &Tensor<4>,
    weight: &Tensor<4>,
    window: Window,
    groups: usize,
) -> bool {
    static KNOWN: LazyLock<Mutex<HashMap<Case, bool>>> = LazyLock::new(Mutex::default);
    let device = input.device();
    let case = Case {
        device: format!("{:?}", device.clone().without_autodiff()),
        dtype: input.dtype(),
        input: input.dims(),
        weight: weight.dims(),
        window,
        groups,
        has_gradients: device.is_autodiff(),
    };
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&result) = known().get(&case) {
        return result;
    }
    let result = case.has_small_errors(&device.without_autodiff());
    known().insert(case, result);
    result
}

impl Case {
    fn has_small_errors(&self, device: &Device) -> bool {
        // The rounding of a result has a relative root mean square of about a third of this.
        let tolerance = match self.dtype {
            DType::F16 => 2f64.powi(-11),
            _ => 2f64.powi(-8),
        };
        let results = self.run(device).into_iter();
        let mut errors = results.enumerate().map(|(which, result)| {
            let sampled = sampled(result.len());
            let pairs = sampled.map(|index| (f64::from(result[index]), self.sum(which, index)));
            let (difference, size) = pairs.fold((0.0, 0.0), |(difference, size), (a, b)| {
                (difference + (a - b).powi(2), size + b * b)
            });
            difference / size
        });
        errors.all(|square| square <= tolerance * tolerance)
    }

    /// The output and the gradients of input and weight, as they lie in memory, rows last.
    fn run(&self, device: &Device) -> Vec<Vec<f32>> {
        let graph = match self.has_gradients {
            true => device.clone().autodiff(),
            false => device.clone(),
        };
        // They repeat, and CubeCL's long `arange` takes time with the square of its length.
        let numbers = |shape: [usize; 4], which: usize| {
            let count = shape.iter().product::<usize>();
            let period: Vec<f32> = (0..PERIOD).map(|at| number(at, which) as f32).collect();
            let period = Tensor::<1>::from_data(&period[..], &graph).unsqueeze::<2>();
            let periods = period.expand([count.div_ceil(PERIOD), PERIOD]);
            let numbers = periods.reshape([-1]).narrow(0, 0, count).reshape(shape);
            numbers.cast(FloatDType::from(self.dtype)).detach()
        };
        let values = |tensor: Tensor<4>| -> Vec<f32> { tensor.into_data().iter().collect() };
        let [input, weight] = [numbers(self.input, 0), numbers(self.weight, 1)];
        let inputs = match self.has_gradients {
            true => [input.require_grad(), weight.require_grad()],
            false => [input, weight],
        };
        let [input, weight] = inputs.clone();
        let output = convolve(
            input.permute([0, 3, 1, 2]),
            weight,
            self.window,
            self.groups,
        );
        let output = output.permute([0, 2, 3, 1]);
        let mut results = vec![values(output.clone())];
        if self.has_gradients {
            let gradient = numbers(output.dims(), 2);
            let gradients = (output * gradient).cast(FloatDType::F32).sum().backward();
            let gradient = |of: Tensor<4>| values(of.grad(&gradients).expect("a gradient"));
            results.extend(inputs.map(gradient));
        }
        results
    }

    /// The exact number at an index of the output, the input's or the weight's gradient.
    fn sum(&self, which: usize, index: usize) -> f64 {
        let [batch, height, width, channels] = self.input;
        let [channels_out, group_width, rows, columns] = self.weight;
        let group_out = channels_out / self.groups;
        let outputs = [
            self.window.positions(0, height, rows),
            self.window.positions(1, width, columns),
        ];
        let input = |image: usize, [y, x]: [usize; 2], channel: usize| {
            number(((image * height + y) * width + x) * channels + channel, 0)
        };
        let weight = |out: usize, channel: usize, [row, column]: [usize; 2]| {
            number(
                ((out * group_width + channel) * rows + row) * columns + column,
                1,
            )
        };
        let gradient = |image: usize, [y, x]: [usize; 2], out: usize| {
            number(
                ((image * outputs[0] + y) * outputs[1] + x) * channels_out + out,
                2,
            )
        };
        let taps = || grid([rows, columns]);
        match which {
            0 => {
                let [image, y, x, out] = place(index, [outputs[0], outputs[1], channels_out]);
                let first = out / group_out * group_width;
                let pixels = taps().filter_map(|tap| Some((tap, self.pixel([y, x], tap)?)));
                let products = pixels.flat_map(|(tap, pixel)| {
                    let channels = 0..group_width;
                    channels.map(move |c| input(image, pixel, first + c) * weight(out, c, tap))
                });
                products.sum()
            }
            1 => {
                let [image, y, x, channel] = place(index, [height, width, channels]);
                let (group, channel) = (channel / group_width, channel % group_width);
                let from = taps().filter_map(|tap| {
                    let axis = |axis: usize, at: usize| {
                        let offset = tap[axis] * self.window.dilation[axis];
                        let start = (at + self.window.padding[axis]).checked_sub(offset)?;
                        let position = start / self.window.stride[axis];
                        let is_one = start.is_multiple_of(self.window.stride[axis]);
                        (is_one && position < outputs[axis]).then_some(position)
                    };
                    Some((tap, [axis(0, y)?, axis(1, x)?]))
                });
                let products = from.flat_map(|(tap, position)| {
                    let outs = group * group_out..(group + 1) * group_out;
                    outs.map(move |out| weight(out, channel, tap) * gradient(image, position, out))
                });
                products.sum()
            }
            _ => {
                let [out, channel, row, column] = place(index, [group_width, rows, columns]);
                let first = out / group_out * group_width;
                let products = (0..batch).flat_map(|image| {
                    grid(outputs).filter_map(move |position| {
                        let pixel = self.pixel(position, [row, column])?;
                        Some(input(image, pixel, first + channel) * gradient(image, position, out))
                    })
                });
                products.sum()
            }
        }
    }

    /// The pixel under an element of the kernel; `None` in the padding.
    fn pixel(&self, position: [usize; 2], tap: [usize; 2]) -> Option<[usize; 2]> {
        let axis = |axis: usize| {
            let size = self.input[1 + axis];
            self.window.under(axis, position[axis], tap[axis], size)
        };
        Some([axis(0)?, axis(1)?])
    }
}

/// The number at an index of input, weight or output's gradient.
fn number(index: usize, which: usize) -> f64 {
    let number = index % PERIOD * SEEDS[which] % PERIOD;
    (number as f64 - (PERIOD / 2) as f64) / DIVISOR
}

/// All pairs below these ends.
fn grid([rows, columns]: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
    (0..rows).flat_map(move |row| (0..columns).map(move |column| [row, column]))
}

/// The place of an index in a shape, whose first size does not matter.
fn place(index: usize, [second, third, last]: [usize; 3]) -> [usize; 4] {
    let (rest, fourth) = (index / last, index % last);
    [
        rest / third / second,
        rest / third % second,
        rest % third,
        fourth,
    ]
}

/// The indices that are compared of so many numbers.
fn sampled(count: usize) -> impl Iterator<Item = usize> {
    let step = (count / SAMPLES).max(1);
    // Not those of one channel only.
    (0..count.min(SAMPLES)).map(move |sample| (sample * step + sample * 7) % count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{device, on_each_device};

    /// Float32 has the sums exactly, to its own rounding.
    #[test]
    fn known_sums_are_those_of_convolutions_in_float32() {
        on_each_device(|| {
            for (input, weight, stride, padding, dilation, groups) in [
                ([2, 9, 8, 8], [12, 8, 3, 3], 1, 1, 1, 1),
                ([2, 9, 8, 3], [5, 3, 7, 7], 2, 3, 1, 1),
                ([2, 9, 8, 8], [12, 4, 3, 2], 2, 1, 2, 2),
                ([3, 5, 7, 6], [4, 6, 1, 1], 2, 0, 1, 1),
            ] {
                let case = Case {
                    device: String::new(),
                    dtype: DType::F32,
                    input,
                    weight,
                    window: Window {
                        stride: [stride; 2],
                        padding: [padding; 2],
                        dilation: [dilation; 2],
                    },
                    groups,
                    has_gradients: true,
                };
                let results = case.run(&device());
                assert_eq!(results.len(), 3);
                for (which, result) in results.iter().enumerate() {
                    for (index, number) in result.iter().enumerate() {
                        let expected = case.sum(which, index);
                        let error = (f64::from(*number) - expected).abs();
                        assert!(error < 1e-4, "{which}, {index}: {number}, {expected}");
                    }
                }
            }
        });
    }

    #[test]
    fn sums_in_bfloat16_are_found_out() {
        let exact: Vec<f64> = (0..4_608).map(|index| number(index, 0).powi(2)).collect();
        let round = |number: f32| f32::from_bits((number.to_bits() + 0x8000) & 0xFFFF_0000);
        let sum = exact
            .iter()
            .fold(0.0f32, |sum, next| round(sum + *next as f32));
        let expected: f64 = exact.iter().sum();
        assert!((f64::from(sum) - expected).abs() > 2f64.powi(-8) * expected);
    }
}
