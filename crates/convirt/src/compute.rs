//! Devices, kernels of the CPU and precisions: what a run computes on, and how.

#[cfg(feature = "train")]
mod drawing_device;
mod error;
#[cfg(feature = "cubecl")]
mod opening;

use burn::tensor::Device;
use convirt_ops::forced_kernel;
pub use convirt_ops::{Kernel, KernelError, Precision, Profile, autocast, with_dropout_seed};
#[cfg(feature = "train")]
pub(crate) use drawing_device::DrawingDevice;
pub use error::ComputeError;

pub use crate::config::parse_precision;
use crate::error::Error;
use crate::messages::warning;

/// Names of the backends in this build, which [`device`] accepts, the best first.
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

/// Returns the device of a name: a backend of this build, with an index if there are several such
/// devices (`cuda:1`).
///
/// Without a name, the environment variable `BURN_DEVICE` names the device; without that, it is the
/// best backend of this build ([`DEVICE_NAMES`]). On the CPU, the environment variable
/// `CONVIRT_KERNEL` forces a [`Kernel`].
///
/// # Errors
///
/// - [`ComputeError::UnknownDevice`] if the backend is unknown or not in this build; it lists those
///   of this build
/// - [`ComputeError::SeveralDevices`] if the name is a list
/// - [`ComputeError::NotOpened`] if the machine has no such device, or not its driver
/// - [`ComputeError::Kernel`] if `CONVIRT_KERNEL` names an unknown kernel or one that this
///   processor does not have
///
/// # Examples
///
/// ```
/// use convirt::compute::{DEVICE_NAMES, Precision, describe_device};
///
/// let device = convirt::device(Some("flex"))?;
/// let description = describe_device(&device, Precision::Float32);
/// assert!(description.starts_with("device          Flex(Cpu), matrix products by "));
///
/// let error = convirt::device(Some("abacus")).unwrap_err();
/// assert!(error.to_string().starts_with("no device `abacus`; this build has "));
/// assert!(DEVICE_NAMES.contains(&"flex"));
/// # Ok::<(), convirt::Error>(())
/// ```
pub fn device(name: Option<&str>) -> Result<Device, Error> {
    forced_kernel().map_err(ComputeError::Kernel)?;
    #[cfg(feature = "cubecl")]
    keep_compiled_kernels();
    let of_variable = std::env::var("BURN_DEVICE").ok();
    let of_variable = of_variable.as_deref().filter(|name| !name.is_empty());
    let best = DEVICE_NAMES.first().copied().unwrap_or("none");
    let (name, shown) = match (name, of_variable) {
        (Some(name), _) => (name, name.to_string()),
        (None, Some(name)) => (name, format!("BURN_DEVICE={name}")),
        (None, None) => (best, best.to_string()),
    };
    let unknown = || ComputeError::UnknownDevice {
        name: shown.clone(),
        available: DEVICE_NAMES,
    };
    if name.contains(',') {
        let names = shown;
        return Err(ComputeError::SeveralDevices { names }.into());
    }
    let (backend, index) = match name.split_once(':') {
        Some((backend, index)) => (backend, Some(index.parse().map_err(|_| unknown())?)),
        None => (name, None),
    };
    let device = backend_device(backend, index).ok_or_else(unknown)?;
    #[cfg(feature = "cubecl")]
    opening::open(&device).map_err(|cause| ComputeError::NotOpened { name: shown, cause })?;
    Ok(device)
}

/// Lets GPUs' kernels, once compiled, be kept beside what CubeCL has found out about which are the
/// fastest, so that later processes begin sooner. A configuration of CubeCL that a program has set
/// before is left as it is; `burn.toml` and `cubecl.toml` say where the files lie.
#[cfg(feature = "cubecl")]
fn keep_compiled_kernels() {
    use cubecl_runtime::config::{CubeClRuntimeConfig, RuntimeConfig};

    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
        config.compilation.cache = true;
        CubeClRuntimeConfig::try_set(config);
    });
}

