//! How much memory reading a pickle takes, told without building any of it.
//!
//! `pytorch-reader` copies an object for every reference to it. It bounds the copies, but not the
//! keys, class names and shapes in them: a pickle of 100 kB can ask for gigabytes.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};

/// Bytes of an object, besides its text.
const OBJECT: u64 = 128;

/// What is wrong with a pickle of such a size.
pub(super) const PICKLE_TOO_LARGE: &str = "its pickle would take far more memory than the file";

/// What [`pickle_size`] tells.
pub(super) struct PickleSize {
    /// Bytes of memory that reading it takes, from above.
    pub bytes: u64,
    /// Of a number of the storage class at its end, or 0.
    pub element_size: u64,
}

/// Passes the pickle at `reader`, or a part of it that takes more than `limit`. `None` when it is
/// no pickle, nor one to `pytorch-reader`.
pub(super) fn pickle_size(reader: &mut impl BufRead, limit: u64) -> Option<PickleSize> {
    let mut machine = Machine::default();
    while machine.size <= limit {
        let operation = number(reader, 1)? as u8;
        if operation == b'.' {
            let root = machine.stack.pop()?;
            // Each tensor is called by its path, and listed by it.
            let names = root.tensors.saturating_mul(2 * root.path);
            return Some(PickleSize {
                bytes: machine.size.saturating_add(names),
                element_size: root.element_size,
            });
        }
        machine.run(operation, reader)?;
    }
    Some(PickleSize {
        bytes: machine.size,
        element_size: 0,
    })
}

/// Bytes of a number of a storage, by its class; `pytorch-reader` knows no others.
fn element_size(class: &[u8]) -> u64 {
    match class {
        b"DoubleStorage" | b"LongStorage" => 8,
        b"FloatStorage" | b"IntStorage" => 4,
        b"HalfStorage" | b"BFloat16Storage" | b"ShortStorage" => 2,
        b"CharStorage" | b"ByteStorage" | b"BoolStorage" => 1,
        _ => 0,
    }
}

/// An object of a pickle: what it takes, from above.
#[derive(Clone, Copy, Default)]
struct Object {
    size: u64,
    /// Objects within it that may be tensors.
    tensors: u64,
    /// Length of its longest text, which may be a key.
    text: u64,
    /// Length of the longest path of keys through it.
    path: u64,
    /// Of a storage class, or of a tuple that ends with one.
    element_size: u64,
    /// Where it is remembered.
    memo: Option<u32>,
}

impl Object {
    fn text(length: u64) -> Self {
        Self {
            size: OBJECT.saturating_add(length),
            text: length,
            ..Self::default()
        }
    }

    /// An object of others.
    fn of(members: &[Self]) -> Self {
        /// Length of a list's largest index.
        const INDEX: u64 = 20;
        let largest = |of: fn(&Self) -> u64| members.iter().map(of).max().unwrap_or(0);
        Self {
            size: OBJECT + members.iter().map(|member| member.size).sum::<u64>(),
            tensors: members.iter().map(|member| member.tensors).sum(),
            text: 0,
            path: largest(|member| member.path) + largest(|member| member.text).max(INDEX),
            element_size: 0,
            memo: None,
        }
    }
}

/// The stack machine that pickles are programs of.
#[derive(Default)]
struct Machine {
    stack: Vec<Object>,
    marks: Vec<usize>,
    memo: HashMap<u32, Object>,
    /// Of everything made so far, kept or not.
    size: u64,
}

