//! A sum of squares in one pass over memory.

use burn::backend::Flex;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::math::mul_add;
use super::plain;
use super::simd::vectorized;
use super::tensor::{contiguous, elements};
use crate::profile::{Pass, timed};

/// Elements whose squares are summed in float32: 64 KiB, enough work to be worth handing to a
/// thread. The sums of blocks are added in float64 and in order.
const BLOCK: usize = 1 << 14;

/// Partial sums of a block, as many as the largest vector has elements.
const LANES: usize = 16;

pub(crate) fn sum_of_squares<const D: usize>(input: Tensor<D>) -> Tensor<1> {
    let device = input.device();
    let input = contiguous(plain::<Flex>(input.into_dispatch()));
    let sums: Vec<f64> = timed("norm", Pass::Forward, || {
        let blocks = elements(&input).par_chunks(BLOCK);
        let sum = |block: &[f32]| {
            let mut lanes = [0.0; LANES];
            add_squares(block, &mut lanes);
            lanes.iter().copied().map(f64::from).sum()
        };
        blocks.map(sum).collect()
    });
    Tensor::from_floats([sums.iter().sum::<f64>() as f32], &device)
}

vectorized! {
    fn add_squares(block: &[f32], lanes: &mut [f32; LANES]) {
        let (vectors, rest) = block.as_chunks::<LANES>();
        for vector in vectors {
            for (lane, number) in lanes.iter_mut().zip(vector) {
                *lane = mul_add::<FUSED>(*number, *number, *lane);
            }
        }
        for (lane, number) in lanes.iter_mut().zip(rest) {
            *lane = mul_add::<FUSED>(*number, *number, *lane);
        }
    }
}
