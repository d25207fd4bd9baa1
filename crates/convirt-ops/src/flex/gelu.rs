//! GELU, and its gradient, in one pass each.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::buffer::{contiguous, elements, elements_mut, tensor};
use super::element::{Element, of_element};
use super::math::{mul_add, normal_cumulative, normal_density};
use super::memory::Buffer;
use super::simd::vectorized;
use super::{FlexTensor, Operation, apply};

/// Elements of a thread's turn.
const BLOCK: usize = 1 << 14;

pub(crate) fn gelu<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    let records = input.is_tracked();
    apply(Gelu { records }, [input.into_dispatch()]).0
}

#[derive(Debug)]
struct Gelu {
    /// Whether a gradient may be asked for.
    records: bool,
}

impl Operation<1> for Gelu {
    type Saved = Option<FlexTensor>;

    fn forward(&self, [input]: [FlexTensor; 1]) -> (FlexTensor, Self::Saved) {
        of_element!(input.dtype(), T => self.run::<T>(contiguous(input)))
    }

    fn backward(
        self,
        saved: Self::Saved,
        gradient: FlexTensor,
        _: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let input = saved.expect("kept where gradients are recorded");
        let mut gradient = contiguous(gradient);
        of_element!(input.dtype(), T => {
            let blocks = elements_mut::<T>(&mut gradient).par_chunks_mut(BLOCK);
            blocks
                .zip(elements(&input).par_chunks(BLOCK))
                .for_each(|(gradient, input)| multiply_by_derivative::<T>(input, gradient));
        });
        [Some(gradient)]
    }
}

impl Gelu {
    fn run<T: Element>(&self, mut input: FlexTensor) -> (FlexTensor, Option<FlexTensor>) {
        if !self.records {
            let blocks = elements_mut::<T>(&mut input).par_chunks_mut(BLOCK);
            blocks.for_each(gelu_in_place);
            return (input, None);
        }
        let mut output = Buffer::<T>::any(elements::<T>(&input).len());
        let blocks = output.par_chunks_mut(BLOCK);
        blocks
            .zip(elements(&input).par_chunks(BLOCK))
            .for_each(|(to, input)| gelu_to(input, to));
        let shape = input.layout().shape().clone();
        (tensor(output, shape), Some(input))
    }
}

/// x·Φ(x).
#[inline(always)]
fn gelu_of<const FUSED: bool, T: Element>(x: T) -> T {
    let x = x.widen();
    T::round(x * normal_cumulative::<FUSED>(x))
}

vectorized! {
    fn gelu_in_place<T: Element>(values: &mut [T]) {
        values.iter_mut().for_each(|x| *x = gelu_of::<FUSED, T>(*x));
    }
}

vectorized! {
    fn gelu_to<T: Element>(input: &[T], to: &mut [T]) {
        let pairs = to.iter_mut().zip(input);
        pairs.for_each(|(to, x)| *to = gelu_of::<FUSED, T>(*x));
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