impl Machine {
    /// Runs an operation, by its byte in CPython's `pickletools`.
    fn run(&mut self, operation: u8, reader: &mut impl BufRead) -> Option<()> {
        match operation {
            // The version and a frame's length.
            0x80 => skip(reader, 1)?,
            0x95 => skip(reader, 8)?,

            // Constants, numbers and text.
            b'N' | b')' | b']' | b'}' | 0x88 | 0x89 | 0x8f => self.make(0),
            b'K' | b'M' | b'J' | b'G' => {
                let bytes = match operation {
                    b'K' => 1,
                    b'M' => 2,
                    b'J' => 4,
                    _ => 8,
                };
                skip(reader, bytes)?;
                self.make(0);
            }
            b'I' | b'L' | b'F' | b'V' => self.make(line(reader)?),
            b'P' => {
                self.make(line(reader)?);
                self.join(1, 1)?;
            }
            b'c' => {
                let module = line(reader)?;
                let mut class = Vec::new();
                reader.read_until(b'\n', &mut class).ok()?;
                self.make(module + class.len() as u64);
                self.stack.last_mut()?.element_size = element_size(class.trim_ascii_end());
            }
            b'U' | b'C' | 0x8a | 0x8c => self.make(counted(reader, 1)?),
            b'T' | b'B' | b'X' | 0x8b => self.make(counted(reader, 4)?),
            0x8d | 0x8e | 0x96 => self.make(counted(reader, 8)?),

            // Containers, and calls, which are not made.
            b'(' => self.marks.push(self.stack.len()),
            b'l' | b'd' | 0x91 => {
                let members = self.above_mark()?;
                self.join(members, 0)?;
            }
            b't' => {
                let members = self.above_mark()?;
                self.tuple(members)?;
            }
            0x85..=0x87 => self.tuple(usize::from(operation - 0x84))?,
            b'Q' => self.join(1, 1)?,
            b'R' | 0x81 | 0x93 => self.join(2, 1)?,
            b'b' => {
                let below = self.stack.len().checked_sub(2)?;
                let memo = self.stack[below].memo;
                self.join(2, 1)?;
                memo.map_or(Some(()), |at| self.remember(at))?;
            }
            0x92 => self.join(3, 1)?,
            b'a' => self.extend(1)?,
            b's' => self.extend(2)?,
            b'e' | b'u' | 0x90 => {
                let members = self.above_mark()?;
                self.extend(members)?;
            }

            // The stack and the memo.
            b'0' if self.marks.last() == Some(&self.stack.len()) => _ = self.marks.pop(),
            b'0' => _ = self.stack.pop()?,
            b'1' => {
                let members = self.above_mark()?;
                self.stack.truncate(self.stack.len() - members);
            }
            b'2' => self.copy(*self.stack.last()?),
            b'g' | b'h' | b'j' => {
                let at = slot(operation, reader)?;
                self.copy(*self.memo.get(&at)?);
            }
            b'p' | b'q' | b'r' => {
                let at = slot(operation, reader)?;
                self.remember(at)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?,
            _ => return None,
        }
        Some(())
    }

    fn make(&mut self, text: u64) {
        self.size = self.size.saturating_add(OBJECT + text);
        self.stack.push(Object::text(text));
    }

    fn copy(&mut self, object: Object) {
        self.size += object.size;
        self.stack.push(object);
    }

    /// Copies the uppermost object into the memo.
    fn remember(&mut self, at: u32) -> Option<()> {
        let top = self.stack.last_mut()?;
        top.memo = Some(at);
        self.size += top.size;
        self.memo.insert(at, *top);
        Some(())
    }

    /// Makes one object of the uppermost ones; a call's may be a tensor.
    fn join(&mut self, members: usize, tensors: u64) -> Option<()> {
        let at = self.stack.len().checked_sub(members)?;
        let mut object = Object::of(&self.stack[at..]);
        object.tensors += tensors;
        self.size += OBJECT;
        self.stack.truncate(at);
        self.stack.push(object);
        Some(())
    }

    fn tuple(&mut self, members: usize) -> Option<()> {
        let end = self.stack.last().map_or(0, |end| end.element_size);
        self.join(members, 0)?;
        self.stack.last_mut()?.element_size = end;
        Some(())
    }

    /// Puts the uppermost objects into the one below them.
    fn extend(&mut self, members: usize) -> Option<()> {
        let at = self.stack.len().checked_sub(members)?;
        let added = Object::of(&self.stack[at..]);
        self.stack.truncate(at);
        let object = self.stack.last_mut()?;
        object.size += added.size;
        object.tensors += added.tensors;
        object.path = object.path.max(added.path);
        Some(())
    }

    /// Number of the objects above the last mark, which goes.
    fn above_mark(&mut self) -> Option<usize> {
        self.stack.len().checked_sub(self.marks.pop()?)
    }
}

/// Reads a little-endian number of `bytes` bytes.
pub(super) fn number(reader: &mut impl BufRead, bytes: usize) -> Option<u64> {
    let mut number = [0; 8];
    reader.read_exact(&mut number[..bytes]).ok()?;
    Some(u64::from_le_bytes(number))
}

pub(super) fn skip(reader: &mut impl BufRead, bytes: u64) -> Option<()> {
    let skipped = io::copy(&mut reader.take(bytes), &mut io::sink()).ok()?;
    (skipped == bytes).then_some(())
}

/// Skips what is left of a line, and tells its length.
fn line(reader: &mut impl BufRead) -> Option<u64> {
    Some(reader.skip_until(b'\n').ok()? as u64)
}

/// Skips text behind its length of `bytes` bytes, and tells that.
fn counted(reader: &mut impl BufRead, bytes: usize) -> Option<u64> {
    let length = number(reader, bytes)?;
    skip(reader, length).map(|()| length)
}

/// Reads a place in the memo.
fn slot(operation: u8, reader: &mut impl BufRead) -> Option<u32> {
    match operation {
        b'h' | b'q' => number(reader, 1).map(|at| at as u32),
        b'j' | b'r' => number(reader, 4).map(|at| at as u32),
        _ => {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            line.trim_end().parse().ok()
        }
    }
}
