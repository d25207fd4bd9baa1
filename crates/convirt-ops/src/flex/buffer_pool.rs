//! A pool of buffers, whose memory is reused by later tensors.
//!
//! Fresh memory of tens of megabytes costs more than many of the operations that fill it, because
//! the system clears each page when it is first touched. Every training step asks for the same
//! sizes.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use burn::tensor::Bytes;
use bytemuck::{AnyBitPattern, NoUninit};
use cubecl_environment::bytes::{
    AccessError, AccessPolicy, AllocationController, AllocationProperty,
};

use super::pages::{Line, Lines};

/// Cache lines from which on a buffer's memory goes to the pool, 64 KiB. The allocator reuses
/// smaller pieces just as fast.
const MIN_POOLED_LINES: usize = 1 << 10;

/// Element types of a [`Buffer`]: plain numbers, for which any bits are valid.
pub(crate) trait Plain: NoUninit + AnyBitPattern + Send + Sync {}

impl<T: NoUninit + AnyBitPattern + Send + Sync> Plain for T {}

/// Cache lines that hold `length` elements.
pub(super) fn line_count<T>(length: usize) -> usize {
    (length * size_of::<T>()).div_ceil(size_of::<Line>())
}

static POOL: Mutex<Pool> = Mutex::new(Pool {
    idle: VecDeque::new(),
    idle_lines: 0,
    lent_lines: 0,
    most_lent: 0,
});

fn with_pool<R>(work: impl FnOnce(&mut Pool) -> R) -> R {
    work(&mut POOL.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Idle memory. Idle and lent memory together never exceed twice the most that was ever lent at
/// once: a pass through a network asks for many sizes one after the other, and the next pass asks
/// for all of them again.
struct Pool {
    /// The longest idle first.
    idle: VecDeque<Lines>,
    idle_lines: usize,
    lent_lines: usize,
    most_lent: usize,
}

impl Pool {
    /// Takes the smallest idle memory that holds `lines` and wastes at most a quarter.
    fn take(&mut self, lines: usize) -> Option<Lines> {
        let fits = lines..=lines + lines / 4;
        let index = (0..self.idle.len())
            .filter(|index| fits.contains(&self.idle[*index].len()))
            .min_by_key(|index| self.idle[*index].len());
        let memory = index.and_then(|index| self.idle.remove(index));
        let reused_lines = memory.as_ref().map_or(0, |memory| memory.len());
        self.idle_lines -= reused_lines;
        self.lent_lines += reused_lines.max(lines);
        self.most_lent = self.most_lent.max(self.lent_lines);
        self.shrink();
        memory
    }

    fn give_back(&mut self, memory: Lines) {
        self.lent_lines -= memory.len();
        self.idle_lines += memory.len();
        self.idle.push_back(memory);
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.lent_lines + self.idle_lines > 2 * self.most_lent
            && let Some(memory) = self.idle.pop_front()
        {
            self.idle_lines -= memory.len();
        }
    }
}

/// The elements of a new tensor. When it is dropped, its memory goes back to the pool.
pub(crate) struct Buffer<T: Plain = f32> {
    lines: Lines,
    length: usize,
    elements: PhantomData<T>,
}

impl<T: Plain> Buffer<T> {
    /// Elements of unspecified values.
    pub(crate) fn unspecified(length: usize) -> Self {
        let count = line_count::<T>(length);
        let memory = match count {
            ..MIN_POOLED_LINES => None,
            _ => with_pool(|pool| pool.take(count)),
        };
        Self {
            lines: memory.unwrap_or_else(|| Lines::zeroed(count)),
            length,
            elements: PhantomData,
        }
    }

    /// Zeros.
    pub(crate) fn zeros(length: usize) -> Self {
        let mut buffer = Self::unspecified(length);
        if buffer.lines.len() >= MIN_POOLED_LINES {
            buffer.fill(T::zeroed());
        }
        buffer
    }
}

impl<T: Plain> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.lines.len() >= MIN_POOLED_LINES {
            let lines = std::mem::take(&mut self.lines);
            with_pool(|pool| pool.give_back(lines));
        }
    }
}

