//! Loops compiled for several instruction sets; the best that the processor has is chosen at run
//! time.

use std::sync::OnceLock;

use crate::kernel::{self, Kernel};

/// Instruction sets that loops are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum Level {
    /// The instructions that the compilation target guarantees.
    Portable,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
}

impl Level {
    /// The level that loops use: the processor's best, but none above a forced [`Kernel`]'s.
    #[inline]
    pub(crate) fn detected() -> Self {
        static DETECTED: OnceLock<Level> = OnceLock::new();
        #[cfg(test)]
        if let Some(kernel) = kernel::tests::chosen() {
            return Self::for_kernel(kernel).min(Self::supported());
        }
        *DETECTED.get_or_init(|| {
            let supported = Self::supported();
            kernel::forced().map_or(supported, |kernel| Self::for_kernel(kernel).min(supported))
        })
    }

    /// The best that this processor has.
    pub(crate) fn supported() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// The level of a kernel's loops.
    fn for_kernel(kernel: Kernel) -> Self {
        match kernel {
            Kernel::Amx | Kernel::Avx512BFloat16 | Kernel::Avx512 => Self::Avx512,
            Kernel::Avx2 => Self::Avx2,
            Kernel::Portable => Self::Portable,
        }
    }

    fn min(self, other: Self) -> Self {
        if self < other { self } else { other }
    }
}

/// Defines a function whose loops are compiled for each [`Level`]; a call runs the version for the
/// [detected](Level::detected) one.
///
/// The functions it calls must be `#[inline(always)]`, or they stay portable. In its body the
/// constant `FUSED` says whether one instruction computes a product and a sum.
macro_rules! vectorized {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident
        $(<$($generic:ident: $bound:path),+>)?($($argument:ident: $type:ty),* $(,)?)
        $(-> $result:ty)? $body:block
    ) => {
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments)]
        $visibility fn $name$(<$($generic: $bound),+>)?($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn portable<const FUSED: bool $($(, $generic: $bound)+)?>(
                $($argument: $type),*
            ) $(-> $result)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512$(<$($generic: $bound),+>)?($($argument: $type),*) $(-> $result)? {
                    portable::<true $($(, $generic)+)?>($($argument),*)
                }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2$(<$($generic: $bound),+>)?($($argument: $type),*) $(-> $result)? {
                    portable::<true $($(, $generic)+)?>($($argument),*)
                }
                use $crate::flex::simd::Level;
                match Level::detected() {
                    // SAFETY: the processor has these instructions.
                    Level::Avx512 => return unsafe { avx512$(::<$($generic),+>)?($($argument),*) },
                    // SAFETY: the processor has these instructions.
                    Level::Avx2 => return unsafe { avx2$(::<$($generic),+>)?($($argument),*) },
                    Level::Portable => {}
                }
            }
            portable::<false $($(, $generic)+)?>($($argument),*)
        }
    };
}
pub(crate) use vectorized;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::tests::with_each_kernel;

    vectorized! {
        fn is_fused() -> bool {
            FUSED
        }
    }

    #[test]
    fn each_level_runs_its_own_code() {
        for (kernel, fused) in with_each_kernel(is_fused) {
            assert_eq!(fused, kernel != Kernel::Portable, "{kernel}");
        }
    }
}
