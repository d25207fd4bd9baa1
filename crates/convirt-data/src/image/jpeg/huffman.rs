//! Huffman decoding (ITU-T T.81, annexes C and F.2.2.3), with a table that skips several codes at
//! once.

use super::bits::Bits;

/// Bits that index the lookup tables.
const WINDOW: u32 = 12;

/// Longest code, in bits.
const MAX_LENGTH: u32 = 16;

/// A table of Huffman codes.
pub(crate) struct HuffmanTable {
    /// The code at the start of each window; length 0 if the code is longer than a window or
    /// invalid.
    codes: Vec<Code>,
    /// For codes longer than a window, by length: the first code of the next length, in 16 bits.
    limits: [u32; MAX_LENGTH as usize + 1],
    /// By length: the difference between the index of a symbol and its code.
    offsets: [i32; MAX_LENGTH as usize + 1],
    symbols: Vec<u8>,
}

/// A table of the codes of AC coefficients, most of which are skipped.
pub(crate) struct SkipTable {
    table: HuffmanTable,
    /// The codes that can be skipped in each window.
    skips: Vec<Skip>,
}

#[derive(Clone, Copy, Default)]
struct Code {
    length: u8,
    symbol: u8,
}

/// The codes within a window, with their values.
#[derive(Clone, Copy, Default)]
struct Skip {
    /// All codes that fit into the window.
    all: Run,
    /// Only the first code.
    first: Run,
}

#[derive(Clone, Copy, Default)]
/// The coefficients of successive codes.
struct Run {
    /// Length of codes and values; 0 if the first code is longer than a window.
    bits: u8,
    coefficients: u8,
    /// Whether the codes end the block.
    is_end: bool,
}

/// Largest number of bits skipped at once: those of a refilled buffer.
const MAX_SKIP_BITS: u32 = 40;

impl HuffmanTable {
    /// Makes a table from the number of codes of each length and the symbols in order; `None` if
    /// there are too many codes of a length.
    pub(crate) fn new(lengths: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut codes = vec![Code::default(); 1 << WINDOW];
        let mut limits = [0; MAX_LENGTH as usize + 1];
        let mut offsets = [0; MAX_LENGTH as usize + 1];
        let (mut code, mut index) = (0_u32, 0_usize);
        for (length, &count) in (1..).zip(lengths) {
            offsets[length as usize] = index as i32 - code as i32;
            for _ in 0..count {
                if length <= WINDOW {
                    let spare = WINDOW - length;
                    let windows = (code << spare) as usize..((code + 1) << spare) as usize;
                    codes.get_mut(windows)?.fill(Code {
                        length: length as u8,
                        symbol: *symbols.get(index)?,
                    });
                }
                code += 1;
                index += 1;
            }
            if code > 1 << length {
                return None;
            }
            limits[length as usize] = code << (MAX_LENGTH - length);
            code <<= 1;
        }
        Some(Self {
            codes,
            limits,
            offsets,
            symbols: symbols.into(),
        })
    }

    /// Reads a symbol; 16 bits must be in the buffer.
    #[inline]
    pub(crate) fn symbol(&self, bits: &mut Bits<'_>) -> Option<u8> {
        let code = self.codes[bits.peek(WINDOW)];
        if code.length > 0 {
            bits.skip(code.length.into());
            return Some(code.symbol);
        }
        let ahead = bits.peek(MAX_LENGTH) as u32;
        let length = (WINDOW + 1..=MAX_LENGTH).find(|&it| ahead < self.limits[it as usize])?;
        bits.skip(length);
        let code = (ahead >> (MAX_LENGTH - length)) as i32;
        let index = code + self.offsets[length as usize];
        self.symbols.get(usize::try_from(index).ok()?).copied()
    }
}

impl SkipTable {
    pub(crate) fn new(table: HuffmanTable) -> Self {
        let skip = |window| Skip::new(window, &table.codes);
        let skips = (0..1 << WINDOW).map(skip).collect();
        Self { table, skips }
    }

    /// Reads a symbol; 16 bits must be in the buffer.
    #[inline]
    pub(crate) fn symbol(&self, bits: &mut Bits<'_>) -> Option<u8> {
        self.table.symbol(bits)
    }

    /// Skips the coefficients of a block from number `next` on; `None` if there are more than 64.
    pub(crate) fn skip_block(&self, bits: &mut Bits<'_>, mut next: usize) -> Option<()> {
        while next < 64 {
            bits.refill();
            let skip = &self.skips[bits.peek(WINDOW)];
            let mut run = skip.all;
            let mut after = next + usize::from(run.coefficients);
            // The codes reach into the next block: skip only the first.
            if after + usize::from(run.is_end) > 64 {
                run = skip.first;
                after = next + usize::from(run.coefficients);
            }
            if run.bits == 0 {
                run = Run::new(0, self.symbol(bits)?);
                after = next + usize::from(run.coefficients);
            }
            bits.skip(run.bits.into());
            if run.is_end {
                return Some(());
            }
            next = after;
        }
        (next == 64).then_some(())
    }
}

impl Skip {
    /// Finds the codes that a window contains.
    fn new(window: usize, codes: &[Code]) -> Self {
        let mut skip = Self::default();
        loop {
            let shift = u32::from(skip.all.bits);
            // At the end of the window, zeros from outside it would be taken as a code.
            let code = if shift < WINDOW {
                codes[(window << shift) & ((1 << WINDOW) - 1)]
            } else {
                Code::default()
            };
            let next = Run::new(code.length, code.symbol);
            let all = skip.all.then(next);
            let is_within = shift + u32::from(code.length) <= WINDOW;
            if code.length == 0 || !is_within || u32::from(all.bits) > MAX_SKIP_BITS {
                return skip;
            }
            if shift == 0 {
                skip.first = next;
            }
            skip.all = all;
            if all.is_end || all.coefficients >= 64 {
                return skip;
            }
        }
    }
}

impl Run {
    /// Returns the coefficients of a symbol with a code of `code_bits` bits: zeros and a value.
    fn new(code_bits: u8, symbol: u8) -> Self {
        let (zeros, value_bits) = (symbol >> 4, symbol & 15);
        match (zeros, value_bits) {
            // 15 zeros without a value are a run of 16 zeros; fewer end the block.
            (0..=14, 0) => Self {
                bits: code_bits,
                coefficients: 0,
                is_end: true,
            },
            _ => Self {
                bits: code_bits + value_bits,
                coefficients: zeros + 1,
                is_end: false,
            },
        }
    }

    fn then(self, next: Self) -> Self {
        Self {
            bits: self.bits + next.bits,
            coefficients: self.coefficients + next.coefficients,
            is_end: next.is_end,
        }
    }
}
