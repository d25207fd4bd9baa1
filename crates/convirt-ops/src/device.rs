//! Identification of the CPU device.

use burn::tensor::Device;

/// Whether a device is the CPU through Burn's backend Flex, with or without autodiff.
pub fn is_flex(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return *device == Device::flex();
    #[cfg(not(feature = "flex"))]
    return false;
}
