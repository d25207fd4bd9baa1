//! Why there is nothing to compute on.

use convirt_ops::{KERNEL_VARIABLE, KernelError};

use crate::readable::thousands;

/// Why there is nothing to compute on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComputeError {
    /// The backend does not exist or is not part of this build.
    #[error(
        "no device `{name}`; this build has {available:?} (others are cargo features: \
         `--features cuda`, `vulkan`, `metal`, `webgpu`, `wgpu`, `rocm`, `cpu`)"
    )]
    UnknownDevice {
        /// The name asked for.
        name: String,
        /// Those compiled in.
        available: &'static [&'static str],
    },

    /// The device does not compute in the precision asked for.
    #[error("{device} does not compute in bfloat16; choose the precision `float32`")]
    NoBFloat16 {
        /// The device.
        device: String,
    },

    /// The environment asks for a kernel that cannot be had.
    #[error("{KERNEL_VARIABLE}: {0}")]
    Kernel(KernelError),

    /// A network and its batches need more memory than there is.
    #[error(
        "at least {} of memory are needed and there are {}: {} for {} parameters, {} of them \
         trained, and {} for batches of images; choose smaller sizes or batches",
        gib(*needed), gib(*available), gib(*network), thousands(*parameters),
        thousands(*trainable), gib(*batches)
    )]
    TooLargeForMemory {
        /// Bytes needed at the least.
        needed: u64,
        /// Bytes there are.
        available: u64,
        /// Parameters of the network.
        parameters: usize,
        /// Those of them that are trained.
        trainable: usize,
        /// Bytes of the network and what trains it.
        network: u64,
        /// Bytes of the batches under way.
        batches: u64,
    },
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}
