//! The exponential moving average of a network's weights ([Polyak & Juditsky
//! 1992](https://doi.org/10.1137/0330046)), which is evaluated and saved instead of the last step's.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use super::pretrained::Pretrained;
use super::task::PretrainingTask;

/// A network whose weights and running statistics are the moving averages of another's.
#[derive(Clone, Debug)]
pub(super) struct Average<N> {
    network: N,
    decay: f64,
}

impl<N: Pretrained> Average<N> {
    /// Starts with the weights of a network; `decay` is between 0 and 1.
    pub fn new(network: &N, decay: f64) -> Self {
        Self {
            network: network.valid(),
            decay,
        }
    }

    /// Returns the network with the averages, outside autodiff.
    pub fn network(&self) -> &N {
        &self.network
    }

    /// Continues with other averages, those of a checkpoint.
    pub fn with_network(self, change: impl FnOnce(N) -> N) -> Self {
        Self {
            network: change(self.network),
            ..self
        }
    }

    /// Moves the averages towards the weights after the `step`-th step.
    pub fn update(&mut self, network: &N, step: usize) {
        let mut weights = Weights(GradientsParams::new());
        network.visit(&mut weights);
        let mut toward = Toward {
            weights: weights.0,
            share: 1.0 - decay_of_step(self.decay, step),
        };
        self.network = self.network.clone().map(&mut toward);
    }
}

/// Returns the task that is evaluated: with the averages, if there are any.
pub(super) fn evaluated<N: Pretrained>(
    task: &PretrainingTask<N>,
    average: Option<&Average<N>>,
) -> PretrainingTask<N> {
    let task = task.valid();
    match average {
        Some(average) => PretrainingTask {
            network: average.network.clone(),
            ..task
        },
        None => task,
    }
}

/// The decay after a step, so that the first steps, which know more than the initial weights, are
/// not averaged with them for long: (1 + step) / (10 + step), as in TensorFlow's
/// `ExponentialMovingAverage`, and at most `decay`.
fn decay_of_step(decay: f64, step: usize) -> f64 {
    let step = step as f64;
    decay.min((1.0 + step) / (10.0 + step))
}

/// The weights of a network by their ids, in Burn's container of tensors of any rank.
struct Weights(GradientsParams);

impl ModuleVisitor for Weights {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.register(param.id, param.val().without_autodiff());
    }
}

/// Moves weights towards others by a share of the difference; equal ones stay the same to the bit.
struct Toward {
    weights: GradientsParams,
    share: f64,
}

impl ModuleMapper for Toward {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.weights.remove::<D>(param.id) {
            Some(weight) => param.map(|average| {
                let difference = weight - average.clone();
                average + difference.mul_scalar(self.share)
            }),
            None => param,
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use convirt_model::{ResNetConfig, ResNetDepth, SimClr, SimClrConfig};

    use super::*;

    struct Add(f32);

    impl ModuleMapper for Add {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|weight| weight + self.0)
        }
    }

    fn some_weights(network: &SimClr) -> [f32; 2] {
        let norm = &network.image_encoder.bn1;
        let numbers = [norm.beta.val(), norm.running_mean.value_sync()];
        numbers.map(|numbers| numbers.slice(0..1).into_scalar())
    }

    #[test]
    fn averages_follow_weights_and_running_statistics_with_the_decay_of_the_step() {
        let config = SimClrConfig::new(ResNetConfig::new(ResNetDepth::ResNet18));
        let network = config.init(&Device::flex().autodiff()).unwrap();
        let mut average = Average::new(&network, 0.3);
        // Equal weights stay the same to the bit, whatever the decay.
        average.update(&network, 1);
        let before = network.image_encoder.conv1.weight.val().into_data();
        let after = average.network().image_encoder.conv1.weight.val();
        assert_eq!(after.into_data(), before);
        // (1 + 1) / (10 + 1) is below 0.3, (1 + 9) / (10 + 9) is above.
        let network = network.map(&mut Add(1.0));
        average.update(&network, 1);
        let first = 1.0 - 2.0 / 11.0;
        let expected = [first, first + 0.7 * (1.0 - first)].map(|it| it as f32);
        assert_eq!(some_weights(average.network()), [expected[0]; 2]);
        average.update(&network, 9);
        for weight in some_weights(average.network()) {
            assert!((weight - expected[1]).abs() < 1e-6, "{weight}");
        }
        assert_eq!(
            some_weights(&network),
            [1.0; 2],
            "the network is not changed"
        );
    }
}
