//! Loops compiled for several instruction sets, the best chosen when they run.

/// Instruction sets that loops are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum Level {
    /// What the target guarantees.
    Portable,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
    /// The same with instructions for bfloat16.
    Avx512BFloat16,
}

impl Level {
    /// The best that this processor has.
    #[inline]
    pub(crate) fn detected() -> Self {
        #[cfg(test)]
        if let Some(level) = tests::CHOSEN.get() {
            return level;
        }
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                return match is_x86_feature_detected!("avx512bf16") {
                    true => Self::Avx512BFloat16,
                    false => Self::Avx512,
                };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }
}

/// Defines a function whose loops are compiled for each [`Level`]; the processor's is called.
///
/// The functions it calls must be `#[inline(always)]`, or they stay portable. In its body the
/// constant `FUSED` says whether products and sums are one instruction there.
macro_rules! vectorized {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident(
        $($argument:ident: $type:ty),* $(,)?
    ) $(-> $result:ty)? $body:block) => {
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments)]
        $visibility fn $name($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn portable<const FUSED: bool>($($argument: $type),*) $(-> $result)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($argument: $type),*) $(-> $result)? {
                    portable::<true>($($argument),*)
                }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($argument: $type),*) $(-> $result)? {
                    portable::<true>($($argument),*)
                }
                use $crate::flex::simd::Level;
                match Level::detected() {
                    // SAFETY: the processor has these instructions.
                    Level::Avx512 | Level::Avx512BFloat16 => return unsafe { avx512($($argument),*) },
                    // SAFETY: the processor has these instructions.
                    Level::Avx2 => return unsafe { avx2($($argument),*) },
                    Level::Portable => {}
                }
            }
            portable::<false>($($argument),*)
        }
    };
}
pub(crate) use vectorized;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::is_flex;
    use crate::testing::device;
    use std::cell::Cell;

    thread_local! {
        pub(super) static CHOSEN: Cell<Option<Level>> = const { Cell::new(None) };
    }

    /// What a computation gives at each level that the processor has, on two threads; on another
    /// device what it gives there.
    pub(crate) fn at_each_level<R: Send>(compute: impl Fn() -> R + Sync) -> Vec<(Level, R)> {
        if !is_flex(&device()) {
            return vec![(Level::Portable, compute())];
        }
        [
            Level::Portable,
            Level::Avx2,
            Level::Avx512,
            Level::Avx512BFloat16,
        ]
        .into_iter()
        .filter(|level| *level <= Level::detected())
        .map(|level| {
            let threads = rayon::ThreadPoolBuilder::new()
                .num_threads(2)
                .start_handler(move |_| CHOSEN.set(Some(level)))
                .build();
            (level, threads.unwrap().install(&compute))
        })
        .collect()
    }

    vectorized! {
        fn is_fused() -> bool {
            FUSED
        }
    }

    #[test]
    fn each_level_runs_its_own_code() {
        for (level, fused) in at_each_level(is_fused) {
            assert_eq!(fused, level != Level::Portable, "{level:?}");
        }
    }
}
