//! The precision of products.

use std::cell::Cell;

use burn::tensor::{DType, Device, FloatDType, Tensor};

use crate::device::is_flex;
use crate::kernel::Kernel;

thread_local! {
    static CHOSEN: Cell<Precision> = const { Cell::new(Precision::Float32) };
}

/// How convolutions and linear layers multiply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// In float32.
    #[default]
    Float32,
    /// Nearly float32: both factors as the sum of two numbers of bfloat16 (16 significant bits),
    /// three products of them added in float32, as PyTorch's
    /// `set_float32_matmul_precision("high")` allows; float32 where that is not faster.
    High,
    /// Both factors rounded to bfloat16 (8 significant bits), their products added in float32.
    /// Feature maps and token states that [`to_storage`](crate::to_storage) was given are kept in
    /// bfloat16 between operations too, and so are their gradients. Sums, statistics and
    /// normalizations are computed in float32; parameters and their gradients are float32.
    BFloat16,
}

impl Precision {
    /// Whether products of this precision run on a device: on all in float32, on the CPU in any,
    /// and elsewhere where the device computes in bfloat16.
    pub fn runs_on(self, device: &Device) -> bool {
        self != Self::BFloat16 || is_flex(device) || device.supports_dtype(FloatDType::BF16)
    }

    /// Whether a device that this precision [runs on](Self::runs_on) has instructions for it.
    /// Without them (AMX or AVX512-BF16) the CPU multiplies rounded numbers in float32, no faster
    /// than exact ones.
    pub fn is_native_to(self, device: &Device) -> bool {
        #[cfg(feature = "flex")]
        if is_flex(device) {
            return self != Self::BFloat16
                || matches!(
                    crate::flex::kernel_of(self),
                    Kernel::Amx | Kernel::Avx512BFloat16
                );
        }
        self.runs_on(device)
    }

    /// Returns the kernel that multiplies in this precision, `None` on other devices than the CPU.
    /// The same products by other kernels differ by rounding.
    pub fn kernel(self, device: &Device) -> Option<Kernel> {
        #[cfg(feature = "flex")]
        if is_flex(device) {
            return Some(crate::flex::kernel_of(self));
        }
        None
    }

    /// That of the current [`autocast`].
    pub(crate) fn current() -> Self {
        CHOSEN.get()
    }
}

/// Computes a product by Burn's own operation, its factors rounded first where the current
/// [`autocast`] says so. Burn rounds the sums too.
pub(crate) fn composed<const A: usize, const B: usize>(
    a: Tensor<A>,
    b: Tensor<B>,
    product: impl FnOnce(Tensor<A>, Tensor<B>) -> Tensor<A>,
) -> Tensor<A> {
    match Precision::current() {
        Precision::BFloat16 if a.dtype() == DType::F32 => {
            let product = product(a.cast(FloatDType::BF16), b.cast(FloatDType::BF16));
            product.cast(FloatDType::F32)
        }
        _ => {
            let dtype = a.dtype();
            product(a, b.cast(dtype))
        }
    }
}

/// Runs `work` with convolutions and affine maps of this precision, as `torch.autocast` does, and
/// their gradients too, whenever they are computed.
///
/// It concerns the calling thread only.
pub fn autocast<R>(precision: Precision, work: impl FnOnce() -> R) -> R {
    /// Puts back what was chosen before, also after a panic.
    struct Before(Precision);
    impl Drop for Before {
        fn drop(&mut self) {
            CHOSEN.set(self.0);
        }
    }
    let _before = Before(CHOSEN.replace(precision));
    work()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_holds_until_its_work_ends_even_by_a_panic() {
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
