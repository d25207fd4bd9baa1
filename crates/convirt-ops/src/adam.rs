//! A step of Adam.

use burn::tensor::Tensor;

/// Numbers of a step of Adam.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Learning rate.
    pub learning_rate: f64,
    /// Decay of the gradients' and of their squares' running mean, each below 1.
    pub betas: [f32; 2],
    /// Added to the denominator.
    pub epsilon: f32,
    /// L2 penalty: times the parameter, it is added to the gradient.
    pub weight_decay: f32,
    /// Which step of the parameter it is, the first being 1.
    pub time: i32,
}

impl AdamStep {
    /// What the quotient of the moments is multiplied by, and what its denominator gets: both
    /// moments' bias corrected.
    fn corrected(&self) -> [f64; 2] {
        let [first, second] = self.betas.map(|beta| f64::from(1.0 - beta.powi(self.time)));
        let root = second.sqrt();
        [
            self.learning_rate * root / first,
            f64::from(self.epsilon) * root,
        ]
    }
}

/// Moves a parameter by Adam ([Kingma & Ba 2015](https://arxiv.org/abs/1412.6980), Algorithm 1, in
/// the order of the end of its Section 2, with ε where the algorithm has it) and returns it with
/// the new moments.
///
/// # Shapes
///
/// - all: of one shape; zeros are the moments before the first step
///
/// # Panics
///
/// When the shapes differ.
pub fn adam_step<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    moments: [Tensor<D>; 2],
    by: &AdamStep,
) -> (Tensor<D>, [Tensor<D>; 2]) {
    for other in [&gradient, &moments[0], &moments[1]] {
        assert_eq!(other.dims(), parameter.dims(), "shape of the parameter");
    }
    #[cfg(feature = "flex")]
    if [&parameter, &gradient, &moments[0], &moments[1]]
        .into_iter()
        .all(|tensor| crate::flex::runs_here(tensor) && !tensor.is_autodiff())
    {
        let [scale, floor] = by.corrected().map(|number| number as f32);
        return crate::flex::adam_step(parameter, gradient, moments, by, scale, floor);
    }
    composed(parameter, gradient, moments, by)
}

/// By Burn's own operations.
fn composed<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    [first, second]: [Tensor<D>; 2],
    by: &AdamStep,
) -> (Tensor<D>, [Tensor<D>; 2]) {
    let gradient = parameter.clone().mul_scalar(by.weight_decay) + gradient;
    let [beta_1, beta_2] = by.betas;
    let first = first.mul_scalar(beta_1) + gradient.clone().mul_scalar(1.0 - beta_1);
    let second = second.mul_scalar(beta_2) + gradient.square().mul_scalar(1.0 - beta_2);
    let [scale, floor] = by.corrected();
    let step = first.clone().mul_scalar(scale) / second.clone().sqrt().add_scalar(floor);
    (parameter - step, [first, second])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::tests::with_each_kernel;
    use crate::testing::{assert_close, device, on_each_device, random};
    use burn::tensor::{DType, Device};

    const BY: AdamStep = AdamStep {
        learning_rate: 0.1,
        betas: [0.9, 0.999],
        epsilon: 1e-8,
        weight_decay: 0.01,
        time: 1,
    };

    type Step<const D: usize> = fn(Tensor<D>, Tensor<D>, [Tensor<D>; 2], &AdamStep) -> Moved<D>;

    type Moved<const D: usize> = (Tensor<D>, [Tensor<D>; 2]);

    /// Parameters and moments after steps 1 to 3, of gradients that change.
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
            let by = AdamStep { time, ..BY };
            (parameter, moments) = step(parameter, tensor(1 + time as u64), moments, &by);
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
        let [beta_1, beta_2] = BY.betas.map(f64::from);
        for time in 1..=3 {
            for (index, gradient) in values(1 + time as u64).into_iter().enumerate() {
                let gradient = gradient + f64::from(BY.weight_decay) * parameter[index];
                first[index] = beta_1 * first[index] + (1.0 - beta_1) * gradient;
                second[index] = beta_2 * second[index] + (1.0 - beta_2) * gradient * gradient;
                let mean = first[index] / (1.0 - beta_1.powi(time));
                let spread = second[index] / (1.0 - beta_2.powi(time));
                parameter[index] -=
                    BY.learning_rate * mean / (spread.sqrt() + f64::from(BY.epsilon));
            }
        }
        [parameter, first, second]
    }

    /// 1 - 0.999 has lost 14 of float32's 24 bits.
    const TOLERANCE: f64 = 1e-5;

    #[test]
    fn steps_are_those_of_the_algorithm() {
        on_each_device(|| {
            for shape in [[1, 1], [3, 37], [300, 150]] {
                let expected = expected(shape);
                let found = with_each_kernel(|| three_steps(shape, DType::F32, adam_step::<2>));
                let mut all: Vec<_> = found
                    .into_iter()
                    .map(|(level, found)| (format!("{level:?}"), found))
                    .collect();
                let composed = three_steps(shape, DType::F32, composed::<2>);
                all.push(("composed".into(), composed));
                let double = three_steps(shape, DType::F64, adam_step::<2>);
                all.push(("float64".into(), double));
                for (what, found) in all {
                    for (found, expected) in found.iter().zip(&expected) {
                        assert_close(found, expected, TOLERANCE, &format!("{what} {shape:?}"));
                    }
                }
            }
        });
    }

    #[test]
    fn operands_that_others_hold_are_kept() {
        let device = Device::flex();
        let all = [1, 2, 3].map(|seed| random([40], seed, &device).square());
        let [parameter, gradient, moment] = all.clone();
        let before = all.clone().map(Tensor::into_data);
        let moments = [moment.clone(), moment];
        let (moved, _) = adam_step(parameter, gradient, moments, &BY);
        assert_ne!(moved.into_data(), before[0]);
        assert_eq!(all.map(Tensor::into_data), before);
    }

    #[test]
    #[should_panic(expected = "shape of the parameter")]
    fn another_gradient_is_refused() {
        let device = Device::flex();
        let parameter = random([4], 1, &device);
        let moments = [parameter.clone(), parameter.clone()];
        adam_step(parameter, random([3], 1, &device), moments, &BY);
    }
}