impl<T: Plain> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: there are enough lines for the elements, aligned for them, and any bits are an
        // element.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }
}

impl<T: Plain> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and this is the only way to the lines.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
}

impl<T: Plain> fmt::Debug for Buffer<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} elements", self.length)
    }
}

impl<T: Plain> AllocationController for Buffer<T> {
    fn alloc_align(&self) -> usize {
        // Copies must have the same alignment, and a cache line's is more than they support.
        align_of::<f32>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    unsafe fn memory_mut(
        &mut self,
        _: AccessPolicy,
    ) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let elements: &mut [T] = self;
        // SAFETY: numbers are bytes; the caller writes none that are uninitialized.
        Ok(unsafe {
            std::slice::from_raw_parts_mut(elements.as_mut_ptr().cast(), size_of_val(elements))
        })
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let elements: &[T] = self;
        // SAFETY: numbers are bytes.
        Ok(unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), size_of_val(elements)) })
    }
}

impl<T: Plain> From<Buffer<T>> for Bytes {
    fn from(buffer: Buffer<T>) -> Self {
        let length = size_of_val::<[T]>(&buffer);
        // SAFETY: all of the buffer's elements are initialized.
        unsafe { Self::from_controller(Box::new(buffer), length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(lines: usize) -> Lines {
        Lines::zeroed(lines)
    }

    fn empty() -> Pool {
        Pool {
            idle: VecDeque::new(),
            idle_lines: 0,
            lent_lines: 0,
            most_lent: 0,
        }
    }

    #[test]
    fn memory_is_reused_for_about_the_same_size() {
        let mut pool = empty();
        assert!(pool.take(100).is_none());
        assert!(pool.take(200).is_none());
        pool.give_back(memory(100));
        assert!(
            pool.take(60).is_none(),
            "more than a quarter would be wasted"
        );
        pool.give_back(memory(200));
        assert_eq!(pool.take(170).map(|memory| memory.len()), Some(200));
    }

    #[test]
    fn the_pool_holds_at_most_twice_what_was_lent_at_once() {
        let mut pool = empty();
        for size in [100, 30, 70, 45, 55] {
            pool.take(size);
            pool.give_back(memory(size));
        }
        // The memory that was idle longest is gone.
        assert_eq!((pool.most_lent, pool.idle_lines), (100, 30 + 70 + 45 + 55));
        pool.take(100);
        assert_eq!((pool.lent_lines, pool.idle_lines), (100, 55 + 45));
    }

    #[test]
    fn reused_memory_is_cleared_for_zeros() {
        for length in [5, 16 * MIN_POOLED_LINES, 16 * MIN_POOLED_LINES + 7] {
            let mut first = Buffer::<f32>::unspecified(length);
            first.fill(3.0);
            assert!(first.as_ptr().addr().is_multiple_of(64));
            drop(first);
            let second = Buffer::<f32>::zeros(length);
            assert_eq!(second.len(), length);
            assert!(second.iter().all(|element| *element == 0.0));
        }
    }

    #[test]
    fn bytes_are_the_elements_and_clones_are_copies() {
        const LENGTH: usize = 16 * MIN_POOLED_LINES;
        let mut buffer = Buffer::zeros(LENGTH);
        buffer[LENGTH - 1] = 1.5f32;
        let bytes = Bytes::from(buffer);
        let mut clone = bytes.clone();
        assert_eq!(bytes[4 * LENGTH - 4..], 1.5f32.to_ne_bytes());
        clone[0] = 1;
        assert_eq!(bytes[0], 0);
    }

    #[test]
    fn elements_of_two_bytes_take_half_of_the_memory() {
        let mut buffer = Buffer::<u16>::zeros(100);
        buffer[99] = 7;
        assert_eq!((buffer.len(), buffer.lines.len()), (100, 4));
        assert_eq!(Bytes::from(buffer).len(), 200);
    }
}
