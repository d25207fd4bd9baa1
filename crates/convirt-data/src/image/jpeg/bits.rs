//! Bit reader for the entropy-coded data of a scan.

use memchr::memchr;

/// Zero bytes after the data, so that a refill can always read eight bytes.
const PADDING: usize = 8;

/// Entropy-coded data without stuffed bytes, split at restart markers.
pub(crate) struct CodedData {
    bytes: Vec<u8>,
    /// Start and end of each restart interval.
    intervals: Vec<(usize, usize)>,
}

impl CodedData {
    /// Reads the data up to the next marker; returns it and the position of the marker in `coded`.
    pub(crate) fn read(mut coded: &[u8]) -> Option<(Self, usize)> {
        let length = coded.len();
        let mut bytes = Vec::with_capacity(length);
        let mut intervals = Vec::new();
        let mut begin = 0;
        loop {
            let marker = memchr(0xFF, coded)?;
            bytes.extend_from_slice(&coded[..marker]);
            match coded.get(marker + 1)? {
                0x00 => bytes.push(0xFF),
                0xD0..=0xD7 => {
                    intervals.push((begin, bytes.len()));
                    bytes.extend([0; PADDING]);
                    begin = bytes.len();
                }
                // Any number of FF bytes may precede a marker.
                0xFF => {
                    coded = &coded[marker + 1..];
                    continue;
                }
                _ => {
                    intervals.push((begin, bytes.len()));
                    bytes.extend([0; PADDING]);
                    let end = length - coded.len() + marker;
                    return Some((Self { bytes, intervals }, end));
                }
            }
            coded = &coded[marker + 2..];
        }
    }

    /// Returns the restart intervals in order.
    pub(crate) fn intervals(&self) -> impl Iterator<Item = Bits<'_>> {
        let interval = |&(begin, end): &(usize, usize)| Bits {
            bytes: &self.bytes[begin..end + PADDING],
            position: 0,
            buffer: 0,
            count: 0,
        };
        self.intervals.iter().map(interval)
    }
}

/// Reads bits, the highest of each byte first; the data is followed by zeros.
pub(crate) struct Bits<'a> {
    /// The data with [`PADDING`].
    bytes: &'a [u8],
    /// Position of the next byte for the buffer.
    position: usize,
    /// The next bits, the first in the highest position.
    buffer: u64,
    /// Bits in the buffer.
    count: u32,
}

impl Bits<'_> {
    /// Fills the buffer with at least 40 bits.
    #[inline]
    pub(crate) fn refill(&mut self) {
        if self.count >= 40 {
            return;
        }
        // Beyond the padding, zeros are read; `is_sound` detects this.
        let ahead = self
            .bytes
            .get(self.position..)
            .and_then(<[u8]>::first_chunk);
        let next = ahead.map_or(0, |bytes| u64::from_be_bytes(*bytes));
        self.buffer |= next >> self.count;
        let bytes = (63 - self.count) / 8;
        self.position += bytes as usize;
        self.count += 8 * bytes;
    }

    /// Returns the next 1 to 16 bits, which must be in the buffer, without consuming them.
    #[inline]
    pub(crate) fn peek(&self, bits: u32) -> usize {
        (self.buffer >> (64 - bits)) as usize
    }

    /// Consumes bits, which must be in the buffer.
    #[inline]
    pub(crate) fn skip(&mut self, bits: u32) {
        self.buffer <<= bits;
        self.count -= bits;
    }

    /// Reads a signed value of up to 15 bits, which must be in the buffer (ITU-T T.81, section
    /// F.2.2.1).
    #[inline]
    pub(crate) fn value(&mut self, bits: u8) -> i32 {
        if bits == 0 {
            return 0;
        }
        let value = self.peek(bits.into()) as i32;
        self.skip(bits.into());
        match value >> (bits - 1) {
            0 => value - (1 << bits) + 1,
            _ => value,
        }
    }

    /// Whether no bits beyond the data were read.
    pub(crate) fn is_sound(&self) -> bool {
        self.has(0)
    }

    /// Whether at least `bits` bits remain.
    pub(crate) fn has(&self, bits: usize) -> bool {
        let read = 8 * self.position - self.count as usize;
        read + bits <= 8 * (self.bytes.len() - PADDING)
    }
}
