//! Choice of the kernel for a precision: the fastest that the machine has, by measurement.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

#[cfg(target_arch = "x86_64")]
use super::avx512_bf16::Instructions;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::tiles::amx::Amx;
use super::{Factor, Finish, Matrix, MatrixMut, Right};
use crate::Precision;
use crate::flex::simd::Level;
use crate::kernel::{self, Kernel};

/// How matrix products of a precision are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Multiplier {
    /// In float32.
    Fma,
    /// In float32, from factors rounded to bfloat16.
    RoundedFma,
    /// By products of the parts of bfloat16 of each factor; the number says how many parts.
    Parts(PairKernel, usize),
}

/// The instructions that multiply pairs of bfloat16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PairKernel {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Amx(Amx),
    /// A model of AMX in plain Rust, for tests.
    #[cfg_attr(not(test), expect(dead_code))]
    Model,
    #[cfg(target_arch = "x86_64")]
    Avx512(Instructions),
}

impl PairKernel {
    pub(super) fn tiles() -> Option<Self> {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if let Some(amx) = Amx::detected() {
            return Some(Self::Amx(amx));
        }
        #[cfg(test)]
        if kernel::tests::chosen() == Some(Kernel::Amx) {
            return Some(Self::Model);
        }
        None
    }

    fn avx512() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        return Instructions::detected().map(Self::Avx512);
        #[cfg(not(target_arch = "x86_64"))]
        return None;
    }
}

/// Whether this machine has the instructions of a kernel.
pub(crate) fn has_kernel(kernel: Kernel) -> bool {
    match kernel {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Kernel::Amx => Amx::detected().is_some(),
        #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
        Kernel::Amx => false,
        Kernel::Avx512BFloat16 => {
            PairKernel::avx512().is_some() && Level::supported() == Level::Avx512
        }
        Kernel::Avx512 => Level::supported() == Level::Avx512,
        Kernel::Avx2 => Level::supported() >= Level::Avx2,
        Kernel::Portable => true,
    }
}

/// The kernel that computes matrix products of a precision.
pub(crate) fn chosen_kernel(precision: Precision) -> Kernel {
    match Multiplier::for_precision(precision) {
        #[cfg(target_arch = "x86_64")]
        Multiplier::Parts(PairKernel::Avx512(_), _) => Kernel::Avx512BFloat16,
        Multiplier::Parts(..) => Kernel::Amx,
        Multiplier::Fma | Multiplier::RoundedFma => match Level::detected() {
            Level::Avx512 => Kernel::Avx512,
            Level::Avx2 => Kernel::Avx2,
            Level::Portable => Kernel::Portable,
        },
    }
}

impl Multiplier {
    /// The multiplier of a precision: the forced kernel's, or the one measured to be fastest.
    pub(super) fn for_precision(precision: Precision) -> Self {
        /// For float32, high and bfloat16.
        static MEASURED: [OnceLock<Multiplier>; 3] = [const { OnceLock::new() }; 3];
        if let Some(kernel) = kernel::forced() {
            let mut candidates = Self::candidates(precision).into_iter();
            return candidates
                .rfind(|candidate| candidate.needs_no_more_than(kernel))
                .expect("every kernel can multiply in float32");
        }
        let [float32, high, bfloat16] = &MEASURED;
        let measured = match precision {
            Precision::Float32 | Precision::Float16 => float32,
            Precision::High => high,
            Precision::BFloat16 => bfloat16,
        };
        *measured.get_or_init(|| fastest(Self::candidates(precision)))
    }

    /// The multipliers that this machine can run, ordered by the instructions they need.
    fn candidates(precision: Precision) -> Vec<Self> {
        let (plain, parts) = match precision {
            Precision::Float32 | Precision::Float16 => (Self::Fma, 3),
            Precision::High => (Self::Fma, 2),
            Precision::BFloat16 => (Self::RoundedFma, 1),
        };
        let pairs = PairKernel::avx512().filter(|_| parts == 1);
        let kernels = pairs.into_iter().chain(PairKernel::tiles());
        let kernels = kernels.map(|kernel| Self::Parts(kernel, parts));
        [plain].into_iter().chain(kernels).collect()
    }

    /// Whether a forced kernel has the instructions for this multiplier.
    fn needs_no_more_than(self, kernel: Kernel) -> bool {
        match self {
            Self::Fma | Self::RoundedFma => true,
            #[cfg(target_arch = "x86_64")]
            Self::Parts(PairKernel::Avx512(_), _) => {
                matches!(kernel, Kernel::Avx512BFloat16)
            }
            Self::Parts(..) => kernel == Kernel::Amx,
        }
    }
}

/// Factor by which splitting into parts must be faster in the measurement. In a training step,
/// splitting takes more of the time than it does there.
const SPLITTING_PENALTY: f64 = 1.75;

/// Measures a matrix product of a typical layer's shape, including the packing of the left factor,
/// and returns the fastest multiplier. As in layers, the matrices exceed a core's second cache.
fn fastest(candidates: Vec<Multiplier>) -> Multiplier {
    const ROWS: usize = 4_096;
    const DEPTH: usize = 256;
    const COLUMNS: usize = 256;
    /// The shortest of three times counts, so that neither page faults of the first round nor a
    /// busy moment decides.
    const ROUNDS: usize = 3;
    if let [only] = candidates[..] {
        return only;
    }
    let [a, b] = [ROWS * DEPTH, DEPTH * COLUMNS].map(|length| vec![1.0f32; length]);
    let mut sums = vec![0.0f32; ROWS * COLUMNS];
    let mut time = |multiplier: &Multiplier| -> Duration {
        let right = Factor::Float32(Matrix::new(&b, DEPTH, COLUMNS));
        let right = Right::for_multiplier(*multiplier, right, false);
        let left = Factor::Float32(Matrix::new(&a, ROWS, DEPTH));
        let start = Instant::now();
        let target = MatrixMut::new(&mut sums, ROWS, COLUMNS);
        right.multiply(target, &Finish::Replace, left);
        black_box(&mut sums);
        match multiplier {
            Multiplier::Parts(_, 2..) => start.elapsed().mul_f64(SPLITTING_PENALTY),
            _ => start.elapsed(),
        }
    };
    let mut best = vec![Duration::MAX; candidates.len()];
    for _ in 0..ROUNDS {
        for (best, multiplier) in best.iter_mut().zip(&candidates) {
            *best = time(multiplier).min(*best);
        }
    }
    let fastest = candidates
        .into_iter()
        .zip(best)
        .min_by_key(|(_, time)| *time);
    fastest.expect("a candidate").0
}
