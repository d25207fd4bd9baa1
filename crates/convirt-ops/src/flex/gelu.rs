//! GELU, and its gradient, in one pass each.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::buffer::{contiguous, elements, elements_mut, tensor};
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
        let mut input = contiguous(input);
        if !self.records {
            let blocks = elements_mut(&mut input).par_chunks_mut(BLOCK);
            blocks.for_each(gelu_in_place);
            return (input, None);
        }
        let mut output = Buffer::any(elements(&input).len());
        let blocks = output.par_chunks_mut(BLOCK);
        blocks
            .zip(elements(&input).par_chunks(BLOCK))
            .for_each(|(to, input)| gelu_to(input, to));
        let shape = input.layout().shape().clone();
        (tensor(output, shape), Some(input))
    }

    fn backward(
        self,
        saved: Self::Saved,
        gradient: FlexTensor,
        _: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let input = saved.expect("kept where gradients are recorded");
        let mut gradient = contiguous(gradient);
        let blocks = elements_mut(&mut gradient).par_chunks_mut(BLOCK);
        blocks
            .zip(elements(&input).par_chunks(BLOCK))
            .for_each(|(gradient, input)| turn(input, gradient));
        [Some(gradient)]
    }
}

vectorized! {
    fn gelu_in_place(values: &mut [f32]) {
        values.iter_mut().for_each(|x| *x *= normal_cumulative::<FUSED>(*x));
    }
}

vectorized! {
    fn gelu_to(input: &[f32], to: &mut [f32]) {
        let pairs = to.iter_mut().zip(input);
        pairs.for_each(|(to, x)| *to = x * normal_cumulative::<FUSED>(*x));
    }
}

vectorized! {
    /// Multiplies by Φ(x) + x·φ(x).
    fn turn(input: &[f32], gradient: &mut [f32]) {
        for (gradient, x) in gradient.iter_mut().zip(input) {
            let density = normal_density::<FUSED>(*x);
            *gradient *= mul_add::<FUSED>(*x, density, normal_cumulative::<FUSED>(*x));
        }
    }
}
