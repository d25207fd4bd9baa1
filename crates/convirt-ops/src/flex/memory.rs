//! Memory that goes from one tensor to the next.
//!
//! Fresh memory of tens of megabytes costs more than many operations that fill it, because the
//! system clears each page when it is first touched. A training step asks for the same sizes every
//! time.

use std::collections::VecDeque;
use std::fmt;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use burn::tensor::Bytes;
use cubecl_environment::bytes::{
    AccessError, AccessPolicy, AllocationController, AllocationProperty,
};

/// Elements from which memory is kept; below, the allocator does as well.
const KEPT: usize = 1 << 14;

/// Elements of a cache line.
const LINE: usize = 16;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

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
    idle: VecDeque<Box<[Line]>>,
    idle_lines: usize,
    lent_lines: usize,
    most_lent: usize,
}

impl Pool {
    /// Takes the smallest memory that holds `lines` without wasting a quarter.
    fn take(&mut self, lines: usize) -> Option<Box<[Line]>> {
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

    fn give_back(&mut self, memory: Box<[Line]>) {
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
pub(crate) struct Buffer {
    lines: Box<[Line]>,
    length: usize,
}

impl Buffer {
    /// Elements of any value.
    pub(crate) fn any(length: usize) -> Self {
        let count = length.div_ceil(LINE);
        let found = match length {
            ..KEPT => None,
            _ => with_pool(|pool| pool.take(count)),
        };
        let lines = found.unwrap_or_else(|| cleared(count));
        Self { lines, length }
    }

    /// Zeros.
    pub(crate) fn zeros(length: usize) -> Self {
        let mut buffer = Self::any(length);
        if length >= KEPT {
            buffer.fill(0.0);
        }
        buffer
    }
}

/// The same memory as bytes, four for each element.
impl Buffer {
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: a float is four bytes of any value.
        unsafe { std::slice::from_raw_parts(self.as_ptr().cast(), size_of_val::<[f32]>(self)) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let length = size_of_val::<[f32]>(self);
        // SAFETY: as above, and four bytes of any value are a float; nobody else has the memory.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr().cast(), length) }
    }
}

/// New lines of zeros.
fn cleared(count: usize) -> Box<[Line]> {
    // SAFETY: all bits zero are the float 0.
    unsafe { Box::new_zeroed_slice(count).assume_init() }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.length >= KEPT {
            let lines = std::mem::take(&mut self.lines);
            with_pool(|pool| pool.give_back(lines));
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: a line is `LINE` floats without gaps, and there are enough of them.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and this is the only way to the lines.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} elements", self.length)
    }
}

impl AllocationController for Buffer {
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
        let elements: &mut [f32] = self;
        // SAFETY: floats are bytes; the caller writes none that are uninitialized.
        Ok(unsafe {
            std::slice::from_raw_parts_mut(elements.as_mut_ptr().cast(), size_of_val(elements))
        })
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let elements: &[f32] = self;
        // SAFETY: floats are bytes.
        Ok(unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), size_of_val(elements)) })
    }
}

impl From<Buffer> for Bytes {
    fn from(buffer: Buffer) -> Self {
        let length = size_of_val::<[f32]>(&buffer);
        // SAFETY: all of the buffer's elements are initialized.
        unsafe { Self::from_controller(Box::new(buffer), length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(lines: usize) -> Box<[Line]> {
        cleared(lines)
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
        for length in [5, KEPT, KEPT + 7] {
            let mut first = Buffer::any(length);
            first.fill(3.0);
            assert!(first.as_ptr().addr().is_multiple_of(64));
            drop(first);
            let second = Buffer::zeros(length);
            assert_eq!(second.len(), length);
            assert!(second.iter().all(|element| *element == 0.0));
        }
    }

    #[test]
    fn bytes_are_the_elements_and_clones_are_their_own() {
        let mut buffer = Buffer::zeros(KEPT);
        buffer[KEPT - 1] = 1.5;
        let bytes = Bytes::from(buffer);
        let mut clone = bytes.clone();
        assert_eq!(bytes[4 * KEPT - 4..], 1.5f32.to_ne_bytes());
        clone[0] = 1;
        assert_eq!(bytes[0], 0);
    }
}
