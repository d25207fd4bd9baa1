//! The coded data of a scan, bit by bit.

use memchr::memchr;

/// Zeros behind the data, so that a refill always finds eight bytes.
const PADDING: usize = 8;

/// Coded data without what stands there for the sake of markers, cut at restarts.
pub(crate) struct CodedData {
    bytes: Vec<u8>,
    /// Where each stretch between restarts begins and ends.
    stretches: Vec<(usize, usize)>,
}

impl CodedData {
    /// Takes the data up to the next marker; returns it and where in `coded` that is.
    pub(crate) fn read(mut coded: &[u8]) -> Option<(Self, usize)> {
        let length = coded.len();
        let mut bytes = Vec::with_capacity(length);
        let mut stretches = Vec::new();
        let mut begin = 0;
        loop {
            let marker = memchr(0xFF, coded)?;
            bytes.extend_from_slice(&coded[..marker]);
            match coded.get(marker + 1)? {
                0x00 => bytes.push(0xFF),
                0xD0..=0xD7 => {
                    stretches.push((begin, bytes.len()));
                    bytes.extend([0; PADDING]);
                    begin = bytes.len();
                }
                // Any number of them may stand before a marker.
                0xFF => {
                    coded = &coded[marker + 1..];
                    continue;
                }
                _ => {
                    stretches.push((begin, bytes.len()));
                    bytes.extend([0; PADDING]);
                    let end = length - coded.len() + marker;
                    return Some((Self { bytes, stretches }, end));
                }
            }
            coded = &coded[marker + 2..];
        }
    }

    /// The stretches between restarts, in order.
    pub(crate) fn stretches(&self) -> impl Iterator<Item = Bits<'_>> {
        let stretch = |&(begin, end): &(usize, usize)| Bits {
            bytes: &self.bytes[begin..end + PADDING],
            position: 0,
            buffer: 0,
            count: 0,
        };
        self.stretches.iter().map(stretch)
    }
}

/// Reads bits from the highest of the first byte on; behind the last come zeros.
pub(crate) struct Bits<'a> {
    /// With [`PADDING`].
    bytes: &'a [u8],
    /// Next byte for the buffer.
    position: usize,
    /// The next bits, from the highest on.
    buffer: u64,
    /// Bits in the buffer.
    count: u32,
}

impl Bits<'_> {
    /// Makes at least 40 bits ready.
    #[inline]
    pub(crate) fn refill(&mut self) {
        if self.count >= 40 {
            return;
        }
        // Behind the padding come zeros without end; `is_sound` tells.
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

    /// Looks at 1 to 16 bits that are ready.
    #[inline]
    pub(crate) fn peek(&self, bits: u32) -> usize {
        (self.buffer >> (64 - bits)) as usize
    }

    /// Leaves bits behind that are ready.
    #[inline]
    pub(crate) fn skip(&mut self, bits: u32) {
        self.buffer <<= bits;
        self.count -= bits;
    }

    /// Reads a value of up to 15 bits that are ready (ITU-T T.81, section F.2.2.1).
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

    /// Whether no more bits were read than there are.
    pub(crate) fn is_sound(&self) -> bool {
        self.has(0)
    }

    /// Whether there are so many bits still.
    pub(crate) fn has(&self, bits: usize) -> bool {
        let read = 8 * self.position - self.count as usize;
        read + bits <= 8 * (self.bytes.len() - PADDING)
    }
}
