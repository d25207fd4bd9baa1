//! Dynamic loss scaling, without which small gradients vanish in float16
//! ([Micikevicius et al. 2018](https://arxiv.org/abs/1710.03740)).

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use convirt_ops::Precision;
use serde::{Deserialize, Serialize};

use super::task::{global_norm, scaled};

/// Steps with finite gradients after which the factor is doubled. This and the first factor are those
/// of PyTorch's `GradScaler`.
const STEPS_TO_GROW: usize = 2_000;

/// The factor that the loss is multiplied by before its gradients are computed, as large as they
/// allow: it is halved whenever a gradient overflows, and that step changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LossScale {
    /// A power of two, at least 1.
    factor: f32,
    /// Steps with finite gradients since the factor changed.
    finite_steps: usize,
}

impl Default for LossScale {
    fn default() -> Self {
        Self {
            factor: 65_536.0,
            finite_steps: 0,
        }
    }
}

impl LossScale {
    /// Returns the factor, 1 in precisions that need none.
    pub fn factor(&self, precision: Precision) -> f32 {
        match precision {
            Precision::Float16 => self.factor,
            Precision::Float32 | Precision::High | Precision::BFloat16 => 1.0,
        }
    }

    /// Whether gradients of a scaled loss overflowed, which a smaller factor may help against; it is
    /// halved then. Otherwise the step is counted. Reads the gradients' norm.
    pub fn overflows<M: Module>(&mut self, gradients: &GradientsParams, module: &M) -> bool {
        let norm = global_norm(gradients, module).map_or(0.0, Tensor::into_scalar::<f32>);
        if norm.is_finite() {
            self.count_finite();
            return false;
        }
        self.lower()
    }

    /// Halves the factor after a gradient that is not finite; returns whether that was possible.
    pub fn lower(&mut self) -> bool {
        let is_possible = self.factor > 1.0;
        if is_possible {
            self.factor /= 2.0;
            self.finite_steps = 0;
        }
        is_possible
    }

    /// Counts a step with finite gradients.
    pub fn count_finite(&mut self) {
        self.finite_steps += 1;
        if self.finite_steps == STEPS_TO_GROW {
            self.finite_steps = 0;
            let larger = self.factor * 2.0;
            if larger.is_finite() {
                self.factor = larger;
            }
        }
    }
}

/// Multiplies a loss, or what stands for it, by the factor.
pub(super) fn multiplied<const D: usize>(loss: Tensor<D>, factor: f32) -> Tensor<D> {
    match factor {
        1.0 => loss,
        factor => loss * factor,
    }
}

/// Computes the gradients of a loss for a module, by way of those of `factor` · loss.
pub(crate) fn gradients_of<M: Module>(loss: Tensor<1>, module: &M, factor: f32) -> GradientsParams {
    let device = loss.device();
    let gradients = multiplied(loss, factor).backward();
    let gradients = GradientsParams::from_grads(gradients, module);
    unscaled(gradients, module, factor, &device)
}

/// Divides gradients of a loss that was multiplied by `factor`.
pub(super) fn unscaled<M: Module>(
    gradients: GradientsParams,
    module: &M,
    factor: f32,
    device: &Device,
) -> GradientsParams {
    if factor == 1.0 {
        return gradients;
    }
    let inverse = Tensor::from_data([factor.recip()], &device.clone().inner());
    scaled(gradients, module, inverse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_is_halved_by_overflow_down_to_one_and_doubled_by_many_finite_steps() {
        let mut scale = LossScale::default();
        assert_eq!(scale.factor(Precision::BFloat16), 1.0);
        let factor = |scale: &LossScale| scale.factor(Precision::Float16);
        assert_eq!(factor(&scale), 65_536.0);
        for _ in 0..STEPS_TO_GROW - 1 {
            scale.count_finite();
        }
        assert!(scale.lower());
        assert_eq!(factor(&scale), 32_768.0);
        // The count begins again.
        scale.count_finite();
        assert_eq!(factor(&scale), 32_768.0);
        for _ in 1..STEPS_TO_GROW {
            scale.count_finite();
        }
        assert_eq!(factor(&scale), 65_536.0);
        assert_eq!((0..20).filter(|_| scale.lower()).count(), 16);
        assert_eq!(factor(&scale), 1.0);
    }
}
