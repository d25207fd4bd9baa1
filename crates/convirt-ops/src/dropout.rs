//! Dropout.

use burn::tensor::{Distribution, Tensor};

/// Sets each element to zero with a probability and divides the others by the complement
/// ([Srivastava et al. 2014](https://jmlr.org/papers/v15/srivastava14a.html)). The caller decides
/// whether the network is in training.
///
/// # Shapes
///
/// - input, output: any
///
/// # Panics
///
/// When the probability is not at least 0 and below 1.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_ops::dropout;
///
/// let output = dropout(Tensor::<1>::ones([1_000], &Device::flex()), 0.5).into_data();
/// assert!(output.iter::<f32>().all(|number| number == 0.0 || number == 2.0));
/// ```
pub fn dropout<const D: usize>(input: Tensor<D>, probability: f64) -> Tensor<D> {
    check_probability(probability);
    #[cfg(feature = "flex")]
    if crate::flex::runs_here(&input) {
        return crate::flex::dropout(input, probability);
    }
    composed(input, probability)
}

pub(crate) fn check_probability(probability: f64) {
    assert!(
        (0.0..1.0).contains(&probability),
        "dropout of {probability}: at least 0, below 1"
    );
}

/// Drops elements by Burn's own operations.
pub(crate) fn composed<const D: usize>(input: Tensor<D>, probability: f64) -> Tensor<D> {
    if probability == 0.0 {
        return input;
    }
    let complement = 1.0 - probability;
    let mask = input.random_like(Distribution::Bernoulli(complement));
    (input * mask).mul_scalar(1.0 / complement)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::tests::with_each_kernel;
    use crate::testing::{device, on_each_device, seeded};
    use burn::tensor::Device;

    fn dropped(seed: u64, shape: [usize; 2], probability: f64) -> Vec<f32> {
        let input = Tensor::<2>::ones(shape, &device());
        let output = seeded(seed, || dropout(input, probability));
        output.into_data().try_to_vec().unwrap()
    }

    /// Fractions of a million draws: standard error at most 0.0005.
    #[test]
    fn fraction_of_dropped_elements_is_the_probability_and_others_are_scaled() {
        on_each_device(|| {
            for probability in [0.1, 0.5, 0.9] {
                let values = dropped(1, [1_000, 1_000], probability);
                let scale = (1.0 / (1.0 - probability)) as f32;
                assert!(values.iter().all(|value| *value == 0.0 || *value == scale));
                let zeros = values.iter().filter(|value| **value == 0.0).count();
                let fraction = zeros as f64 / 1e6;
                assert!((fraction - probability).abs() < 0.002, "{fraction}");
            }
        });
    }

    /// Independent fair bits agree in half of the places: standard error 0.0005 of a million.
    #[test]
    fn neighbours_rows_and_draws_are_independent() {
        let (shape, device) = ([256, 4_096], Device::flex());
        let draw = || dropout(Tensor::<2>::ones(shape, &device), 0.5);
        let draws = seeded(1, || [draw(), draw()]);
        let [first, second] = draws.map(|draw| draw.into_data().try_to_vec::<f32>().unwrap());
        let agreement = |a: &[f32], b: &[f32]| {
            let same = a.iter().zip(b).filter(|(a, b)| a == b).count();
            same as f64 / a.len().min(b.len()) as f64
        };
        for distance in [1, 2, 3, 16, 64, 768, 4_096, 8_192, 65_536] {
            let fraction = agreement(&first, &first[distance..]);
            assert!(
                (fraction - 0.5).abs() < 0.004,
                "{distance} apart: {fraction}"
            );
        }
        let fraction = agreement(&first, &second);
        assert!((fraction - 0.5).abs() < 0.004, "two draws: {fraction}");
    }

    #[test]
    fn masks_depend_on_the_seed_and_not_on_kernel_or_threads() {
        let run = |seed| dropped(seed, [3, 5_001], 0.3);
        let first = run(7);
        assert_ne!(first, run(8));
        for (kernel, actual) in with_each_kernel(|| run(7)) {
            assert_eq!(actual, first, "{kernel:?}");
        }
    }

    #[test]
    fn gradient_is_dropped_where_the_value_is() {
        on_each_device(|| {
            let device = device().autodiff();
            for function in [dropout::<2>, composed::<2>] {
                let input = Tensor::<2>::ones([3, 5_001], &device).require_grad();
                let output = seeded(1, || function(input.clone(), 0.3));
                let gradients = output.clone().sum().backward();
                assert_eq!(
                    input.grad(&gradients).unwrap().into_data(),
                    output.into_data()
                );
            }
        });
    }

    #[test]
    fn probability_0_changes_nothing() {
        assert_eq!(dropped(1, [2, 3], 0.0), [1.0; 6]);
    }

    #[test]
    #[should_panic(expected = "dropout of 1: at least 0, below 1")]
    fn probability_1_panics() {
        dropout(Tensor::<1>::ones([1], &Device::flex()), 1.0);
    }
}
