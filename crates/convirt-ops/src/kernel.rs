//! The instructions that multiply matrices on the CPU.

use std::fmt;
use std::str::FromStr;

/// The environment variable that forces a kernel.
pub const KERNEL_VARIABLE: &str = "CONVIRT_KERNEL";

/// Instructions with which the CPU multiplies matrices, from the newest to the oldest.
///
/// The first matrix product in a [`Precision`](crate::Precision) measures which of the machine's
/// kernels is fastest, unless the environment variable `CONVIRT_KERNEL` names one. If the named
/// kernel cannot compute a precision, the next one in the list does.
///
/// ```
/// use convirt_ops::Kernel;
///
/// assert_eq!("amx".parse(), Ok(Kernel::Amx));
/// assert_eq!(Kernel::Amx.to_string(), "amx");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// Tiles of bfloat16 (Intel AMX), `amx`. It computes all precisions: float32 by six products of
    /// the factors' parts.
    Amx,
    /// Pairs of bfloat16 (AVX512-BF16), `avx512bf16`.
    Avx512BFloat16,
    /// Fused multiplications of float32 in AVX-512, `avx512`.
    Avx512,
    /// Fused multiplications of float32 in AVX2, `avx2`.
    Avx2,
    /// The instructions that the compilation target guarantees, `portable`.
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

    /// Whether this machine has the instructions and the operating system permits them.
    pub fn is_available(self) -> bool {
        #[cfg(feature = "flex")]
        return crate::flex::has_kernel(self);
        #[cfg(not(feature = "flex"))]
        return self == Self::Portable;
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Errors of kernel names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KernelError {
    /// No kernel has this name.
    Unknown(String),
    /// This machine lacks the instructions, or its system does not permit them.
    Missing(Kernel),
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |kernels: &mut dyn Iterator<Item = Kernel>| {
            kernels.map(Kernel::name).collect::<Vec<_>>().join(", ")
        };
        let mut all = Kernel::ALL.into_iter();
        match self {
            Self::Unknown(name) => {
                write!(
                    f,
                    "no kernel is named `{name}`; there are {}",
                    names(&mut all)
                )
            }
            Self::Missing(kernel) => write!(
                f,
                "this machine does not have the kernel `{kernel}`; it has {}",
                names(&mut all.filter(|kernel| kernel.is_available()))
            ),
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
/// [`KernelError`] when no kernel has the name, or this machine does not have the kernel.
/// Operations on the CPU would panic.
pub fn forced_kernel() -> Result<Option<Kernel>, KernelError> {
    let Ok(name) = std::env::var(KERNEL_VARIABLE) else {
        return Ok(None);
    };
    if name.is_empty() {
        return Ok(None);
    }
    let kernel: Kernel = name.parse()?;
    if kernel.is_available() {
        Ok(Some(kernel))
    } else {
        Err(KernelError::Missing(kernel))
    }
}

/// The kernel that `CONVIRT_KERNEL` or the current test forces.
///
/// # Panics
///
/// When this machine has no such kernel.
#[cfg(feature = "flex")]
pub(crate) fn forced() -> Option<Kernel> {
    use std::sync::OnceLock;
    static FORCED: OnceLock<Option<Kernel>> = OnceLock::new();
    #[cfg(test)]
    if let Some(kernel) = tests::chosen() {
        return Some(kernel);
    }
    *FORCED.get_or_init(|| {
        forced_kernel().unwrap_or_else(|error| panic!("{KERNEL_VARIABLE}: {error}"))
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::is_flex;
    use crate::testing::device;
    use std::cell::Cell;

    thread_local! {
        static CHOSEN: Cell<Option<Kernel>> = const { Cell::new(None) };
    }

    /// The kernel that this thread's test has chosen.
    pub(crate) fn chosen() -> Option<Kernel> {
        CHOSEN.get()
    }

    /// Runs a computation with each kernel on two threads; on devices other than the CPU once. A
    /// machine without AMX uses the model of it.
    pub(crate) fn with_each_kernel<R: Send>(compute: impl Fn() -> R + Sync) -> Vec<(Kernel, R)> {
        if !is_flex(&device()) {
            return vec![(Kernel::Portable, compute())];
        }
        kernels()
            .map(|kernel| (kernel, on_threads(2, kernel, &compute)))
            .collect()
    }

    /// Asserts that a computation on the CPU has the same result on any number of threads, with
    /// each kernel.
    pub(crate) fn assert_same_on_any_threads<R: Send + PartialEq>(
        context: &str,
        compute: impl Fn() -> R + Sync,
    ) {
        for kernel in kernels() {
            let on_one = on_threads(1, kernel, &compute);
            for threads in [2, 3, 5] {
                let is_same = on_threads(threads, kernel, &compute) == on_one;
                assert!(is_same, "{context}: {kernel} on {threads} threads");
            }
        }
    }

    fn kernels() -> impl Iterator<Item = Kernel> {
        let kernels = Kernel::ALL.into_iter();
        kernels.filter(|kernel| *kernel == Kernel::Amx || kernel.is_available())
    }

    fn on_threads<R: Send>(
        threads: usize,
        kernel: Kernel,
        compute: impl FnOnce() -> R + Send,
    ) -> R {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .start_handler(move |_| CHOSEN.set(Some(kernel)))
            .build();
        pool.unwrap().install(compute)
    }

    #[test]
    fn names_are_read_back_and_unknown_ones_are_errors_with_a_list() {
        for kernel in Kernel::ALL {
            assert_eq!(kernel.name().parse(), Ok(kernel));
        }
        let error = "abacus".parse::<Kernel>().unwrap_err().to_string();
        assert!(
            error.contains("`abacus`") && error.contains("avx512bf16"),
            "{error}"
        );
        let error = KernelError::Missing(Kernel::Amx).to_string();
        assert!(
            error.contains("`amx`") && error.contains("portable"),
            "{error}"
        );
    }
}
