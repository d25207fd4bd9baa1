//! Estimates the memory that reading a pickle needs, without creating any of its objects.
//!
//! `pytorch-reader` copies an object for every reference to it. It limits the number of copies, but
//! not the size of the keys, class names and shapes in them. Without this estimate, a pickle of
//! 100 kB could need gigabytes.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};

/// Memory of an object without its text, in bytes.
const OBJECT_BYTES: u64 = 128;

/// The error message for a pickle above the limit.
pub(super) const PICKLE_TOO_LARGE: &str = "its pickle would take far more memory than the file";

/// The result of [`pickle_size`].
pub(super) struct PickleSize {
    /// An upper bound of the memory that reading the pickle needs, in bytes.
    pub memory_bytes: u64,
    /// The element size of the storage class at the end of the pickle, in bytes, or 0 without one.
    pub element_size: u64,
}

/// Skips the pickle at `reader` and estimates its memory.
///
/// It stops early if the estimate exceeds `limit`. The result is `None` if this is not a pickle, or
/// not one that `pytorch-reader` can read.
pub(super) fn pickle_size(reader: &mut impl BufRead, limit: u64) -> Option<PickleSize> {
    let mut machine = Machine::default();
    while machine.size <= limit {
        let opcode = read_number(reader, 1)? as u8;
        if opcode == b'.' {
            let root = machine.stack.pop()?;
            // `pytorch-reader` stores the path of each tensor twice, as its name and as a key.
            let names = root.tensors.saturating_mul(2 * root.path);
            return Some(PickleSize {
                memory_bytes: machine.size.saturating_add(names),
                element_size: root.element_size,
            });
        }
        machine.execute(opcode, reader)?;
    }
    Some(PickleSize {
        memory_bytes: machine.size,
        element_size: 0,
    })
}

/// Returns the element size of a storage class in bytes, or 0 if `pytorch-reader` does not know it.
fn element_size(class: &[u8]) -> u64 {
    match class {
        b"DoubleStorage" | b"LongStorage" => 8,
        b"FloatStorage" | b"IntStorage" => 4,
        b"HalfStorage" | b"BFloat16Storage" | b"ShortStorage" => 2,
        b"CharStorage" | b"ByteStorage" | b"BoolStorage" => 1,
        _ => 0,
    }
}

/// Upper bounds of the sizes of a pickle's object.
#[derive(Clone, Copy, Default)]
struct Object {
    /// Memory, in bytes.
    size: u64,
    /// Number of contained objects that may be tensors.
    tensors: u64,
    /// Length of the longest text, which may be a key.
    text: u64,
    /// Length of the longest path of nested keys.
    path: u64,
    /// Element size, if this is a storage class or a tuple that ends with one; otherwise 0.
    element_size: u64,
    /// The memo index under which the object is stored.
    memo: Option<u32>,
}

impl Object {
    fn from_text(length: u64) -> Self {
        Self {
            size: OBJECT_BYTES.saturating_add(length),
            text: length,
            ..Self::default()
        }
    }

    /// Creates a container of objects.
    fn from_members(members: &[Self]) -> Self {
        /// Maximum length of a list index as text.
        const MAX_INDEX_LENGTH: u64 = 20;
        let largest = |field: fn(&Self) -> u64| members.iter().map(field).max().unwrap_or(0);
        Self {
            size: OBJECT_BYTES + members.iter().map(|member| member.size).sum::<u64>(),
            tensors: members.iter().map(|member| member.tensors).sum(),
            text: 0,
            path: largest(|member| member.path)
                + largest(|member| member.text).max(MAX_INDEX_LENGTH),
            element_size: 0,
            memo: None,
        }
    }
}

/// The stack machine that executes pickles. This one only tracks sizes.
#[derive(Default)]
struct Machine {
    stack: Vec<Object>,
    marks: Vec<usize>,
    memo: HashMap<u32, Object>,
    /// Memory of all objects that were ever created, in bytes.
    size: u64,
}

