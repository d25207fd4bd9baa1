//! Batch normalization with PyTorch's running statistics.

use std::cell::{Cell, RefCell};

use burn::module::{Flag, Module, Param, RunningState};
use burn::nn::Initializer;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor};
use convirt_ops::{
    Epilogue, Normalization, Window, batch_norm, batch_norm_train, conv2d, conv2d_batch_norm,
    with_setting,
};

/// Weight of the newest batch in the running statistics.
const MOMENTUM: f64 = 0.1;
const EPSILON: f64 = 1e-5;

thread_local! {
    static SETS_ASIDE: Cell<bool> = const { Cell::new(false) };
    static SET_ASIDE: RefCell<Vec<BatchStatistics>> = const { RefCell::new(Vec::new()) };
}

/// What a [`BatchNorm`] learns of a batch for its running statistics.
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    /// Mean of each channel, `[channels]`.
    pub mean: Tensor<1>,
    /// Unbiased variance of each channel, `[channels]`.
    pub variance: Tensor<1>,
}

/// Runs `work` without a change of any [`BatchNorm`]'s running statistics, and returns what would
/// have changed them, in the order of the layers' calls, for [`BatchNorm::update`]. In training,
/// batches are normalized by their own statistics as ever.
///
/// It affects the calling thread only.
pub fn set_statistics_aside<R>(work: impl FnOnce() -> R) -> (R, Vec<BatchStatistics>) {
    SET_ASIDE.take();
    let result = with_setting(&SETS_ASIDE, true, work);
    (result, SET_ASIDE.take())
}

/// Normalizes each channel over the batch ([Ioffe & Szegedy
/// 2015](https://arxiv.org/abs/1502.03167)), as `torch.nn.BatchNorm2d` does.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_model::BatchNorm;
/// use convirt_ops::Epilogue;
///
/// let device = Device::flex();
/// let norm = BatchNorm::new(3, &device);
/// let output = norm.forward(Tensor::ones([2, 8, 8, 3], &device), Epilogue::Relu);
/// assert_eq!(output.dims(), [2, 8, 8, 3]);
/// ```
///
/// Burn's own layer stores the biased variance and applies each update only at the next one. This
/// layer stores the unbiased variance and applies each update at once, so that a record taken in
/// the middle of training is exact. It has the name and the fields of Burn's layer, so that
/// `burn-store` translates PyTorch's parameter names.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// Scale γ, `[channels]`.
    pub gamma: Param<Tensor<1>>,
    /// Offset β, `[channels]`.
    pub beta: Param<Tensor<1>>,
    /// Whether batches update the statistics; `freeze` clears it.
    pub training: Param<Flag>,
    /// Running mean, `[channels]`.
    pub running_mean: RunningState<Tensor<1>>,
    /// Running unbiased variance, `[channels]`.
    pub running_var: RunningState<Tensor<1>>,
}

impl BatchNorm {
    /// Creates a layer with γ = 1, β = 0 and the statistics of a standard normal.
    pub fn new(channels: usize, device: &Device) -> Self {
        let plain = device.clone().without_autodiff();
        Self {
            gamma: Initializer::Ones.init([channels], device),
            beta: Initializer::Zeros.init([channels], device),
            training: Param::from_bool(true),
            running_mean: RunningState::new(Tensor::zeros([channels], &plain)),
            running_var: RunningState::new(Tensor::ones([channels], &plain)),
        }
    }

