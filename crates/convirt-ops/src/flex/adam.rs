//! A step of Adam in one pass over memory.

use burn::backend::Flex;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::math::mul_add;
use super::plain;
use super::simd::vectorized;
use super::tensor::{contiguous, elements, elements_mut};
use crate::AdamStep;
use crate::profile::{Pass, timed};

/// Elements of a task: 64 KiB of each of the four arrays, enough work to be worth handing to a
/// thread.
const BLOCK: usize = 1 << 14;

/// The new parameter takes the gradient's memory, which nothing else holds after a backward pass.
pub(crate) fn adam_step<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    moments: [Tensor<D>; 2],
    settings: &AdamStep,
) -> (Tensor<D>, [Tensor<D>; 2]) {
    let memory = |tensor: Tensor<D>| contiguous(plain::<Flex>(tensor.into_dispatch()));
    let (parameter, mut gradient) = (memory(parameter), memory(gradient));
    let [mut first, mut second] = moments.map(memory);
    let bias_corrected = settings.bias_corrected().map(|number| number as f32);
    timed("Adam", Pass::Forward, || {
        elements_mut(&mut gradient)
            .par_chunks_mut(BLOCK)
            .zip(elements(&parameter).par_chunks(BLOCK))
            .zip(elements_mut(&mut first).par_chunks_mut(BLOCK))
            .zip(elements_mut(&mut second).par_chunks_mut(BLOCK))
            .for_each(|(((gradient, parameter), first), second)| {
                step(parameter, gradient, first, second, settings, bias_corrected);
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
        settings: &AdamStep,
        bias_corrected: [f32; 2],
    ) {
        let [scale, epsilon] = bias_corrected;
        let [beta_1, beta_2] = settings.betas;
        let [weight_1, weight_2] = [1.0 - beta_1, 1.0 - beta_2];
        let decay = settings.weight_decay;
        let moments = first.iter_mut().zip(second);
        let pairs = parameter.iter().zip(gradient);
        for ((parameter, gradient), (first, second)) in pairs.zip(moments) {
            let penalized = mul_add::<FUSED>(*parameter, decay, *gradient);
            *first = mul_add::<FUSED>(*first, beta_1, penalized * weight_1);
            *second = mul_add::<FUSED>(*second, beta_2, penalized * penalized * weight_2);
            *gradient = parameter - *first * scale / (second.sqrt() + epsilon);
        }
    }
}
