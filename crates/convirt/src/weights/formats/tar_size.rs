//! How much memory reading a tar takes, which `torch.save` wrote until 2017.

use std::io::{BufRead, Read, Take};
use std::ops::Range;

use super::pickle_size::{PICKLE_TOO_LARGE, number, pickle_size, skip};

/// Bytes of a tar's parts.
const BLOCK: usize = 512;

/// Where an entry's first block has its name, the octal digits of its length, and its kind.
const NAME: Range<usize> = 0..100;
const LENGTH: Range<usize> = 124..136;
const KIND: usize = 156;

/// Tells what in a tar would take memory out of proportion, be it pickles above `limit` or holes,
/// which plain files have not. What cannot be read is left to `pytorch-reader` to tell.
pub(super) fn check(mut tar: impl BufRead, limit: u64) -> Result<(), &'static str> {
    let mut header = [0; BLOCK];
    while tar.read_exact(&mut header).is_ok() && header != [0; BLOCK] {
        let is_plain = matches!(header[KIND], b'0' | b'5' | 0);
        let length = octal(&header[LENGTH]).filter(|_| is_plain);
        let length = length.ok_or("a tar of more than plain files")?;
        let entry = &mut (&mut tar).take(length);
        let name = header[NAME].split(|byte| *byte == 0).next();
        let is = |known| name.is_some_and(|name| name.ends_with(known));
        if is(b"storages") {
            storages(entry, limit)?;
        } else if is(b"tensors") {
            tensors(entry, limit)?;
        } else if is(b"pickle") || is(b"sys_info") {
            element_size(entry, limit)?;
        }
        let rest = entry.limit() + (length.next_multiple_of(BLOCK as u64) - length);
        if skip(&mut tar, rest).is_none() {
            break;
        }
    }
    Ok(())
}

fn octal(digits: &[u8]) -> Option<u64> {
    let digits = digits.split(|byte| *byte == 0).next()?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?.trim(), 8).ok()
}

/// A pickle of their number; for each a pickle, a count, and so many numbers; a pickle of views.
fn storages(entry: &mut Take<impl BufRead>, limit: u64) -> Result<(), &'static str> {
    element_size(entry, limit)?;
    while let Some(size) = element_size(entry, limit)? {
        if size == 0 && entry.limit() > 0 {
            return Err("a tar of numbers of no known type");
        }
        let numbers = number(entry, 8).and_then(|count| count.checked_mul(size));
        if numbers.and_then(|bytes| skip(entry, bytes)).is_none() {
            break;
        }
    }
    Ok(())
}

/// A pickle of their number; for each a pickle, its rank in 8 bytes, and the sides, strides and
/// offset.
fn tensors(entry: &mut Take<impl BufRead>, limit: u64) -> Result<(), &'static str> {
    element_size(entry, limit)?;
    while element_size(entry, limit)?.is_some() {
        let rank = number(entry, 4).filter(|_| number(entry, 4).is_some());
        if rank.and_then(|rank| skip(entry, 16 * rank + 8)).is_none() {
            break;
        }
    }
    Ok(())
}

/// Passes a pickle, and tells the bytes of a number of the storage that it describes, if any.
fn element_size(entry: &mut impl BufRead, limit: u64) -> Result<Option<u64>, &'static str> {
    match pickle_size(entry, limit) {
        Some(pickle) if pickle.bytes > limit => Err(PICKLE_TOO_LARGE),
        pickle => Ok(pickle.map(|pickle| pickle.element_size)),
    }
}