    /// Normalizes by the batch's statistics in training (autodiff input and not frozen), by the
    /// running statistics otherwise; an [`Epilogue`] follows.
    ///
    /// A channel with a single value (one image of one pixel) has no variance: it normalizes to β
    /// and does not change the running statistics. PyTorch stops with an error there.
    ///
    /// # Shapes
    ///
    /// - input, output: `[batch, height, width, channels]`
    ///
    /// # Panics
    ///
    /// When the number of channels differs.
    pub fn forward(&self, input: Tensor<4>, epilogue: Epilogue) -> Tensor<4> {
        if !self.takes_batch_statistics(&input) {
            return batch_norm(input, self.normalization(), epilogue);
        }
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        let [batch, height, width, _] = input.dims();
        let values = (batch * height * width) as f64;
        let normalized = batch_norm_train(input, gamma, beta, EPSILON, epilogue);
        // Of a single value `update` takes nothing: it has no variance.
        let [of_mean, of_variance] = match values > 1.0 {
            true => [1.0, values / (values - 1.0)],
            false => [f64::NAN; 2],
        };
        let statistics = BatchStatistics {
            mean: normalized.mean.mul_scalar(of_mean),
            variance: normalized.variance.mul_scalar(of_variance),
        };
        if SETS_ASIDE.get() {
            SET_ASIDE.with_borrow_mut(|aside| aside.push(statistics));
        } else {
            self.update(&statistics);
        }
        normalized.output
    }

    /// Moves the running statistics towards those of a batch, visible at once. Channels whose batch
    /// is not finite keep theirs: a training that passes over such a batch would keep the damage.
    ///
    /// # Panics
    ///
    /// When the number of channels differs.
    pub fn update(&self, batch: &BatchStatistics) {
        for (running, batch) in [
            (&self.running_mean, &batch.mean),
            (&self.running_var, &batch.variance),
        ] {
            let before = running.value_sync().without_autodiff();
            // What is finite less itself is 0. `is_finite` would take six kernels on a GPU.
            let is_finite = (batch.clone() - batch.clone()).equal_elem(0.0);
            let batch = before.clone().mask_where(is_finite, batch.clone());
            let after = before.mul_scalar(1.0 - MOMENTUM) + batch.mul_scalar(MOMENTUM);
            running.update(after);
            running.value_sync();
        }
    }

    /// Returns the number of channels.
    pub fn channels(&self) -> usize {
        self.gamma.shape()[0]
    }

    /// Whether batches change the running statistics: the layer is not frozen.
    pub fn is_updated(&self) -> bool {
        self.training.is_enabled()
    }

    /// Convolves a feature map, then normalizes it as [`forward`](Self::forward) does.
    pub(crate) fn forward_conv(
        &self,
        conv: &Conv2d,
        input: Tensor<4>,
        epilogue: Epilogue,
    ) -> Tensor<4> {
        let window = Window {
            stride: conv.stride,
            padding: conv.kernel_size.map(|size| size / 2),
            dilation: [1, 1],
        };
        let weight = conv.weight.val();
        if self.takes_batch_statistics(&input) {
            self.forward(conv2d(input, weight, window, 1), epilogue)
        } else {
            conv2d_batch_norm(input, weight, window, 1, self.normalization(), epilogue)
        }
    }

    /// Whether a batch of this input is normalized by its own statistics.
    fn takes_batch_statistics(&self, input: &Tensor<4>) -> bool {
        input.is_autodiff() && self.is_updated()
    }

