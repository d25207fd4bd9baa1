//! Which device computes.

use burn::tensor::Device;

/// Whether a device is the processor, by Burn's Flex.
pub fn is_flex(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return *device == Device::flex();
    #[cfg(not(feature = "flex"))]
    return false;
}