impl Machine {
    /// Executes an opcode; the bytes are those of CPython's `pickletools`.
    fn execute(&mut self, opcode: u8, reader: &mut impl BufRead) -> Option<()> {
        match opcode {
            // Protocol version and frame length.
            0x80 => skip(reader, 1)?,
            0x95 => skip(reader, 8)?,

            // Constants, numbers and text.
            b'N' | b')' | b']' | b'}' | 0x88 | 0x89 | 0x8f => self.push_new(0),
            b'K' | b'M' | b'J' | b'G' => {
                let bytes = match opcode {
                    b'K' => 1,
                    b'M' => 2,
                    b'J' => 4,
                    _ => 8,
                };
                skip(reader, bytes)?;
                self.push_new(0);
            }
            b'I' | b'L' | b'F' | b'V' => self.push_new(skip_line(reader)?),
            b'P' => {
                self.push_new(skip_line(reader)?);
                self.combine(1, 1)?;
            }
            b'c' => {
                let module = skip_line(reader)?;
                let mut class = Vec::new();
                reader.read_until(b'\n', &mut class).ok()?;
                self.push_new(module + class.len() as u64);
                self.stack.last_mut()?.element_size = element_size(class.trim_ascii_end());
            }
            b'U' | b'C' | 0x8a | 0x8c => self.push_new(skip_text(reader, 1)?),
            b'T' | b'B' | b'X' | 0x8b => self.push_new(skip_text(reader, 4)?),
            0x8d | 0x8e | 0x96 => self.push_new(skip_text(reader, 8)?),

            // Containers and calls. Calls are not executed.
            b'(' => self.marks.push(self.stack.len()),
            b'l' | b'd' | 0x91 => {
                let members = self.pop_mark()?;
                self.combine(members, 0)?;
            }
            b't' => {
                let members = self.pop_mark()?;
                self.combine_tuple(members)?;
            }
            0x85..=0x87 => self.combine_tuple(usize::from(opcode - 0x84))?,
            b'Q' => self.combine(1, 1)?,
            b'R' | 0x81 | 0x93 => self.combine(2, 1)?,
            b'b' => {
                let below = self.stack.len().checked_sub(2)?;
                let memo = self.stack[below].memo;
                self.combine(2, 1)?;
                memo.map_or(Some(()), |index| self.memoize(index))?;
            }
            0x92 => self.combine(3, 1)?,
            b'a' => self.extend(1)?,
            b's' => self.extend(2)?,
            b'e' | b'u' | 0x90 => {
                let members = self.pop_mark()?;
                self.extend(members)?;
            }

            // The stack and the memo.
            b'0' if self.marks.last() == Some(&self.stack.len()) => _ = self.marks.pop(),
            b'0' => _ = self.stack.pop()?,
            b'1' => {
                let members = self.pop_mark()?;
                self.stack.truncate(self.stack.len() - members);
            }
            b'2' => self.push_copy(*self.stack.last()?),
            b'g' | b'h' | b'j' => {
                let index = read_memo_index(opcode, reader)?;
                self.push_copy(*self.memo.get(&index)?);
            }
            b'p' | b'q' | b'r' => {
                let index = read_memo_index(opcode, reader)?;
                self.memoize(index)?;
            }
            0x94 => self.memoize(self.memo.len() as u32)?,
            _ => return None,
        }
        Some(())
    }

    /// Pushes a new object with a text of `length` bytes.
    fn push_new(&mut self, length: u64) {
        self.size = self.size.saturating_add(OBJECT_BYTES + length);
        self.stack.push(Object::from_text(length));
    }

    fn push_copy(&mut self, object: Object) {
        self.size += object.size;
        self.stack.push(object);
    }

    /// Copies the top object into the memo.
    fn memoize(&mut self, index: u32) -> Option<()> {
        let top = self.stack.last_mut()?;
        top.memo = Some(index);
        self.size += top.size;
        self.memo.insert(index, *top);
        Some(())
    }

    /// Replaces the top `members` objects by one container with `tensors` more possible tensors.
    ///
    /// The result of a call may be a tensor.
    fn combine(&mut self, members: usize, tensors: u64) -> Option<()> {
        let start = self.stack.len().checked_sub(members)?;
        let mut object = Object::from_members(&self.stack[start..]);
        object.tensors += tensors;
        self.size += OBJECT_BYTES;
        self.stack.truncate(start);
        self.stack.push(object);
        Some(())
    }

    fn combine_tuple(&mut self, members: usize) -> Option<()> {
        let element_size = self.stack.last().map_or(0, |last| last.element_size);
        self.combine(members, 0)?;
        self.stack.last_mut()?.element_size = element_size;
        Some(())
    }

    /// Moves the top `members` objects into the object below them.
    fn extend(&mut self, members: usize) -> Option<()> {
        let start = self.stack.len().checked_sub(members)?;
        let added = Object::from_members(&self.stack[start..]);
        self.stack.truncate(start);
        let object = self.stack.last_mut()?;
        object.size += added.size;
        object.tensors += added.tensors;
        object.path = object.path.max(added.path);
        Some(())
    }

    /// Removes the last mark; returns the number of objects above it.
    fn pop_mark(&mut self) -> Option<usize> {
        self.stack.len().checked_sub(self.marks.pop()?)
    }
}

/// Reads a little-endian integer of `bytes` bytes.
pub(super) fn read_number(reader: &mut impl BufRead, bytes: usize) -> Option<u64> {
    let mut number = [0; 8];
    reader.read_exact(&mut number[..bytes]).ok()?;
    Some(u64::from_le_bytes(number))
}

/// Skips `bytes` bytes; returns `None` if there are fewer.
pub(super) fn skip(reader: &mut impl BufRead, bytes: u64) -> Option<()> {
    let skipped = io::copy(&mut reader.take(bytes), &mut io::sink()).ok()?;
    (skipped == bytes).then_some(())
}

/// Skips the rest of a line; returns its length.
fn skip_line(reader: &mut impl BufRead) -> Option<u64> {
    Some(reader.skip_until(b'\n').ok()? as u64)
}

/// Skips a text whose length is given first, as an integer of `bytes` bytes; returns the length.
fn skip_text(reader: &mut impl BufRead, bytes: usize) -> Option<u64> {
    let length = read_number(reader, bytes)?;
    skip(reader, length).map(|()| length)
}

/// Reads an index into the memo.
fn read_memo_index(opcode: u8, reader: &mut impl BufRead) -> Option<u32> {
    match opcode {
        b'h' | b'q' => read_number(reader, 1).map(|index| index as u32),
        b'j' | b'r' => read_number(reader, 4).map(|index| index as u32),
        _ => {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            line.trim_end().parse().ok()
        }
    }
}
