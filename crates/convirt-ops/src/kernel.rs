//! What multiplies matrices on the CPU.

use std::fmt;
use std::str::FromStr;

/// The environment variable that forces a kernel.
pub const KERNEL_VARIABLE: &str = "CONVIRT_KERNEL";

/// Instructions by which the CPU multiplies matrices, the most demanding first.
///
/// Which one computes a [`Precision`](crate::Precision) is measured when the first product is asked
/// for, unless the environment variable `CONVIRT_KERNEL` names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// Tiles of bfloat16 (Intel AMX), `amx`.
    Amx,
    /// Pairs of bfloat16 (AVX512-BF16), `avx512bf16`.
    Avx512BFloat16,
    /// Fused multiplications of float32 in AVX-512, `avx512`.
    Avx512,
    /// Fused multiplications of float32 in AVX2, `avx2`.
    Avx2,
    /// What the target guarantees, `portable`.
    Portable,
}

impl Kernel {
    /// Every kernel.
    pub const ALL: [Self; 5] = [
        Self::Amx,
        Self::Avx512BFloat16,
        Self::Avx512,
        Self::Avx2,
        Self::Portable,
    ];

    /// Returns the name that `CONVIRT_KERNEL` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amx => "amx",
            Self::Avx512BFloat16 => "avx512bf16",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A kernel that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelError {
    /// No kernel has this name.
    Unknown(String),
    /// This processor or system lacks the instructions.
    Missing(Kernel),
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                let names = Kernel::ALL.map(Kernel::name).join(", ");
                write!(f, "no kernel is named `{name}`; there are {names}")
            }
            Self::Missing(kernel) => {
                write!(f, "this processor or system does not have the kernel `{kernel}`")
            }
        }
    }
}

impl std::error::Error for KernelError {}

impl FromStr for Kernel {
    type Err = KernelError;

    fn from_str(name: &str) -> Result<Self, KernelError> {
        let mut all = Self::ALL.into_iter();
        all.find(|kernel| kernel.name() == name)
            .ok_or_else(|| KernelError::Unknown(name.to_string()))
    }
}

/// Returns the kernel that `CONVIRT_KERNEL` forces, if it does.
///
/// # Errors
///
/// When there is no such kernel, or this machine does not have it. Products would panic.
pub fn forced_kernel() -> Result<Option<Kernel>, KernelError> {
    match std::env::var(KERNEL_VARIABLE) {
        Ok(name) if !name.is_empty() => name.parse().map(Some),
        _ => Ok(None),
    }
}
