//! Memory limits for the tar format, which `torch.save` wrote until 2017.

use std::io::{BufRead, Read, Take};
use std::ops::Range;

use super::pickle_size::{PICKLE_TOO_LARGE, pickle_size, read_number, skip};

/// Size of a tar's blocks, in bytes.
const BLOCK_BYTES: usize = 512;

/// The positions of an entry's name, its length in octal digits, and its kind, in its header block.
const NAME: Range<usize> = 0..100;
const LENGTH: Range<usize> = 124..136;
const KIND: usize = 156;

/// Checks that reading a tar does not need far more memory than its size.
///
/// The error describes a pickle that needs more than `limit` bytes, or an entry that is not a plain
/// file, for example a sparse one. Unreadable parts are no error here, because `pytorch-reader`
/// reports them.
pub(super) fn check(mut tar: impl BufRead, limit: u64) -> Result<(), &'static str> {
    let mut header = [0; BLOCK_BYTES];
    while tar.read_exact(&mut header).is_ok() && header != [0; BLOCK_BYTES] {
        let is_plain = matches!(header[KIND], b'0' | b'5' | 0);
        let length = parse_octal(&header[LENGTH]).filter(|_| is_plain);
        let length = length.ok_or("a tar of more than plain files")?;
        let entry = &mut (&mut tar).take(length);
        let name = header[NAME].split(|byte| *byte == 0).next();
        let name_ends_with = |end| name.is_some_and(|name| name.ends_with(end));
        if name_ends_with(b"storages") {
            check_storages(entry, limit)?;
        } else if name_ends_with(b"tensors") {
            check_tensors(entry, limit)?;
        } else if name_ends_with(b"pickle") || name_ends_with(b"sys_info") {
            read_element_size(entry, limit)?;
        }
        let padding = length.next_multiple_of(BLOCK_BYTES as u64) - length;
        let remaining = entry.limit() + padding;
        if skip(&mut tar, remaining).is_none() {
            break;
        }
    }
    Ok(())
}

fn parse_octal(digits: &[u8]) -> Option<u64> {
    let digits = digits.split(|byte| *byte == 0).next()?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?.trim(), 8).ok()
}

/// Checks the entry `storages`.
///
/// It consists of a pickle with the number of storages; for each storage a pickle, the count of its
/// numbers and the numbers; and a pickle with the views.
fn check_storages(entry: &mut Take<impl BufRead>, limit: u64) -> Result<(), &'static str> {
    read_element_size(entry, limit)?;
    while let Some(size) = read_element_size(entry, limit)? {
        if size == 0 && entry.limit() > 0 {
            return Err("a tar of numbers of no known type");
        }
        let bytes = read_number(entry, 8).and_then(|count| count.checked_mul(size));
        if bytes.and_then(|bytes| skip(entry, bytes)).is_none() {
            break;
        }
    }
    Ok(())
}

/// Checks the entry `tensors`.
///
/// It consists of a pickle with the number of tensors; for each tensor a pickle, the rank in 8
/// bytes, and the shape, strides and offset.
fn check_tensors(entry: &mut Take<impl BufRead>, limit: u64) -> Result<(), &'static str> {
    read_element_size(entry, limit)?;
    while read_element_size(entry, limit)?.is_some() {
        let rank = read_number(entry, 4).filter(|_| read_number(entry, 4).is_some());
        if rank.and_then(|rank| skip(entry, 16 * rank + 8)).is_none() {
            break;
        }
    }
    Ok(())
}

/// Skips a pickle; returns the element size of the storage that it describes, or 0 without one.
///
/// The result is `None` if there is no valid pickle.
fn read_element_size(entry: &mut impl BufRead, limit: u64) -> Result<Option<u64>, &'static str> {
    match pickle_size(entry, limit) {
        Some(pickle) if pickle.memory_bytes > limit => Err(PICKLE_TOO_LARGE),
        pickle => Ok(pickle.map(|pickle| pickle.element_size)),
    }
}
