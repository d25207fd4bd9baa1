//! Maximum over windows, channels side by side.

use std::sync::Arc;

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::buffer::{contiguous, elements, tensor, with_scratch};
use super::element::{Element, convert, of_element};
use super::memory::Buffer;
use super::simd::vectorized;
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

/// Where the largest values lay.
#[derive(Clone, Debug)]
struct Saved {
    shape: [usize; 4],
    /// For each output its element of the window.
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

impl Operation<1> for MaxPool2d {
    type Saved = Saved;

    fn forward(&self, [input]: [FlexTensor; 1]) -> (FlexTensor, Saved) {
        of_element!(input.dtype(), T => self.run::<T>(&contiguous(input)))
    }

    fn backward(self, saved: Saved, gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let gradient = contiguous(gradient);
        let found = of_element!(gradient.dtype(), T => self.gradient::<T>(&saved, &gradient));
        [Some(found)]
    }
}

impl MaxPool2d {
    fn run<T: Element>(&self, input: &FlexTensor) -> (FlexTensor, Saved) {
        let shape: [usize; 4] = std::array::from_fn(|axis| input.layout().shape()[axis]);
        let [batch, height, width, channels] = shape;
        let [rows, columns] = self.positions(shape);
        let line = columns * channels;
        let mut output = Buffer::any(batch * rows * line);
        let mut taps = Buffer::<u32>::any(output.len());
        let values = elements::<T>(input);
        output
            .par_chunks_mut(line.max(1))
            .zip(taps.par_chunks_mut(line.max(1)))
            .enumerate()
            .for_each(|(index, (to, taps))| {
                let image = &values[index / rows * height * width * channels..];
                let pixels = to
                    .chunks_exact_mut(channels)
                    .zip(taps.chunks_exact_mut(channels));
                for (column, (to, taps)) in pixels.enumerate() {
                    let mut first = true;
                    for tap in 0..self.kernel[0] * self.kernel[1] {
                        let y = self
                            .window
                            .under(0, index % rows, tap / self.kernel[1], height);
                        let x = self.window.under(1, column, tap % self.kernel[1], width);
                        let (Some(y), Some(x)) = (y, x) else {
                            continue;
                        };
                        let from = &image[(y * width + x) * channels..][..channels];
                        if first {
                            to.copy_from_slice(from);
                            taps.fill(tap as u32);
                            first = false;
                        } else {
                            keep_larger(from, tap as u32, to, taps);
                        }
                    }
                }
            });
        let taps = Arc::new(taps);
        (
            tensor(output, [batch, rows, columns, channels]),
            Saved { shape, taps },
        )
    }

    fn gradient<T: Element>(
        &self,
        Saved { shape, taps }: &Saved,
        gradient: &FlexTensor,
    ) -> FlexTensor {
        let [_, height, width, channels] = *shape;
        let [rows, columns] = self.positions(*shape);
        let gradient = elements::<T>(gradient);
        // From the first element of a window to each of its elements, in memory.
        let offsets: Vec<isize> = (0..self.kernel[0] * self.kernel[1])
            .map(|tap| {
                let [y, x] = [tap / self.kernel[1], tap % self.kernel[1]];
                let [down, right] = self.window.dilation;
                ((y * down * width + x * right) * channels) as isize
            })
            .collect();
        let mut found = Buffer::<T>::any(shape.iter().product());
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
                    // The largest element lies inside the map.
                    let element = (first + offsets[*tap as usize]) as usize + channel;
                    sums[element] += gradient.widen();
                }
            }
        };
        found
            .par_chunks_mut((height * width * channels).max(1))
            .enumerate()
            .for_each(|(image, found)| {
                with_scratch(found.len(), |sums| {
                    add_image(image, sums);
                    convert(sums, found);
                });
            });
        tensor(found, *shape)
    }
}

vectorized! {
    /// Keeps the larger of values, and which element it was; what is no number is largest.
    fn keep_larger<T: Element>(from: &[T], tap: u32, to: &mut [T], taps: &mut [u32]) {
        for ((from, to), of) in from.iter().zip(to).zip(taps) {
            let larger = from.widen() > to.widen() || from.widen().is_nan();
            *to = if larger { *from } else { *to };
            *of = if larger { tap } else { *of };
        }
    }
}
