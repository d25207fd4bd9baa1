//! Memory from the system, in huge pages where it has them.
//!
//! Own code, because no library both asks for huge pages and returns cleared memory. With pages of
//! 4 KiB, page faults and address translations take a tenth of a training step's time, and the
//! processor stops prefetching at the end of each page.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([u8; 64]);

/// Bytes of a huge page on x86-64 and AArch64.
#[cfg(target_os = "linux")]
const HUGE_PAGE: usize = 1 << 21;

/// Cache lines, zero at first.
pub(super) struct Lines {
    first: NonNull<Line>,
    count: usize,
    /// First byte and length of the mapping, if the memory was mapped.
    mapping: Option<(NonNull<u8>, usize)>,
}

// SAFETY: the memory is this value's own.
unsafe impl Send for Lines {}
// SAFETY: as above; shared, it is only read.
unsafe impl Sync for Lines {}

impl Lines {
    /// `count` lines of zeros.
    pub(super) fn zeroed(count: usize) -> Self {
        if count == 0 {
            return Self::default();
        }
        #[cfg(target_os = "linux")]
        if let Some(lines) = Self::mapped(count) {
            return lines;
        }
        let layout = Self::layout(count);
        // SAFETY: the layout is not empty.
        let first = unsafe { alloc_zeroed(layout) };
        Self {
            first: NonNull::new(first.cast()).unwrap_or_else(|| handle_alloc_error(layout)),
            count,
            mapping: None,
        }
    }

    /// Maps memory if it fills at least one huge page; `None` if the system refuses.
    #[cfg(target_os = "linux")]
    fn mapped(count: usize) -> Option<Self> {
        use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
        let bytes = count * size_of::<Line>();
        if bytes < HUGE_PAGE {
            return None;
        }
        // The bytes before and after the aligned part are never touched.
        let length = bytes.checked_add(HUGE_PAGE)?;
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: a new mapping at a place that the system chooses.
        let base = unsafe { mmap_anonymous(std::ptr::null_mut(), length, protection, flags) };
        let base = NonNull::new(base.ok()?.cast::<u8>())?;
        // SAFETY: the offset is less than a huge page, which the mapping has to spare.
        let first = unsafe { base.add(base.align_offset(HUGE_PAGE)) };
        // A system without huge pages refuses; the memory works without them.
        // SAFETY: the range is in the new mapping.
        let _ = unsafe { madvise(first.as_ptr().cast(), bytes, Advice::LinuxHugepage) };
        Some(Self {
            first: first.cast(),
            count,
            mapping: Some((base, length)),
        })
    }

    fn layout(count: usize) -> Layout {
        Layout::array::<Line>(count).expect("less than half of the address space")
    }
}

impl Default for Lines {
    /// No memory.
    fn default() -> Self {
        Self {
            first: NonNull::dangling(),
            count: 0,
            mapping: None,
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        match self.mapping {
            #[cfg(target_os = "linux")]
            Some((base, length)) => {
                // SAFETY: nothing uses the mapping any more.
                let unmapped = unsafe { rustix::mm::munmap(base.as_ptr().cast(), length) };
                debug_assert!(unmapped.is_ok());
            }
            _ if self.count > 0 => {
                // SAFETY: the allocator gave this memory by the same layout.
                unsafe { dealloc(self.first.as_ptr().cast(), Self::layout(self.count)) };
            }
            _ => {}
        }
    }
}

impl Deref for Lines {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        // SAFETY: there are `count` lines, cleared or written since.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.count) }
    }
}

impl DerefMut for Lines {
    fn deref_mut(&mut self) -> &mut [Line] {
        // SAFETY: as above, and nothing else refers to them.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_zero_aligned_and_writable_to_the_last() {
        for count in [0, 1, 1000, (1 << 15) - 1, (1 << 15) + 1, 100_000] {
            let mut lines = Lines::zeroed(count);
            assert_eq!(lines.len(), count);
            assert!(lines.iter().all(|line| line.0 == [0; 64]));
            assert!(lines.as_ptr().addr().is_multiple_of(64));
            lines.fill(Line([7; 64]));
            assert!(lines.last().is_none_or(|line| line.0 == [7; 64]));
        }
    }
}