/// Returns the devices of a list of names, separated by commas, that train together.
///
/// # Errors
///
/// Those of [`device`].
pub(crate) fn devices(names: Option<&str>) -> Result<Vec<Device>, Error> {
    match names {
        Some(names) => names.split(',').map(|it| device(Some(it.trim()))).collect(),
        None => Ok(vec![device(None)?]),
    }
}

/// Returns a device's name: `Flex(Cpu)`, or that of the GPU with Burn's name of the device. Opens the
/// device.
pub(crate) fn device_name(device: &Device) -> String {
    let device = device.clone().inner();
    let of_burn = format!("{:?}", device.as_dispatch());
    match gpu_name(&device) {
        Some((name, _)) => format!("{name}, {of_burn}"),
        None => of_burn,
    }
}

/// Returns the name that a device gives itself, and whether it is a card rather than software; `None`
/// for the backend Flex.
fn gpu_name(device: &Device) -> Option<(String, bool)> {
    #[cfg(feature = "cubecl")]
    return (device.identity()).map(|identity| (identity.name, identity.physical.is_some()));
    #[cfg(not(feature = "cubecl"))]
    {
        let _ = device;
        None
    }
}

/// Returns the name of the kernel that multiplies matrices on a device; `None` if the device is not
/// the CPU.
pub(crate) fn kernel_name(device: &Device, precision: Precision) -> Option<String> {
    let kernel = precision.kernel(device);
    kernel.map(|kernel| kernel.name().to_string())
}

/// Describes a device and a precision, in lines for people: the device with its kernel, the
/// precision (float32 if the device does not compute in it), and a warning if the processor has no
/// instructions for that precision, or the device is a GPU in software.
pub fn describe_device(device: &Device, precision: Precision) -> String {
    let precision = precision.on(device);
    let mut device_line = device_name(device);
    if let Some(kernel) = precision.kernel(device) {
        device_line += &format!(", matrix products by {kernel}");
    }
    let precision_line = match precision {
        Precision::Float32 if device_line.contains("Cuda") => {
            "float32, but Burn may multiply in TF32 (11 significant bits) if that is faster"
        }
        Precision::Float32 => "float32",
        Precision::High => {
            "high: factors of matrix products with 16 significant bits, everything else in float32"
        }
        Precision::BFloat16 => {
            "bf16: matrix products, feature maps and token states in bfloat16, everything else in \
             float32"
        }
        Precision::Float16 => {
            "fp16: matrix products, feature maps and token states in float16, everything else in \
             float32"
        }
    };
    let is_software = gpu_name(&device.clone().inner()).is_some_and(|(_, is_card)| !is_card);
    let warning = if is_software {
        "warning: this is software that stands in for a GPU; the device `flex` is faster\n"
    } else if precision.is_native_to(device) {
        ""
    } else {
        "warning: this processor has no instructions for bfloat16 (AVX512-BF16 or AMX): it rounds \
         numbers to bfloat16, which is no faster; float32 is more exact\n"
    };
    format!(
        "{:<16}{device_line}\n{:<16}{precision_line}\n{warning}",
        "device", "precision"
    )
}

/// Returns a precision, or float32, with a warning, if the device does not compute in it.
pub(crate) fn available_precision(precision: Precision, device: &Device) -> Precision {
    if let Some(text) = missing_precision(precision, device) {
        warning(text);
    }
    precision.on(device)
}

/// Returns a warning if a device does not compute in a precision.
pub(crate) fn missing_precision(precision: Precision, device: &Device) -> Option<String> {
    let name = match precision {
        _ if precision.runs_on(device) => return None,
        Precision::Float16 => "float16",
        _ => "bfloat16",
    };
    Some(format!(
        "{} does not compute in {name}; it computes in float32",
        device_name(device)
    ))
}

/// Returns the device of a backend; `None` if this build does not have it.
fn backend_device(backend: &str, index: Option<usize>) -> Option<Device> {
    // The CPU is one device.
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
        let error = device(Some("flex,flex")).unwrap_err();
        assert!(error.to_string().contains("several devices") && error.is_misuse());
        assert!(device(Some("flex")).is_ok());
    }

    #[test]
    fn an_unavailable_kernel_is_an_error_that_names_the_variable_and_the_kernel() {
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
