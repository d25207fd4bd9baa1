//! Memory that goes from one tensor to the next.
//!
//! Fresh memory of tens of megabytes costs more than many operations that fill it, because the
//! system clears each page when it is first touched. A training step asks for the same sizes every
//! time.

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

/// Lines from which memory is kept; below, the allocator does as well.
const KEPT: usize = 1 << 10;

/// What a [`Buffer`] may hold: plain numbers, of which all bits are one.
pub(crate) trait Plain: NoUninit + AnyBitPattern + Send + Sync {}

impl<T: NoUninit + AnyBitPattern + Send + Sync> Plain for T {}

/// Lines that so many elements take.
pub(super) fn lines_of<T>(length: usize) -> usize {
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

/// Idle memory: with what is lent, never more than twice the most ever lent at once. A pass through
/// a network asks for many sizes in turn, and for all of them again in the next pass.
struct Pool {
    /// The longest idle first.
    idle: VecDeque<Lines>,
    idle_lines: usize,
    lent_lines: usize,
    most_lent: usize,
}

impl Pool {
    /// Takes the smallest memory that holds `lines` without wasting a quarter.
    fn take(&mut self, lines: usize) -> Option<Lines> {
        let fits = lines..=lines + lines / 4;
        let index = (0..self.idle.len())
            .filter(|index| fits.contains(&self.idle[*index].len()))
            .min_by_key(|index| self.idle[*index].len());
        let found = index.and_then(|index| self.idle.remove(index));
        let taken = found.as_ref().map_or(lines, |memory| memory.len());
        self.idle_lines -= found.as_ref().map_or(0, |memory| memory.len());
        self.lent_lines += taken;
        self.most_lent = self.most_lent.max(self.lent_lines);
        self.shrink();
        found
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

/// The elements of a tensor to be. When it is dropped, its memory serves another.
pub(crate) struct Buffer<T: Plain = f32> {
    lines: Lines,
    length: usize,
    elements: PhantomData<T>,
}

impl<T: Plain> Buffer<T> {
    /// Elements of any value.
    pub(crate) fn any(length: usize) -> Self {
        let count = lines_of::<T>(length);
        let found = match count {
            ..KEPT => None,
            _ => with_pool(|pool| pool.take(count)),
        };
        Self {
            lines: found.unwrap_or_else(|| Lines::zeroed(count)),
            length,
            elements: PhantomData,
        }
    }

    /// Zeros.
    pub(crate) fn zeros(length: usize) -> Self {
        let mut buffer = Self::any(length);
        if buffer.lines.len() >= KEPT {
            buffer.fill(T::zeroed());
        }
        buffer
    }
}

impl<T: Plain> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.lines.len() >= KEPT {
            let lines = std::mem::take(&mut self.lines);
            with_pool(|pool| pool.give_back(lines));
        }
    }
}

impl<T: Plain> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: there are enough lines for the elements, aligned for them, and all bits are one.
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
        // What copies must have too; a line's own is more than they support.
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
    fn what_is_given_back_serves_the_next_of_about_its_size() {
        let mut pool = empty();
        assert!(pool.take(100).is_none());
        assert!(pool.take(200).is_none());
        pool.give_back(memory(100));
        let found = pool.take(60);
        assert!(found.is_none(), "more than a quarter would be wasted");
        pool.give_back(memory(200));
        assert_eq!(pool.take(170).map(|found| found.len()), Some(200));
    }

    #[test]
    fn no_more_is_held_than_twice_what_was_once_lent() {
        let mut pool = empty();
        for size in [100, 30, 70, 45, 55] {
            pool.take(size);
            pool.give_back(memory(size));
        }
        // The longest idle went.
        assert_eq!((pool.most_lent, pool.idle_lines), (100, 30 + 70 + 45 + 55));
        pool.take(100);
        assert_eq!((pool.lent_lines, pool.idle_lines), (100, 55 + 45));
    }

    #[test]
    fn zeros_are_zeros_after_other_elements() {
        for length in [5, 16 * KEPT, 16 * KEPT + 7] {
            let mut first = Buffer::<f32>::any(length);
            first.fill(3.0);
            assert!(first.as_ptr().addr().is_multiple_of(64));
            drop(first);
            let second = Buffer::<f32>::zeros(length);
            assert_eq!(second.len(), length);
            assert!(second.iter().all(|element| *element == 0.0));
        }
    }

    #[test]
    fn bytes_are_the_elements_and_clones_are_their_own() {
        const LENGTH: usize = 16 * KEPT;
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
