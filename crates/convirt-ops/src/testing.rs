//! Inputs and comparisons for the tests of operations.

mod half;
mod threads;

use std::sync::{Mutex, PoisonError};

use burn::tensor::{Device, FloatDType, Tensor, TensorData};

pub(crate) use crate::test_devices::{device, on_cpu, on_each_device};
use crate::{Precision, test_devices};

/// Values between -1 and 1 that look random, the same for the same seed.
pub(crate) fn random<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let values = random_values(shape.iter().product(), seed);
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The values of [`random`].
pub(crate) fn random_values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let values = (0..count).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    });
    values.collect()
}

pub(crate) fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.clone().into_data().try_to_vec().unwrap()
}

/// Values as matrix products of this precision take them.
pub(crate) fn values_in<const D: usize>(precision: Precision, tensor: Tensor<D>) -> Vec<f32> {
    let rounded = match precision.half_type(&tensor.device()) {
        Some(half) => tensor.cast(half).cast(FloatDType::F32),
        None => tensor,
    };
    values(&rounded)
}

/// The values of an output, then the gradients of Σ output · gradient with respect to inputs.
pub(crate) fn gradients_of<const D: usize, const I: usize, const N: usize>(
    output: Tensor<D>,
    gradient: &Tensor<D>,
    inputs: [&Tensor<I>; N],
) -> Vec<Vec<f32>> {
    let gradients = (output.clone() * gradient.clone()).sum().backward();
    let mut results = vec![output.into_data()];
    for input in inputs {
        results.push(input.grad(&gradients).expect("a gradient").into_data());
    }
    let values = results.into_iter().map(|data| data.try_to_vec().unwrap());
    values.collect()
}

/// Asserts that float32 sums differ from the exact ones by at most `tolerance` times the largest
/// sum, because rounding errors are proportional to the size of the summands, or at most what
/// [`test_devices::tolerance`](crate::test_devices::tolerance) makes of it.
pub(crate) fn assert_close(actual: &[f32], expected: &[f64], tolerance: f64, context: &str) {
    assert_eq!(actual.len(), expected.len(), "{context}");
    let scale = expected
        .iter()
        .fold(1.0f64, |max, value| max.max(value.abs()));
    let tolerance = test_devices::tolerance(tolerance);
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let error = (f64::from(*actual) - expected).abs();
        assert!(
            error <= tolerance * scale,
            "{context} on {:?}: element {index} is {actual}, not {expected}",
            device()
        );
    }
}

/// Seeds the process's random generator and runs `draw`, while no other test draws.
pub(crate) fn seeded<R>(seed: u64, draw: impl FnOnce() -> R) -> R {
    static GENERATOR: Mutex<()> = Mutex::new(());
    let _guard = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    device().seed(seed);
    draw()
}