    fn normalization(&self) -> Normalization {
        Normalization {
            gamma: self.gamma.val(),
            beta: self.beta.val(),
            mean: self.running_mean.value_sync(),
            variance: self.running_var.value_sync(),
            epsilon: EPSILON,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Tolerance;

    fn images(device: &Device) -> Tensor<4> {
        Tensor::<1>::from_floats([1.0, 0.5, 2.0, 0.5, 4.0, 1.5, 9.0, 1.5], device)
            .reshape([1, 2, 2, 2])
    }

    #[test]
    fn a_batch_that_is_not_finite_does_not_spoil_the_statistics() {
        let device = Device::flex().autodiff();
        let layer = BatchNorm::new(2, &device);
        let spoiled = Tensor::<1>::from_floats([1.0, 0.5, f32::NAN, 0.5], &device);
        layer.forward(spoiled.reshape([1, 2, 1, 2]), Epilogue::Nothing);
        let mean = layer.running_mean.value_sync().into_data();
        mean.assert_approx_eq::<f32>(&[0.0, 0.05].into(), Tolerance::default());
        let variance = layer.running_var.value_sync().into_data();
        variance.assert_approx_eq::<f32>(&[1.0, 0.9].into(), Tolerance::default());
    }

    #[test]
    fn running_variance_is_unbiased_and_current_after_each_batch() {
        let device = Device::flex().autodiff();
        let layer = BatchNorm::new(2, &device);
        layer.forward(images(&device), Epilogue::Nothing);
        // Means 4 and 1; unbiased variances 38/3 and 1/3; running = 0.9·start + 0.1·batch.
        let mean = layer.running_mean.value();
        let variance = layer.running_var.value();
        mean.into_data()
            .assert_approx_eq::<f32>(&[0.4f32, 0.1].into(), Tolerance::absolute(1e-6));
        variance.into_data().assert_approx_eq::<f32>(
            &[0.9 + 38.0 / 30.0, 0.9 + 1.0f32 / 30.0].into(),
            Tolerance::absolute(1e-6),
        );
    }

    #[test]
    fn statistics_that_are_set_aside_change_the_running_ones_later() {
        let device = Device::flex().autodiff();
        let layer = BatchNorm::new(2, &device);
        let forward = || {
            layer
                .forward(images(&device), Epilogue::Nothing)
                .into_data()
        };
        let statistics =
            || [&layer.running_mean, &layer.running_var].map(|it| it.value_sync().into_data());
        let first = forward();
        let after_first = statistics();
        let (output, aside) = set_statistics_aside(forward);
        assert_eq!(output, first);
        assert_eq!(statistics(), after_first);
        let [aside] = &aside[..] else {
            panic!("one layer, one call");
        };
        layer.update(aside);
        let later = statistics();
        let at_once = BatchNorm::new(2, &device);
        for _ in 0..2 {
            at_once.forward(images(&device), Epilogue::Nothing);
        }
        assert_ne!(later, after_first);
        let at_once = [&at_once.running_mean, &at_once.running_var];
        assert_eq!(later, at_once.map(|it| it.value_sync().into_data()));
    }

    #[test]
    fn frozen_layer_keeps_its_statistics_and_uses_them() {
        let device = Device::flex().autodiff();
        let layer = BatchNorm::new(2, &device).freeze();
        let output = layer.forward(images(&device), Epilogue::Nothing);
        let expected = images(&device).div_scalar((1.0 + EPSILON).sqrt());
        output
            .into_data()
            .assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-6));
        assert_eq!(
            layer.running_mean.value_sync().into_data(),
            [0.0f32, 0.0].into()
        );
    }

    #[test]
    fn single_value_per_channel_leaves_the_statistics_finite() {
        let device = Device::flex().autodiff();
        let layer = BatchNorm::new(2, &device);
        let output = layer.forward(Tensor::ones([1, 1, 1, 2], &device), Epilogue::Nothing);
        assert_eq!(
            output.into_data(),
            Tensor::<4>::zeros([1, 1, 1, 2], &device).into_data()
        );
        assert_eq!(layer.running_var.value().into_data(), [1.0f32, 1.0].into());
    }

    #[test]
    fn trains_on_a_device_with_gradient_checkpointing() {
        let device = Device::flex().autodiff().gradient_checkpointing();
        let layer = BatchNorm::new(2, &device);
        let gradients = layer
            .forward(images(&device), Epilogue::Nothing)
            .square()
            .sum()
            .backward();
        assert!(layer.gamma.val().grad(&gradients).is_some());
        let resumed = layer.valid().train().valid();
        assert!(
            resumed
                .running_mean
                .value()
                .into_data()
                .iter::<f32>()
                .all(|m| m > 0.0)
        );
    }
}
