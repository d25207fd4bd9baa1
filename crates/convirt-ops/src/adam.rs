//! A step of Adam.

use burn::tensor::Tensor;

/// Settings of a step of Adam.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Learning rate.
    pub learning_rate: f64,
    /// Decay of the running means of the gradients and of their squares, each below 1.
    pub betas: [f32; 2],
    /// Added to the denominator.
    pub epsilon: f32,
    /// L2 penalty; its product with the parameter is added to the gradient.
    pub weight_decay: f32,
    /// Number of this step; the parameter's first is 1.
    pub time: i32,
}

impl AdamStep {
    /// The factor of first moment / √(second moment) and the ε of its denominator, both with the
    /// moments' bias corrected.
    pub(crate) fn bias_corrected(&self) -> [f64; 2] {
        let [first, second] = self.betas.map(|beta| f64::from(1.0 - beta.powi(self.time)));
        let root = second.sqrt();
        [
            self.learning_rate * root / first,
            f64::from(self.epsilon) * root,
        ]
    }
}

/// Updates a parameter by Adam ([Kingma & Ba 2015](https://arxiv.org/abs/1412.6980), Algorithm 1,
/// in the order of the end of its Section 2, with ε where the algorithm has it). Returns the new
/// parameter and the new moments.
///
/// # Shapes
///
/// - parameter, gradient, moments, outputs: one shape; before the first step the moments are zeros
///
/// # Panics
///
/// When the shapes differ.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_ops::{AdamStep, adam_step};
///
/// let device = Device::flex();
/// let vector = |numbers: [f32; 2]| Tensor::<1>::from_floats(numbers, &device);
/// let step = AdamStep {
///     learning_rate: 0.5,
///     betas: [0.9, 0.999],
///     epsilon: 0.0,
///     weight_decay: 0.0,
///     time: 1,
/// };
/// let moments = [vector([0.0; 2]), vector([0.0; 2])];
/// let (parameter, _) = adam_step(vector([1.0, 1.0]), vector([3.0, -0.1]), moments, &step);
/// // Adam's first step is the learning rate in the direction opposite to the gradient's sign.
/// let numbers: Vec<f32> = parameter.into_data().iter().collect();
/// assert!((numbers[0] - 0.5).abs() < 1e-5 && (numbers[1] - 1.5).abs() < 1e-5);
/// ```
pub fn adam_step<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    moments: [Tensor<D>; 2],
    settings: &AdamStep,
) -> (Tensor<D>, [Tensor<D>; 2]) {
    for other in [&gradient, &moments[0], &moments[1]] {
        assert_eq!(other.dims(), parameter.dims(), "shape of the parameter");
    }
    #[cfg(feature = "flex")]
    if [&parameter, &gradient, &moments[0], &moments[1]]
        .into_iter()
        .all(|tensor| crate::flex::runs_here(tensor) && !tensor.is_autodiff())
    {
        return crate::flex::adam_step(parameter, gradient, moments, settings);
    }
    composed(parameter, gradient, moments, settings)
}

