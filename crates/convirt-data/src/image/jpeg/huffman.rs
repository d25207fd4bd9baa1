//! Huffman's codes (ITU-T T.81, annexes C and F.2.2.3), and steps over several at once.

use super::bits::Bits;

/// Bits that the tables look at.
const WINDOW: u32 = 12;

/// Longest code.
const MAX_LENGTH: u32 = 16;

/// A table of codes.
pub(crate) struct HuffmanTable {
    /// Code and symbol that a window begins with; length 0 where it is longer or there is none.
    codes: Vec<Code>,
    /// For codes longer than a window, by their length from 1: the first of the next length, in
    /// 16 bits, and what to add to a code to find its symbol.
    limits: [u32; MAX_LENGTH as usize + 1],
    offsets: [i32; MAX_LENGTH as usize + 1],
    symbols: Vec<u8>,
}

/// A table of the codes behind a block's first, of which many are stepped over.
pub(crate) struct SteppingTable {
    table: HuffmanTable,
    /// What can be stepped over in a window.
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Default)]
struct Code {
    length: u8,
    symbol: u8,
}

/// Coefficients that are stepped over, with the bits of their values.
#[derive(Clone, Copy, Default)]
struct Step {
    all: Stretch,
    first: Stretch,
}

#[derive(Clone, Copy, Default)]
struct Stretch {
    /// 0 where the first code is longer than a window.
    bits: u8,
    coefficients: u8,
    /// Whether the block ends.
    is_end: bool,
}

/// Most bits that a step may take: a refilled buffer has as many.
const MAX_STEP_BITS: u32 = 40;

impl HuffmanTable {
    /// Makes a table of the number of codes of each length and the symbols in order; `None` when
    /// there are more codes than a length has.
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

    /// Reads a symbol of up to 16 bits that are ready.
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

impl SteppingTable {
    pub(crate) fn new(table: HuffmanTable) -> Self {
        let step = |window| Step::of(window, &table.codes);
        let steps = (0..1 << WINDOW).map(step).collect();
        Self { table, steps }
    }

    /// Reads a symbol of up to 16 bits that are ready.
    #[inline]
    pub(crate) fn symbol(&self, bits: &mut Bits<'_>) -> Option<u8> {
        self.table.symbol(bits)
    }

    /// Steps over the coefficients of a block from number `next` on; `None` when there are more
    /// than 64.
    pub(crate) fn skip_block(&self, bits: &mut Bits<'_>, mut next: usize) -> Option<()> {
        while next < 64 {
            bits.refill();
            let step = &self.steps[bits.peek(WINDOW)];
            let mut stretch = step.all;
            let mut after = next + usize::from(stretch.coefficients);
            // What ends the block, or is beyond it, belongs to the next one.
            if after + usize::from(stretch.is_end) > 64 {
                stretch = step.first;
                after = next + usize::from(stretch.coefficients);
            }
            if stretch.bits == 0 {
                stretch = Stretch::of(0, self.symbol(bits)?);
                after = next + usize::from(stretch.coefficients);
            }
            bits.skip(stretch.bits.into());
            if stretch.is_end {
                return Some(());
            }
            next = after;
        }
        (next == 64).then_some(())
    }
}

impl Step {
    fn of(window: usize, codes: &[Code]) -> Self {
        let mut step = Self::default();
        loop {
            let shift = u32::from(step.all.bits);
            // Where nothing is left, zeros from outside the window would make a code.
            let code = if shift < WINDOW {
                codes[(window << shift) & ((1 << WINDOW) - 1)]
            } else {
                Code::default()
            };
            let next = Stretch::of(code.length, code.symbol);
            let all = step.all.then(next);
            let is_within = shift + u32::from(code.length) <= WINDOW;
            if code.length == 0 || !is_within || u32::from(all.bits) > MAX_STEP_BITS {
                return step;
            }
            if shift == 0 {
                step.first = next;
            }
            step.all = all;
            if all.is_end || all.coefficients >= 64 {
                return step;
            }
        }
    }
}

impl Stretch {
    /// What a symbol, behind a code of so many bits, steps over: zeros and a value, of as many
    /// bits as it says.
    fn of(code_bits: u8, symbol: u8) -> Self {
        let (zeros, value_bits) = (symbol >> 4, symbol & 15);
        match (zeros, value_bits) {
            // 15 zeros and a sixteenth go on, any other zeros without a value end.
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
