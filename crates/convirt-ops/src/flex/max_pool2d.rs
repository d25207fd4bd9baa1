//! Maximum over windows, all channels of a pixel at a time.

use std::sync::Arc;

use burn::backend::Flex;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::buffer_pool::Buffer;
use super::element::{Element, convert, with_element_type};
use super::simd::vectorized;
use super::tensor::{contiguous, elements, new_tensor, with_scratch};
use super::{FlexTensor, Operation, apply};
use crate::Window;

pub(crate) fn max_pool2d(input: Tensor<4>, kernel: [usize; 2], window: Window) -> Tensor<4> {
    apply(MaxPool2d { kernel, window }, [input.into_dispatch()]).0
}

#[derive(Debug)]
struct MaxPool2d {
    kernel: [usize; 2],
    window: Window,
}

/// The positions of the maxima.
#[derive(Clone, Debug)]
struct Saved {
    shape: [usize; 4],
    /// For each output the number of its element in the window.
    taps: Arc<Buffer<u32>>,
}

impl MaxPool2d {
    fn positions(&self, [_, height, width, _]: [usize; 4]) -> [usize; 2] {
        [
            self.window.positions(0, height, self.kernel[0]),
            self.window.positions(1, width, self.kernel[1]),
        ]
    }
}

impl Operation<Flex, 1> for MaxPool2d {
    type Saved = Saved;

    fn forward(&self, [input]: [FlexTensor; 1]) -> (FlexTensor, Saved) {
        with_element_type!(input.dtype(), T => self.forward_typed::<T>(&contiguous(input)))
    }

    fn backward(self, saved: Saved, gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let gradient = contiguous(gradient);
        let gradient = with_element_type!(gradient.dtype(), T => {
            self.backward_typed::<T>(&saved, &gradient)
        });
        [Some(gradient)]
    }
}

impl MaxPool2d {
    fn forward_typed<T: Element>(&self, input: &FlexTensor) -> (FlexTensor, Saved) {
        let shape: [usize; 4] = std::array::from_fn(|axis| input.layout().shape()[axis]);
        let [batch, height, width, channels] = shape;
        let [rows, columns] = self.positions(shape);
        let line = columns * channels;
        let mut output = Buffer::unspecified(batch * rows * line);
        let mut taps = Buffer::<u32>::unspecified(output.len());
        let values = elements::<T>(input);
        output
            .par_chunks_mut(line.max(1))
            .zip(taps.par_chunks_mut(line.max(1)))
            .enumerate()
            .for_each(|(index, (output_row, taps))| {
                let image = &values[index / rows * height * width * channels..];
                let pixels = output_row
                    .chunks_exact_mut(channels)
                    .zip(taps.chunks_exact_mut(channels));
                for (column, (output, taps)) in pixels.enumerate() {
                    let mut first = true;
                    for tap in 0..self.kernel[0] * self.kernel[1] {
                        let y = self
                            .window
                            .under(0, index % rows, tap / self.kernel[1], height);
                        let x = self.window.under(1, column, tap % self.kernel[1], width);
                        let (Some(y), Some(x)) = (y, x) else {
                            continue;
                        };
                        let pixel = &image[(y * width + x) * channels..][..channels];
                        if first {
                            output.copy_from_slice(pixel);
                            taps.fill(tap as u32);
                            first = false;
                        } else {
                            keep_larger(pixel, tap as u32, output, taps);
                        }
                    }
                }
            });
        let taps = Arc::new(taps);
        (
            new_tensor(output, [batch, rows, columns, channels]),
            Saved { shape, taps },
        )
    }

    fn backward_typed<T: Element>(
        &self,
        Saved { shape, taps }: &Saved,
        gradient: &FlexTensor,
    ) -> FlexTensor {
        let [_, height, width, channels] = *shape;
        let [rows, columns] = self.positions(*shape);
        let gradient = elements::<T>(gradient);
        // Distances in memory from the first element of a window to each of its elements.
        let offsets: Vec<isize> = (0..self.kernel[0] * self.kernel[1])
            .map(|tap| {
                let [y, x] = [tap / self.kernel[1], tap % self.kernel[1]];
                let [down, right] = self.window.dilation;
                ((y * down * width + x * right) * channels) as isize
            })
            .collect();
        let mut input_gradient = Buffer::<T>::unspecified(shape.iter().product());
        let image_out = rows * columns * channels;
        let add_image = |image: usize, sums: &mut [f32]| {
            sums.fill(0.0);
            let range = image * image_out..(image + 1) * image_out;
            let pixels = gradient[range.clone()]
                .chunks_exact(channels)
                .zip(taps[range].chunks_exact(channels));
            for (pixel, (gradient, taps)) in pixels.enumerate() {
                let y = self.window.offset(0, pixel / columns, 0);
                let x = self.window.offset(1, pixel % columns, 0);
                let first = (y * width as isize + x) * channels as isize;
                for (channel, (gradient, tap)) in gradient.iter().zip(taps).enumerate() {
                    // The maximum is inside the feature map.
                    let element = (first + offsets[*tap as usize]) as usize + channel;
                    sums[element] += gradient.widen();
                }
            }
        };
        input_gradient
            .par_chunks_mut((height * width * channels).max(1))
            .enumerate()
            .for_each(|(image, image_gradient)| {
                with_scratch(image_gradient.len(), |sums| {
                    add_image(image, sums);
                    convert(sums, image_gradient);
                });
            });
        new_tensor(input_gradient, *shape)
    }
}

vectorized! {
    /// Replaces maxima by larger numbers, and their elements of the window by `tap`; NaN is
    /// largest.
    fn keep_larger<T: Element>(pixel: &[T], tap: u32, maxima: &mut [T], taps: &mut [u32]) {
        for ((number, max), max_tap) in pixel.iter().zip(maxima).zip(taps) {
            let larger = number.widen() > max.widen() || number.widen().is_nan();
            *max = if larger { *number } else { *max };
            *max_tap = if larger { tap } else { *max_tap };
        }
    }
}
