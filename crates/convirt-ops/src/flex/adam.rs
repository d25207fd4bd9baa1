//! A step of Adam in one pass over memory.

use burn::backend::Flex;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::buffer::{contiguous, elements, elements_mut};
use super::math::mul_add;
use super::plain;
use super::simd::vectorized;
use crate::AdamStep;
use crate::profile::{Pass, timed};

/// Elements of a thread's turn.
const BLOCK: usize = 1 << 14;

/// The parameter takes the gradient's memory, which nobody else holds after a backward pass.
pub(crate) fn adam_step<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    moments: [Tensor<D>; 2],
    by: &AdamStep,
    scale: f32,
    floor: f32,
) -> (Tensor<D>, [Tensor<D>; 2]) {
    let memory = |tensor: Tensor<D>| contiguous(plain(tensor.into_dispatch()));
    let (parameter, mut gradient) = (memory(parameter), memory(gradient));
    let [mut first, mut second] = moments.map(memory);
    timed("Adam", Pass::Forward, || {
        elements_mut(&mut gradient)
            .par_chunks_mut(BLOCK)
            .zip(elements(&parameter).par_chunks(BLOCK))
            .zip(elements_mut(&mut first).par_chunks_mut(BLOCK))
            .zip(elements_mut(&mut second).par_chunks_mut(BLOCK))
            .for_each(|(((gradient, parameter), first), second)| {
                step(parameter, gradient, first, second, by, scale, floor);
            });
    });
    let wrap = Tensor::from_primitive::<Flex>;
    (wrap(gradient), [first, second].map(wrap))
}

vectorized! {
    fn step(
        parameter: &[f32],
        gradient: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
        by: &AdamStep,
        scale: f32,
        floor: f32,
    ) {
        let [beta_1, beta_2] = by.betas;
        let [fresh_1, fresh_2] = [1.0 - beta_1, 1.0 - beta_2];
        let decay = by.weight_decay;
        let moments = first.iter_mut().zip(second);
        let pairs = parameter.iter().zip(gradient);
        for ((parameter, gradient), (first, second)) in pairs.zip(moments) {
            let slope = mul_add::<FUSED>(*parameter, decay, *gradient);
            *first = mul_add::<FUSED>(*first, beta_1, slope * fresh_1);
            *second = mul_add::<FUSED>(*second, beta_2, slope * slope * fresh_2);
            *gradient = parameter - *first * scale / (second.sqrt() + floor);
        }
    }
}
