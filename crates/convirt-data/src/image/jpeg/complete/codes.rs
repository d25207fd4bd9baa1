//! Skipping of the codes of a block (ITU-T T.81, annexes F.2, G.1 and H.2).

use crate::image::jpeg::bits::Bits;
use crate::image::jpeg::huffman::HuffmanTable;

/// The parameters of a scan.
pub(super) struct ScanHeader {
    /// First and last coefficient.
    pub(super) band: (usize, usize),
    /// Whether the scan adds a lower bit to coefficients of earlier scans.
    pub(super) is_refinement: bool,
    /// Whether these are the last bits.
    pub(super) is_last: bool,
}

/// The tables of a component in a scan.
pub(super) struct ScanComponent<'a> {
    pub(super) component: usize,
    pub(super) dc: Option<&'a HuffmanTable>,
    pub(super) ac: Option<&'a HuffmanTable>,
}

impl ScanComponent<'_> {
    /// Skips a lossless sample, or the first coefficient of a block: a symbol and its value bits.
    pub(super) fn value(&self, bits: &mut Bits<'_>) -> Option<()> {
        bits.refill();
        let size = self.dc?.symbol(bits)?;
        match size {
            0..=15 => bits.skip(size.into()),
            // In lossless files, the one value that needs no bits.
            16 => {}
            _ => return None,
        }
        Some(())
    }

    /// Skips a block of a sequential file (section F.2.2).
    pub(super) fn block(&self, bits: &mut Bits<'_>) -> Option<()> {
        self.value(bits)?;
        let table = self.ac?;
        let mut next = 1;
        while next < 64 {
            bits.refill();
            let symbol = table.symbol(bits)?;
            let (zeros, size) = (usize::from(symbol >> 4), symbol & 15);
            if size == 0 && zeros < 15 {
                return Some(());
            }
            bits.skip(size.into());
            next += zeros + 1;
        }
        // All decoders accept zeros beyond the last coefficient.
        Some(())
    }

    /// Skips the higher bits of a block's band (section G.1.2.2). `blocks_left` counts the
    /// following blocks that are empty.
    pub(super) fn first_band(
        &self,
        bits: &mut Bits<'_>,
        header: &ScanHeader,
        nonzero: &mut u64,
        blocks_left: &mut usize,
    ) -> Option<()> {
        if *blocks_left > 0 {
            *blocks_left -= 1;
            return Some(());
        }
        let (mut next, last) = header.band;
        while next <= last {
            bits.refill();
            let symbol = self.ac?.symbol(bits)?;
            let (zeros, size) = (symbol >> 4, symbol & 15);
            if size == 0 && zeros < 15 {
                *blocks_left = (1 << zeros) - 1 + number(bits, zeros);
                return Some(());
            }
            next += usize::from(zeros);
            if size > 0 {
                bits.skip(size.into());
                *nonzero |= 1_u64.checked_shl(next as u32).unwrap_or(0);
            }
            next += 1;
        }
        Some(())
    }

    /// Skips a refinement of a block's band (section G.1.2.3): each nonzero coefficient has one
    /// more bit, also within runs of zeros.
    pub(super) fn refined_band(
        &self,
        bits: &mut Bits<'_>,
        header: &ScanHeader,
        nonzero: &mut u64,
        blocks_left: &mut usize,
    ) -> Option<()> {
        let (mut next, last) = header.band;
        while *blocks_left == 0 && next <= last {
            bits.refill();
            let symbol = self.ac?.symbol(bits)?;
            let (mut zeros, size) = (symbol >> 4, symbol & 15);
            if size == 0 && zeros < 15 {
                *blocks_left = (1 << zeros) + number(bits, zeros);
                break;
            }
            bits.skip(size.min(1).into());
            while next <= last {
                if *nonzero >> next & 1 == 1 {
                    bits.refill();
                    bits.skip(1);
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                next += 1;
            }
            if size > 0 && next <= last {
                *nonzero |= 1 << next;
            }
            next += 1;
        }
        if *blocks_left > 0 {
            *blocks_left -= 1;
            for position in next..=last {
                if *nonzero >> position & 1 == 1 {
                    bits.refill();
                    bits.skip(1);
                }
            }
        }
        Some(())
    }
}

/// Reads a number of up to 14 bits, which must be in the buffer.
fn number(bits: &mut Bits<'_>, count: u8) -> usize {
    if count == 0 {
        return 0;
    }
    let number = bits.peek(count.into());
    bits.skip(count.into());
    number
}
