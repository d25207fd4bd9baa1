//! The errors of devices, kernels, precisions and memory.

use convirt_ops::{KERNEL_VARIABLE, KernelError};

use crate::compute::DEVICE_NAMES;
use crate::readable::thousands;

/// An error of [`compute`](crate::compute): the device, kernel, precision or memory for a
/// computation is not available.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComputeError {
    /// The backend does not exist or is not part of this build.
    #[error(
        "no device `{name}`; this build has {available:?} (others are cargo features: \
         `--features cuda`, `vulkan`, `metal`, `webgpu`, `wgpu`, `rocm`, `cpu`)"
    )]
    UnknownDevice {
        /// The name that was given.
        name: String,
        /// Names of the backends in this build.
        available: &'static [&'static str],
    },

    /// The machine has no such device, or lacks its driver.
    #[error(
        "the device `{name}` cannot be opened: {cause}; check its driver and its number, or choose \
         another: this build has {DEVICE_NAMES:?}"
    )]
    NotOpened {
        /// The name that was given.
        name: String,
        /// What Burn says.
        cause: String,
    },

    /// Several devices are named where one computes.
    #[error("`{names}` are several devices, and this is computed by one; name one of them")]
    SeveralDevices {
        /// The names that were given.
        names: String,
    },

    /// Of several devices, some do not compute in the precision.
    #[error(
        "not all of these devices compute in this precision: {devices}; choose the precision \
         `float32`, or devices of one kind"
    )]
    PrecisionsDiffer {
        /// Names of the devices.
        devices: String,
    },

    /// `CONVIRT_KERNEL` names a kernel that is unknown or that this processor does not have.
    #[error("{KERNEL_VARIABLE}: {0}")]
    Kernel(KernelError),

    /// More devices than parts of a batch.
    #[error(
        "a batch has {parts} micro-batches, too few for {peers} devices: set a smaller \
         `micro_batch_size`, a larger `batch_size` or fewer devices"
    )]
    IdlePeers {
        /// Parts of a batch.
        parts: usize,
        /// Devices that train together.
        peers: usize,
    },
    /// `micro_batch_size: auto` on a device whose memory is not known.
    #[error(
        "`micro_batch_size: auto` needs `memory_budget_gib` here, since this device does not tell \
         its memory"
    )]
    NoMemoryBudget,

    /// A network and its batches need more memory than the machine has.
    #[error(
        "at least {} of memory are needed, but only {} are available: {} for {} parameters, {} of \
         them trained, and {} for batches of images; choose smaller sizes or batches, or \
         compute batches in parts (`micro_batch_size: auto`)",
        gib(*needed), gib(*available), gib(*network), thousands(*parameters),
        thousands(*trainable), gib(*batches)
    )]
    TooLargeForMemory {
        /// Smallest number of bytes that would do.
        needed: u64,
        /// Bytes that this process may use.
        available: u64,
        /// Number of parameters of the network.
        parameters: usize,
        /// Number of trained parameters.
        trainable: usize,
        /// Bytes of the parameters, their gradients and the optimizer's state.
        network: u64,
        /// Bytes of the batches in memory at one time.
        batches: u64,
    },
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}
