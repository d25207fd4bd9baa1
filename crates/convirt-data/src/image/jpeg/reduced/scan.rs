//! Decoding of the blocks of a scan (ITU-T T.81, annexes A.2 and F.2).

use super::Tables;
use super::frame::Frame;
use super::transform::{Side, ZIGZAG};
use crate::image::jpeg::bits::{Bits, CodedData};
use crate::image::jpeg::huffman::{HuffmanTable, SkipTable};

/// A scan of one component or of all components.
pub(super) struct Scan<'a> {
    parts: Vec<ScanComponent<'a>>,
    restart_interval: usize,
}

/// The tables of a component in a scan.
struct ScanComponent<'a> {
    /// Index of the component in the frame.
    component: usize,
    dc: &'a HuffmanTable,
    ac: &'a SkipTable,
    quantization: &'a [u16; 64],
}

impl<'a> Scan<'a> {
    pub(super) fn read(header: &[u8], frame: &Frame, tables: &'a Tables) -> Option<Self> {
        let (&count, rest) = header.split_first()?;
        let (selections, _) = rest.as_chunks::<2>();
        let parts = selections
            .get(..count.into())?
            .iter()
            .map(|&[id, codes]| {
                let component = frame.components.iter().position(|it| it.id == id)?;
                let table = frame.components[component].quantization;
                Some(ScanComponent {
                    component,
                    dc: tables.dc.get(usize::from(codes >> 4))?.as_ref()?,
                    ac: tables.ac.get(usize::from(codes & 15))?.as_ref()?,
                    quantization: tables.quantization.get(table)?.as_ref()?,
                })
            })
            .collect::<Option<Vec<_>>>()?;
        let is_known = matches!(parts.len(), 1 | 3);
        is_known.then_some(Self {
            parts,
            restart_interval: tables.restart_interval,
        })
    }

    /// Decodes the samples into the frame; returns the end of the data.
    pub(super) fn decode(&self, coded: &[u8], frame: &mut Frame) -> Option<usize> {
        let (data, end) = CodedData::read(coded)?;
        let (units_across, units) = self.units(frame);
        let interval = match self.restart_interval {
            0 => units,
            interval => interval,
        };
        let mut intervals = data.intervals();
        let mut unit = 0;
        while unit < units {
            let mut bits = intervals.next()?;
            let mut predictions = [0; 3];
            let last = (unit + interval).min(units);
            for unit in unit..last {
                let place = (unit % units_across, unit / units_across);
                self.unit(&mut bits, place, &mut predictions, frame)?;
            }
            if !bits.is_sound() {
                return None;
            }
            unit = last;
        }
        for part in &self.parts {
            frame.components[part.component].is_decoded = true;
        }
        Some(end)
    }

    /// Returns the number of units in a row and in all. A unit is a single block if the scan has
    /// one component, and else the blocks of all components given by their sampling factors.
    fn units(&self, frame: &Frame) -> (usize, usize) {
        let (across, down) = match self.parts.as_slice() {
            [part] => frame.components[part.component].blocks,
            _ => {
                let (across, down) = frame.sampling();
                (
                    frame.width.div_ceil(8 * across),
                    frame.height.div_ceil(8 * down),
                )
            }
        };
        (across, across * down)
    }

    fn unit(
        &self,
        bits: &mut Bits<'_>,
        (column, row): (usize, usize),
        predictions: &mut [i32; 3],
        frame: &mut Frame,
    ) -> Option<()> {
        for (part, prediction) in self.parts.iter().zip(predictions) {
            let component = &mut frame.components[part.component];
            let (across, down) = match self.parts.len() {
                1 => (1, 1),
                _ => component.sampling,
            };
            for block in 0..across * down {
                let (x, y) = (
                    column * across + block % across,
                    row * down + block / across,
                );
                let side = component.side;
                let coefficients = part.block(bits, prediction, side)?;
                let pixels = side.pixels();
                let stride = component.stride * pixels;
                let corner = y * pixels * stride + x * pixels;
                side.write_block(&coefficients, &mut component.samples[corner..], stride);
            }
        }
        Some(())
    }
}

impl ScanComponent<'_> {
    /// Reads the needed coefficients of a block, dequantized and in a 4×4 square, and skips the
    /// others.
    fn block(&self, bits: &mut Bits<'_>, prediction: &mut i32, side: Side) -> Option<[f32; 16]> {
        let mut coefficients = [0.0; 16];
        let mut place = |number: usize, value: i32| {
            if let Some(at) = ZIGZAG[number] {
                coefficients[at] = value as f32 * f32::from(self.quantization[number]);
            }
        };
        // A symbol and its value have at most 31 bits.
        bits.refill();
        let size = self.dc.symbol(bits)?;
        if size > 15 {
            return None;
        }
        *prediction = prediction.wrapping_add(bits.value(size));
        place(0, *prediction);
        let mut next = 1;
        while next < side.coefficients() {
            bits.refill();
            let symbol = self.ac.symbol(bits)?;
            let (zeros, size) = (usize::from(symbol >> 4), symbol & 15);
            if size == 0 && zeros < 15 {
                return Some(coefficients);
            }
            next += zeros;
            let value = bits.value(size);
            if next > 63 {
                return None;
            }
            place(next, value);
            next += 1;
        }
        self.ac.skip_block(bits, next)?;
        Some(coefficients)
    }
}
