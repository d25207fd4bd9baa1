//! The precision of matrix products.

use std::cell::Cell;

use burn::tensor::{DType, Device, FloatDType, Tensor};

use crate::device::is_flex;
use crate::kernel::Kernel;
use crate::scope::with_setting;

thread_local! {
    static CHOSEN: Cell<Precision> = const { Cell::new(Precision::Float32) };
}

/// The precision in which convolutions and linear layers multiply.
///
/// # Examples
///
/// ```
/// use burn::tensor::Device;
/// use convirt_ops::Precision;
///
/// let device = Device::flex();
/// assert!(Precision::BFloat16.runs_on(&device));
/// let kernel = Precision::Float32.kernel(&device).expect("the CPU has kernels");
/// assert!(kernel.is_available());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// In float32.
    #[default]
    Float32,
    /// Nearly float32, as PyTorch's `set_float32_matmul_precision("high")` allows: each factor is
    /// the sum of two numbers of bfloat16 (16 significant bits), and three products of them are
    /// added in float32. Float32 where that is not faster.
    High,
    /// Both factors are rounded to bfloat16 (8 significant bits), and their products are added in
    /// float32. After [`to_storage`](crate::to_storage), feature maps, token states and their
    /// gradients are kept in bfloat16 between operations, too. Sums, statistics and normalizations
    /// are computed in float32; parameters and their gradients are float32.
    BFloat16,
    /// As [`BFloat16`](Self::BFloat16), but in float16 (11 significant bits, numbers from 6·10⁻⁸ to
    /// 65,504), on GPUs only. Small gradients vanish in it, so a loss is multiplied by a large factor
    /// before its gradients are computed, and they are divided by it. On the CPU it is float32.
    Float16,
}

impl Precision {
    /// Whether a device computes matrix products in this precision: the CPU in any but float16,
    /// other devices in bfloat16 and float16 if they have that type.
    pub fn runs_on(self, device: &Device) -> bool {
        match self {
            Self::Float32 | Self::High => true,
            Self::BFloat16 => is_flex(device) || device.supports_dtype(FloatDType::BF16),
            Self::Float16 => !is_flex(device) && device.supports_dtype(FloatDType::F16),
        }
    }

    /// Returns this precision, or float32 for a device that does not compute in it.
    pub fn on(self, device: &Device) -> Self {
        if self.runs_on(device) {
            self
        } else {
            Self::Float32
        }
    }

    /// Whether a device has instructions for this precision. A CPU without AMX and AVX512-BF16
    /// multiplies numbers rounded to bfloat16 in float32, which is no faster than exact ones.
    pub fn is_native_to(self, device: &Device) -> bool {
        #[cfg(feature = "flex")]
        if is_flex(device) {
            return self != Self::BFloat16
                || matches!(
                    crate::flex::chosen_kernel(self),
                    Kernel::Amx | Kernel::Avx512BFloat16
                );
        }
        self.runs_on(device)
    }

    /// Returns the kernel that multiplies in this precision; `None` on devices other than the CPU.
    /// The results of different kernels differ by rounding.
    pub fn kernel(self, device: &Device) -> Option<Kernel> {
        #[cfg(feature = "flex")]
        if is_flex(device) {
            return Some(crate::flex::chosen_kernel(self));
        }
        None
    }

    /// The precision of the current [`autocast`].
    pub(crate) fn current() -> Self {
        CHOSEN.get()
    }

    /// The type of 16 bits in which this precision multiplies and stores on a device; `None` if it is
    /// float32.
    pub(crate) fn half_type(self, device: &Device) -> Option<FloatDType> {
        match self {
            Self::Float32 | Self::High => None,
            Self::BFloat16 => Some(FloatDType::BF16),
            Self::Float16 => (!is_flex(device)).then_some(FloatDType::F16),
        }
    }
}

/// Computes a matrix product by Burn's own operation, after rounding its factors if the current
/// [`autocast`] asks for it. Burn rounds the sums, too.
pub(crate) fn composed<const A: usize, const B: usize>(
    a: Tensor<A>,
    b: Tensor<B>,
    multiply: impl FnOnce(Tensor<A>, Tensor<B>) -> Tensor<A>,
) -> Tensor<A> {
    match Precision::current().half_type(&a.device()) {
        Some(half) if a.dtype() == DType::F32 => {
            multiply(a.cast(half), b.cast(half)).cast(FloatDType::F32)
        }
        _ => {
            let dtype = a.dtype();
            multiply(a, b.cast(dtype))
        }
    }
}

/// Runs `work` with convolutions and linear layers in a precision, as `torch.autocast` does. Their
/// gradients have the same precision, whenever they are computed.
///
/// It affects the calling thread only.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convirt_ops::{Precision, autocast, linear};
///
/// let device = Device::flex();
/// let [input, weight] = [1.0 + 1.0 / 512.0, 1.0].map(|x| Tensor::<2>::full([1, 1], x, &device));
/// let multiply = || linear(input.clone(), weight.clone(), None).into_scalar::<f32>();
/// // Bfloat16 has 8 significant bits.
/// assert_eq!(multiply(), 1.0 + 1.0 / 512.0);
/// assert_eq!(autocast(Precision::BFloat16, multiply), 1.0);
/// ```
pub fn autocast<R>(precision: Precision, work: impl FnOnce() -> R) -> R {
    with_setting(&CHOSEN, precision, work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_is_restored_after_the_work_and_after_a_panic() {
        autocast(Precision::BFloat16, || {
            autocast(Precision::Float32, || {
                assert_eq!(Precision::current(), Precision::Float32);
            });
            assert_eq!(Precision::current(), Precision::BFloat16);
        });
        assert_eq!(Precision::current(), Precision::Float32);
        let panics = || autocast(Precision::BFloat16, || panic!("on purpose"));
        std::panic::catch_unwind(panics).unwrap_err();
        assert_eq!(Precision::current(), Precision::Float32);
    }
}
