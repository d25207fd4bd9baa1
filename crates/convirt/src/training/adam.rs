//! Adam, one pass over memory a parameter on the CPU.

use burn::optim::{AdamState, AdaptiveMomentumState, LearningRate, ModuleOptimizer, Optimizer};
use burn::tensor::{Device, Tensor};
use convirt_ops::{AdamStep, adam_step};

/// Adam with an L2 penalty ([Kingma & Ba 2015](https://arxiv.org/abs/1412.6980)), as Burn's
/// `AdamConfig` makes it with the same numbers: its records are the same and load in each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Added to the denominator, above 0.
    pub epsilon: f64,
    /// L2 penalty, at least 0.
    pub weight_decay: f64,
}

impl Adam {
    /// Initializes an optimizer of a whole module.
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
        let by = AdamStep {
            learning_rate,
            betas: [0.9, 0.999],
            epsilon: self.epsilon as f32,
            weight_decay: self.weight_decay as f32,
            time: time as i32,
        };
        let (parameter, [first, second]) = adam_step(parameter, gradient, moments, &by);
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

    fn burns() -> ModuleOptimizer {
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

    /// A run that changes hands in the middle, through a record, goes where it would have gone.
    #[test]
    fn steps_and_records_are_those_of_burns_adam() {
        let device = Device::flex().autodiff();
        // Not drawn: another test's draws would change them.
        let numbers = |range| Tensor::<1, Int>::arange(range, &device).float().sin();
        let layer = Linear {
            weight: Param::from_tensor(numbers(1..601).mul_scalar(0.2).reshape([30, 20])),
            bias: Some(Param::from_tensor(numbers(601..621).mul_scalar(0.2))),
        };
        let inputs: Vec<_> = (0..4)
            .map(|step| numbers(1000 * (step + 1)..1000 * (step + 1) + 150).reshape([5, 30]))
            .collect();
        let (first, second) = inputs.split_at(2);
        let expected = steps(&layer, &mut burns(), &inputs);
        type Make = fn() -> ModuleOptimizer;
        let ours: Make = || ADAM.init();
        for [before, after] in [[ours, ours], [ours, burns as Make], [burns, ours]] {
            let mut optimizer = before();
            let halfway = steps(&layer, &mut optimizer, first);
            let record = optimizer.into_bytes().unwrap();
            let mut optimizer = after().from_bytes(record).unwrap();
            let found = steps(&halfway, &mut optimizer, second);
            // A few roundings of steps of 0.01.
            let tolerance = Tolerance::absolute(1e-6);
            for (found, expected) in [
                (
                    found.weight.val().into_data(),
                    expected.weight.val().into_data(),
                ),
                (
                    found.bias.unwrap().val().into_data(),
                    expected.bias.as_ref().unwrap().val().into_data(),
                ),
            ] {
                found.assert_approx_eq::<f32>(&expected, tolerance);
            }
        }
    }
}
