//! AMX's instructions in inline assembly, since Rust's intrinsics for them are not stable.

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _xgetbv};
use std::marker::PhantomData;
use std::sync::OnceLock;

use super::Tiles;

/// Proof that this process may use the tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Amx(());

impl Amx {
    /// Asks the processor and the system for tiles, once in the process's life.
    pub(in super::super) fn detected() -> Option<Self> {
        static AVAILABLE: OnceLock<bool> = OnceLock::new();
        AVAILABLE
            .get_or_init(|| processor_has_tiles() && system_permits_tiles())
            .then_some(Self(()))
    }

    /// Configures this thread's tiles, each with 16 rows of 64 bytes.
    pub(in super::super) fn configure(self) -> Configured {
        /// The operand of `LDTILECFG`.
        #[repr(C, align(64))]
        struct Configuration {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }
        let mut configuration = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        configuration.row_bytes[..8].fill(64);
        configuration.rows[..8].fill(16);
        // SAFETY: the processor has tiles and the system permits them; the 64 bytes are valid.
        unsafe {
            asm!(
                "ldtilecfg [{}]",
                in(reg) &raw const configuration,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, readonly, preserves_flags),
            );
        }
        Configured(PhantomData)
    }
}

/// Whether CPUID reports AMX-TILE and AMX-BF16, and XCR0 enables the tiles' configuration and data.
fn processor_has_tiles() -> bool {
    const FEATURES: u32 = 1 << 24 | 1 << 22;
    const STATES: u64 = 1 << 17 | 1 << 18;
    if !std::is_x86_feature_detected!("avx512f") {
        return false;
    }
    // SAFETY: with AVX-512 there is XGETBV, enabled by the system.
    let states = unsafe { extended_states() };
    __cpuid_count(7, 0).edx & FEATURES == FEATURES && states & STATES == STATES
}

/// # Safety
///
/// The processor must have `XGETBV`, and the system have enabled it.
#[target_feature(enable = "xsave")]
unsafe fn extended_states() -> u64 {
    // SAFETY: as this function demands.
    unsafe { _xgetbv(0) }
}

/// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`; kernels before Linux 5.16 refuse.
fn system_permits_tiles() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const REQUEST_PERMISSION: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let result: i64;
    // SAFETY: the call reads and writes no memory of this process.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// This thread's configured tiles, released on drop, also in a panic. Not `Send`.
pub(in super::super) struct Configured(PhantomData<*mut ()>);

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: tiles are configured, so the processor has the instruction.
        unsafe {
            asm!(
                "tilerelease",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, nomem, preserves_flags),
            );
        }
    }
}

/// Tiles keep their content from one instruction to the next: compilers do not use them unasked,
/// and the system saves them for each thread.
impl Tiles for Configured {
    #[inline(always)]
    fn zero<const TILE: usize>(&mut self) {
        // SAFETY: tiles are configured.
        unsafe {
            asm!(
                "tilezero tmm{}", const TILE,
                options(nostack, nomem, preserves_flags),
            );
        }
    }

    #[inline(always)]
    unsafe fn load<const TILE: usize>(&mut self, source: *const u8, stride: usize) {
        // SAFETY: tiles are configured, and the memory is valid, as this function demands.
        unsafe {
            asm!(
                "tileloadd tmm{}, [{} + {} * 1]", const TILE, in(reg) source, in(reg) stride,
                options(nostack, readonly, preserves_flags),
            );
        }
    }

    #[inline(always)]
    fn multiply<const SUMS: usize, const LEFT: usize, const RIGHT: usize>(&mut self) {
        // SAFETY: tiles are configured.
        unsafe {
            asm!(
                "tdpbf16ps tmm{}, tmm{}, tmm{}", const SUMS, const LEFT, const RIGHT,
                options(nostack, nomem, preserves_flags),
            );
        }
    }

    #[inline(always)]
    unsafe fn store<const TILE: usize>(&self, target: *mut u8, stride: usize) {
        // SAFETY: tiles are configured, and the memory is valid, as this function demands.
        unsafe {
            asm!(
                "tilestored [{} + {} * 1], tmm{}", in(reg) target, in(reg) stride, const TILE,
                options(nostack, preserves_flags),
            );
        }
    }
}
