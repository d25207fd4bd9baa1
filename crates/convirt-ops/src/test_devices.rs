//! The devices on which tests compute, for the crates of this workspace (feature `test-devices`).

use std::cell::RefCell;

use burn::tensor::Device;

use crate::is_flex;

/// The environment variable that names the backends of tests beside the CPU, separated by commas.
const TEST_DEVICES_VARIABLE: &str = "CONVIRT_TEST_DEVICES";

thread_local! {
    static DEVICE: RefCell<Option<Device>> = const { RefCell::new(None) };
}

/// Returns the device that a test is to compute on.
pub fn device() -> Device {
    DEVICE.with_borrow(|device| device.clone().unwrap_or(Device::flex()))
}

/// Runs a test on the CPU, then on the backends that `CONVIRT_TEST_DEVICES` names; without it, on
/// all backends of this build.
///
/// # Panics
///
/// When the test panics, or this build does not have a backend.
pub fn on_each_device(test: impl Fn()) {
    let backends = [
        #[cfg(feature = "cuda")]
        ("cuda", Device::cuda(0)),
        #[cfg(feature = "vulkan")]
        (
            "vulkan",
            Device::vulkan(burn::tensor::DeviceKind::DefaultDevice),
        ),
        #[cfg(feature = "wgpu")]
        (
            "wgpu",
            Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
        ),
    ];
    let names = std::env::var(TEST_DEVICES_VARIABLE).ok();
    let chosen: Vec<(&str, Device)> = match &names {
        None => backends.into(),
        Some(names) => {
            let find = |name| {
                let backend = backends.iter().find(|(backend, _)| *backend == name);
                backend.unwrap_or_else(|| panic!("no backend `{name}` in this build"))
            };
            names.split(',').map(find).cloned().collect()
        }
    };
    let devices = chosen.into_iter().map(|(_, device)| device);
    for device in [Device::flex()].into_iter().chain(devices) {
        DEVICE.set(Some(device));
        test();
    }
    DEVICE.set(None);
}

/// Returns the largest error of a test on its device, given that of the CPU: other devices may have
/// errors four times as large, since their sums have another order, and their exponentials are less
/// exact.
pub fn tolerance(on_cpu: f64) -> f64 {
    match is_flex(&device()) {
        true => on_cpu,
        false => 4.0 * on_cpu,
    }
}

/// Runs a part of a test on the CPU.
pub fn on_cpu<R>(work: impl FnOnce() -> R) -> R {
    let device = DEVICE.take();
    let result = work();
    DEVICE.set(device);
    result
}
