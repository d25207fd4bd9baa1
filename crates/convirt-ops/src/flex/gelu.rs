//! GELU in one pass over memory, and its gradient in another.

use burn::backend::Flex;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::buffer_pool::Buffer;
use super::element::{Element, with_element_type};
use super::math::{mul_add, normal_cumulative, normal_density};
use super::simd::vectorized;
use super::tensor::{contiguous, elements, elements_mut, new_tensor};
use super::{FlexTensor, Operation, apply};

/// Elements of a task: 64 KiB of float32, enough work to be worth handing to a thread.
const BLOCK: usize = 1 << 14;

pub(crate) fn gelu<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    let records = input.is_tracked();
    apply(Gelu { records }, [input.into_dispatch()]).0
}

#[derive(Debug)]
struct Gelu {
    /// Whether gradients are recorded.
    records: bool,
}

impl Operation<Flex, 1> for Gelu {
    type Saved = Option<FlexTensor>;

    fn forward(&self, [input]: [FlexTensor; 1]) -> (FlexTensor, Self::Saved) {
        with_element_type!(input.dtype(), T => self.forward_typed::<T>(contiguous(input)))
    }

    fn backward(
        self,
        saved: Self::Saved,
        gradient: FlexTensor,
        _: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let input = saved.expect("kept where gradients are recorded");
        let mut gradient = contiguous(gradient);
        with_element_type!(input.dtype(), T => {
            let blocks = elements_mut::<T>(&mut gradient).par_chunks_mut(BLOCK);
            blocks
                .zip(elements(&input).par_chunks(BLOCK))
                .for_each(|(gradient, input)| multiply_by_derivative::<T>(input, gradient));
        });
        [Some(gradient)]
    }
}

impl Gelu {
    fn forward_typed<T: Element>(&self, mut input: FlexTensor) -> (FlexTensor, Option<FlexTensor>) {
        if !self.records {
            let blocks = elements_mut::<T>(&mut input).par_chunks_mut(BLOCK);
            blocks.for_each(gelu_in_place);
            return (input, None);
        }
        let mut output = Buffer::<T>::unspecified(elements::<T>(&input).len());
        let blocks = output.par_chunks_mut(BLOCK);
        blocks
            .zip(elements(&input).par_chunks(BLOCK))
            .for_each(|(output, input)| write_gelu(input, output));
        let shape = input.layout().shape().clone();
        (new_tensor(output, shape), Some(input))
    }
}

/// x·Φ(x).
#[inline(always)]
fn gelu_element<const FUSED: bool, T: Element>(x: T) -> T {
    let x = x.widen();
    T::round(x * normal_cumulative::<FUSED>(x))
}

vectorized! {
    fn gelu_in_place<T: Element>(values: &mut [T]) {
        values.iter_mut().for_each(|x| *x = gelu_element::<FUSED, T>(*x));
    }
}

vectorized! {
    fn write_gelu<T: Element>(input: &[T], output: &mut [T]) {
        let pairs = output.iter_mut().zip(input);
        pairs.for_each(|(output, x)| *output = gelu_element::<FUSED, T>(*x));
    }
}

vectorized! {
    /// Multiplies by Φ(x) + x·φ(x).
    fn multiply_by_derivative<T: Element>(input: &[T], gradient: &mut [T]) {
        for (gradient, x) in gradient.iter_mut().zip(input) {
            let x = x.widen();
            let density = normal_density::<FUSED>(x);
            let derivative = mul_add::<FUSED>(x, density, normal_cumulative::<FUSED>(x));
            *gradient = T::round(gradient.widen() * derivative);
        }
    }
}