/// Computes the step by Burn's own operations.
fn composed<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    [first, second]: [Tensor<D>; 2],
    settings: &AdamStep,
) -> (Tensor<D>, [Tensor<D>; 2]) {
    let gradient = parameter.clone().mul_scalar(settings.weight_decay) + gradient;
    let [beta_1, beta_2] = settings.betas;
    let first = first.mul_scalar(beta_1) + gradient.clone().mul_scalar(1.0 - beta_1);
    let second = second.mul_scalar(beta_2) + gradient.square().mul_scalar(1.0 - beta_2);
    let [scale, epsilon] = settings.bias_corrected();
    let step = first.clone().mul_scalar(scale) / second.clone().sqrt().add_scalar(epsilon);
    (parameter - step, [first, second])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::tests::with_each_kernel;
    use crate::testing::{assert_close, device, on_each_device, random};
    use burn::tensor::{DType, Device};

    const SETTINGS: AdamStep = AdamStep {
        learning_rate: 0.1,
        betas: [0.9, 0.999],
        epsilon: 1e-8,
        weight_decay: 0.01,
        time: 1,
    };

    type Step<const D: usize> = fn(Tensor<D>, Tensor<D>, [Tensor<D>; 2], &AdamStep) -> Updated<D>;

    type Updated<const D: usize> = (Tensor<D>, [Tensor<D>; 2]);

    /// The parameter and the moments after three steps with different gradients.
    fn three_steps<const D: usize>(
        shape: [usize; D],
        dtype: DType,
        step: Step<D>,
    ) -> [Vec<f32>; 3] {
        let device = device();
        let tensor = |seed| random(shape, seed, &device).cast(dtype);
        let mut parameter = tensor(1);
        let mut moments = [0; 2].map(|_| tensor(1).zeros_like());
        for time in 1..=3 {
            let settings = AdamStep { time, ..SETTINGS };
            (parameter, moments) = step(parameter, tensor(1 + time as u64), moments, &settings);
        }
        let [first, second] = moments;
        [parameter, first, second].map(|tensor| tensor.into_data().iter().collect())
    }

    /// Algorithm 1 in float64.
    fn expected<const D: usize>(shape: [usize; D]) -> [Vec<f64>; 3] {
        let values = |seed| -> Vec<f64> {
            let data = random(shape, seed, &Device::flex()).into_data();
            data.iter().collect()
        };
        let mut parameter = values(1);
        let [mut first, mut second] = [0; 2].map(|_| vec![0.0; parameter.len()]);
        let [beta_1, beta_2] = SETTINGS.betas.map(f64::from);
        for time in 1..=3 {
            for (index, gradient) in values(1 + time as u64).into_iter().enumerate() {
                let gradient = gradient + f64::from(SETTINGS.weight_decay) * parameter[index];
                first[index] = beta_1 * first[index] + (1.0 - beta_1) * gradient;
                second[index] = beta_2 * second[index] + (1.0 - beta_2) * gradient * gradient;
                let mean = first[index] / (1.0 - beta_1.powi(time));
                let spread = second[index] / (1.0 - beta_2.powi(time));
                parameter[index] -=
                    SETTINGS.learning_rate * mean / (spread.sqrt() + f64::from(SETTINGS.epsilon));
            }
        }
        [parameter, first, second]
    }

    /// A few roundings of float32, enlarged by the cancellation in 1 − 0.999ᵗ.
    const TOLERANCE: f64 = 1e-5;

    #[test]
    fn steps_follow_the_algorithm() {
        on_each_device(|| {
            for shape in [[1, 1], [3, 37], [300, 150]] {
                let expected = expected(shape);
                let by_kernel = with_each_kernel(|| three_steps(shape, DType::F32, adam_step::<2>));
                let mut all: Vec<_> = by_kernel
                    .into_iter()
                    .map(|(kernel, actual)| (format!("{kernel:?}"), actual))
                    .collect();
                let composed = three_steps(shape, DType::F32, composed::<2>);
                all.push(("composed".into(), composed));
                if device().supports_dtype(DType::F64) {
                    let double = three_steps(shape, DType::F64, adam_step::<2>);
                    all.push(("float64".into(), double));
                }
                for (name, actual) in all {
                    for (actual, expected) in actual.iter().zip(&expected) {
                        assert_close(actual, expected, TOLERANCE, &format!("{name} {shape:?}"));
                    }
                }
            }
        });
    }

    #[test]
    fn tensors_held_elsewhere_are_not_changed() {
        let device = Device::flex();
        let all = [1, 2, 3].map(|seed| random([40], seed, &device).square());
        let [parameter, gradient, moment] = all.clone();
        let before = all.clone().map(Tensor::into_data);
        let moments = [moment.clone(), moment];
        let (updated, _) = adam_step(parameter, gradient, moments, &SETTINGS);
        assert_ne!(updated.into_data(), before[0]);
        assert_eq!(all.map(Tensor::into_data), before);
    }

    #[test]
    #[should_panic(expected = "shape of the parameter")]
    fn gradient_of_another_shape_panics() {
        let device = Device::flex();
        let parameter = random([4], 1, &device);
        let moments = [parameter.clone(), parameter.clone()];
        adam_step(parameter, random([3], 1, &device), moments, &SETTINGS);
    }
}
