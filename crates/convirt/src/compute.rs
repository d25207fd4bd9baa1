//! What a run computes on and how: devices, kernels, precisions.

mod error;

use burn::tensor::Device;
use convirt_ops::forced_kernel;
pub use convirt_ops::{Kernel, KernelError, Precision, Profile, autocast};
pub use error::ComputeError;

pub use crate::config::parse_precision;
use crate::error::Error;

/// Names that [`device`] accepts in this build, best first.
pub const DEVICE_NAMES: &[&str] = &[
    #[cfg(feature = "cuda")]
    "cuda",
    #[cfg(feature = "metal")]
    "metal",
    #[cfg(feature = "rocm")]
    "rocm",
    #[cfg(feature = "vulkan")]
    "vulkan",
    #[cfg(feature = "webgpu")]
    "webgpu",
    #[cfg(feature = "wgpu")]
    "wgpu",
    #[cfg(feature = "cpu")]
    "cpu",
    #[cfg(feature = "flex")]
    "flex",
];

/// Finds a device by name: a backend compiled in, optionally with an index as in `cuda:1`.
///
/// `None` takes what the environment variable `BURN_DEVICE` names, or the best backend compiled in.
/// The name only selects: whether such hardware is there shows at the first computation. On the CPU
/// the environment variable `CONVIRT_KERNEL` forces a
/// [`Kernel`].
///
/// # Errors
///
/// When the backend is unknown or not compiled in, and the error lists those that are;
/// [`ComputeError::Kernel`] when the kernel is unknown or this machine does not have it.
pub fn device(name: Option<&str>) -> Result<Device, Error> {
    forced_kernel().map_err(ComputeError::Kernel)?;
    let from_environment = std::env::var("BURN_DEVICE").ok();
    let Some(name) = name.or(from_environment.as_deref()) else {
        return Ok(best_device()?);
    };
    let unknown = || ComputeError::UnknownDevice {
        name: name.to_string(),
        available: DEVICE_NAMES,
    };
    let (backend, index) = match name.split_once(':') {
        Some((backend, index)) => (backend, Some(index.parse().map_err(|_| unknown())?)),
        None => (name, None),
    };
    Ok(by_backend(backend, index).ok_or_else(unknown)?)
}

/// The device without Burn's wrapping: `Flex(Cpu)`, `Cuda(0)`, …
pub(crate) fn device_name(device: &Device) -> String {
    format!("{:?}", device.clone().inner().as_dispatch())
}

/// The name of the kernel that multiplies matrices on a device; `None` on others than the CPU.
pub(crate) fn kernel_name(device: &Device, precision: Precision) -> Option<String> {
    let kernel = precision.kernel(device);
    kernel.map(|kernel| kernel.name().to_string())
}

/// Describes a device and how it multiplies in a precision, in lines for people: the device with
/// its kernel, the precision, and a warning where the device has no instructions for it.
pub fn describe_device(device: &Device, precision: Precision) -> String {
    let mut device_line = device_name(device);
    if let Some(kernel) = precision.kernel(device) {
        device_line += &format!(", matrix products by {kernel}");
    }
    let precision_line = match precision {
        Precision::Float32 => "float32",
        Precision::High => {
            "high: factors of matrix products with 16 significant bits, all else in float32"
        }
        Precision::BFloat16 => {
            "bf16: matrix products, feature maps and token states in bfloat16, all else in float32"
        }
    };
    let warning = if precision.is_native_to(device) {
        ""
    } else {
        "warning: this processor has no instructions for bfloat16 (AVX512-BF16 or AMX): numbers \
         are rounded to it, but no faster; float32 is more exact\n"
    };
    format!(
        "{:<16}{device_line}\n{:<16}{precision_line}\n{warning}",
        "device", "precision"
    )
}

/// Checks that products of a precision run on a device.
pub(crate) fn check_precision(precision: Precision, device: &Device) -> Result<(), ComputeError> {
    match precision.runs_on(device) {
        true => Ok(()),
        false => Err(ComputeError::NoBFloat16 {
            device: device_name(device),
        }),
    }
}

fn best_device() -> Result<Device, ComputeError> {
    let best = DEVICE_NAMES.first();
    best.and_then(|name| by_backend(name, None))
        .ok_or_else(|| ComputeError::UnknownDevice {
            name: "none".to_string(),
            available: DEVICE_NAMES,
        })
}

fn by_backend(backend: &str, index: Option<usize>) -> Option<Device> {
    // There is one processor.
    if matches!(backend, "cpu" | "flex") && index.is_some() {
        return None;
    }
    match backend {
        #[cfg(feature = "cuda")]
        "cuda" => Some(Device::cuda(index.unwrap_or(0))),
        #[cfg(feature = "rocm")]
        "rocm" => Some(Device::rocm(index.unwrap_or(0))),
        #[cfg(feature = "metal")]
        "metal" => Some(Device::metal(gpu(index))),
        #[cfg(feature = "vulkan")]
        "vulkan" => Some(Device::vulkan(gpu(index))),
        #[cfg(feature = "webgpu")]
        "webgpu" => Some(Device::webgpu(gpu(index))),
        #[cfg(feature = "wgpu")]
        "wgpu" => Some(Device::wgpu(gpu(index))),
        #[cfg(feature = "cpu")]
        "cpu" => Some(Device::cpu()),
        #[cfg(feature = "flex")]
        "flex" => Some(Device::flex()),
        _ => None,
    }
}

#[cfg(any(
    feature = "metal",
    feature = "vulkan",
    feature = "webgpu",
    feature = "wgpu"
))]
fn gpu(index: Option<usize>) -> burn::tensor::DeviceKind {
    use burn::tensor::DeviceKind;
    index.map_or(DeviceKind::DefaultDevice, DeviceKind::DiscreteGpu)
}

#[cfg(test)]
mod tests {
    use convirt_ops::{Kernel, KernelError};

    use super::*;

    #[test]
    fn a_backend_that_is_not_compiled_in_is_an_error_that_lists_those_that_are() {
        let error = device(Some("abacus")).unwrap_err().to_string();
        assert!(
            error.contains("abacus") && error.contains("flex"),
            "{error}"
        );
        assert!(device(Some("flex:1")).is_err());
        assert!(device(Some("flex")).is_ok());
    }

    #[test]
    fn a_kernel_that_cannot_be_had_is_an_error_that_names_the_variable_and_the_kernel() {
        let unknown = KernelError::Unknown("abacus".to_string());
        for (cause, name) in [
            (unknown, "abacus"),
            (KernelError::Missing(Kernel::Amx), "amx"),
        ] {
            let error = ComputeError::Kernel(cause).to_string();
            assert!(error.starts_with("CONVIRT_KERNEL: "), "{error}");
            assert!(error.contains(name), "{error}");
        }
    }

    #[cfg(feature = "flex")]
    #[test]
    fn a_description_names_device_kernel_and_precision() {
        let device = Device::flex();
        for (precision, name) in [
            (Precision::Float32, "float32"),
            (Precision::High, "high: "),
            (Precision::BFloat16, "bf16: "),
        ] {
            let text = describe_device(&device, precision);
            let kernel = precision.kernel(&device).expect("the CPU has kernels");
            let lines = format!(
                "device          Flex(Cpu), matrix products by {kernel}\nprecision       {name}"
            );
            assert!(text.starts_with(&lines), "{text}");
            let is_native = precision.is_native_to(&device);
            assert_eq!(text.contains("warning: "), !is_native, "{text}");
        }
    }
}
