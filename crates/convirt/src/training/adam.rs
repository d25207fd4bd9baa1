//! The optimizer Adam, which on the CPU updates each parameter in one pass over memory.

use burn::optim::{AdamState, AdaptiveMomentumState, LearningRate, ModuleOptimizer, Optimizer};
use burn::tensor::{Device, Tensor};
use convirt_ops::{AdamStep, adam_step};

/// Adam with an L2 penalty and β = (0.9, 0.999)
/// ([Kingma & Ba 2015](https://arxiv.org/abs/1412.6980)).
///
/// It computes what Burn's Adam computes with the same settings, and each loads the other's
/// records.
///
/// # Examples
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::optim::GradientsParams;
/// use burn::tensor::{Device, Tensor};
/// use convirt::training::Adam;
///
/// let device = Device::flex().autodiff();
/// let mut layer = LinearConfig::new(2, 1).init(&device);
/// let mut optimizer = Adam { epsilon: 1e-8, weight_decay: 1e-6 }.init();
/// let input = Tensor::<2>::from_data([[1.0, 2.0]], &device);
/// let before = layer.forward(input.clone()).into_scalar::<f32>();
/// let gradients = layer.forward(input.clone()).sum().backward();
/// let gradients = GradientsParams::from_grads(gradients, &layer);
/// layer = optimizer.step(1e-2, layer, gradients);
/// assert!(layer.forward(input).into_scalar::<f32>() < before);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Number added to the denominator, above 0.
    pub epsilon: f64,
    /// L2 penalty added to the gradient, at least 0.
    pub weight_decay: f64,
}

impl Adam {
    /// Initializes the optimizer of a module.
    pub fn init(self) -> ModuleOptimizer {
        self.into()
    }
}

impl Optimizer for Adam {
    type State<const D: usize> = AdamState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: LearningRate,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamState<D>>,
    ) -> (Tensor<D>, Option<AdamState<D>>) {
        let (time, moments) = match state.map(|state| state.momentum) {
            Some(state) => (state.time, [state.moment_1, state.moment_2]),
            None => (0, [parameter.zeros_like(), parameter.zeros_like()]),
        };
        let time = time + 1;
        let settings = AdamStep {
            learning_rate,
            betas: [0.9, 0.999],
            epsilon: self.epsilon as f32,
            weight_decay: self.weight_decay as f32,
            time: time as i32,
        };
        let (parameter, [first, second]) = adam_step(parameter, gradient, moments, &settings);
        let state = AdamState::new(AdaptiveMomentumState::new(time, first, second));
        (parameter, Some(state))
    }

    fn to_device<const D: usize>(mut state: AdamState<D>, device: &Device) -> AdamState<D> {
        state.momentum = state.momentum.to_device(device);
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Param;
    use burn::nn::Linear;
    use burn::optim::decay::WeightDecayConfig;
    use burn::optim::{AdamConfig, GradientsParams};
    use burn::tensor::{Int, Tolerance};

    const ADAM: Adam = Adam {
        epsilon: 1e-8,
        weight_decay: 0.01,
    };

    fn burn_adam() -> ModuleOptimizer {
        AdamConfig::new()
            .with_epsilon(ADAM.epsilon as f32)
            .with_weight_decay(Some(WeightDecayConfig::new(ADAM.weight_decay as f32)))
            .init()
    }

    fn steps(layer: &Linear, optimizer: &mut ModuleOptimizer, inputs: &[Tensor<2>]) -> Linear {
        inputs.iter().fold(layer.clone(), |layer, input| {
            let gradients = layer.forward(input.clone()).square().mean().backward();
            let gradients = GradientsParams::from_grads(gradients, &layer);
            optimizer.step(0.01, layer, gradients)
        })
    }

    /// Four steps give the same parameters if one of the two optimizers loads the other's record
    /// after the second step.
    #[test]
    fn steps_and_records_are_those_of_burns_adam() {
        let device = Device::flex().autodiff();
        // Not random: other tests draw from the same generator.
        let numbers = |range| Tensor::<1, Int>::arange(range, &device).float().sin();
        let layer = Linear {
            weight: Param::from_tensor(numbers(1..601).mul_scalar(0.2).reshape([30, 20])),
            bias: Some(Param::from_tensor(numbers(601..621).mul_scalar(0.2))),
        };
        let inputs: Vec<_> = (0..4)
            .map(|step| numbers(1000 * (step + 1)..1000 * (step + 1) + 150).reshape([5, 30]))
            .collect();
        let (first, second) = inputs.split_at(2);
        let expected = steps(&layer, &mut burn_adam(), &inputs);
        type Init = fn() -> ModuleOptimizer;
        let ours: Init = || ADAM.init();
        for [before, after] in [[ours, ours], [ours, burn_adam as Init], [burn_adam, ours]] {
            let mut optimizer = before();
            let halfway = steps(&layer, &mut optimizer, first);
            let record = optimizer.into_bytes().unwrap();
            let mut optimizer = after().from_bytes(record).unwrap();
            let actual = steps(&halfway, &mut optimizer, second);
            // A few roundings of steps of 0.01.
            let tolerance = Tolerance::absolute(1e-6);
            for (actual, expected) in [
                (
                    actual.weight.val().into_data(),
                    expected.weight.val().into_data(),
                ),
                (
                    actual.bias.unwrap().val().into_data(),
                    expected.bias.as_ref().unwrap().val().into_data(),
                ),
            ] {
                actual.assert_approx_eq::<f32>(&expected, tolerance);
            }
        }
    }
}
