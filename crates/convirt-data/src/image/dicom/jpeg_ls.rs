//! Decoder for JPEG-LS with one component, lossless and near-lossless (ITU-T T.87, whose names are
//! used).
//!
//! There is no pure Rust crate for it: `charls` binds a C++ library.

use super::description::Description;
use super::error::DicomError;

/// Contexts of regular samples; two more are for run interruptions.
const REGULAR: usize = 365;
/// Table A.7: log2 of the run length, by run index.
const J: [u32; 32] = [
    0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13,
    14, 15,
];

/// Decodes an image of the described size.
pub(super) fn decode(data: &[u8], description: &Description) -> Result<Vec<u16>, DicomError> {
    let header = Header::read(data)?;
    description.check_size(header.size)?;
    let mut decoder = Decoder::new(header);
    let width = description.columns;
    // One additional sample at each end, so that every sample has neighbours.
    let mut above = vec![0; width + 2];
    let mut line = vec![0; width + 2];
    let mut samples = Vec::with_capacity(description.area());
    for _ in 0..description.rows {
        above[width + 1] = above[width];
        line[0] = above[1];
        decoder.line(&above, &mut line)?;
        samples.extend(line[1..=width].iter().map(|&sample| sample as u16));
        std::mem::swap(&mut above, &mut line);
    }
    Ok(samples)
}

fn malformed(what: &'static str) -> DicomError {
    DicomError::Malformed { what }
}

/// The header: everything before the samples.
struct Header<'a> {
    /// Columns, rows, components.
    size: [usize; 3],
    maxval: i64,
    near: i64,
    /// T1, T2, T3 and RESET; 0 for the defaults.
    presets: [i64; 4],
    samples: &'a [u8],
}

impl<'a> Header<'a> {
    /// Reads the marker segments up to the first scan (annex C).
    fn read(data: &'a [u8]) -> Result<Self, DicomError> {
        const FRAME: u8 = 0xF7;
        const PRESETS: u8 = 0xF8;
        const SCAN: u8 = 0xDA;
        let damaged = || malformed("its JPEG-LS header is damaged");
        let mut header = Self {
            size: [0; 3],
            maxval: 0,
            near: 0,
            presets: [0; 4],
            samples: &[],
        };
        let mut rest = data.strip_prefix(&[0xFF, 0xD8]).ok_or_else(damaged)?;
        loop {
            let &[0xFF, marker, high, low, ref after @ ..] = rest else {
                return Err(damaged());
            };
            let length = usize::from(u16::from_be_bytes([high, low])).saturating_sub(2);
            let (segment, after) = after.split_at_checked(length).ok_or_else(damaged)?;
            let word = |at: usize| Some(u16::from_be_bytes(*segment.get(at..)?.first_chunk()?));
            let word = |at| word(at).ok_or_else(damaged);
            match (marker, segment) {
                (FRAME, &[precision @ 2..=16, _, _, _, _, components, ..]) => {
                    header.size = [word(3)?.into(), word(1)?.into(), components.into()];
                    header.maxval = (1 << precision) - 1;
                }
                (PRESETS, &[1, ..]) => {
                    if word(1)? != 0 {
                        header.maxval = word(1)?.into();
                    }
                    header.presets = [word(3)?, word(5)?, word(7)?, word(9)?].map(i64::from);
                }
                (SCAN, &[1, _, table, near, interleave, transform]) if header.maxval > 0 => {
                    if table != 0 || interleave != 0 || transform != 0 {
                        return Err(malformed("its JPEG-LS has tables or transforms"));
                    }
                    header.near = near.into();
                    header.samples = after;
                    return Ok(header);
                }
                (SCAN, _) => return Err(malformed("its JPEG-LS is not of one component")),
                // Other tables are rejected if a scan refers to one.
                (0xE0..=0xEF | 0xFE | PRESETS, _) => {}
                _ => return Err(damaged()),
            }
            rest = after;
        }
    }
}

/// Statistics of the samples in one context (A.2.1).
#[derive(Clone, Copy)]
struct Context {
    a: i64,
    b: i64,
    c: i64,
    n: i64,
}

impl Context {
    /// Returns the Golomb parameter for a sum of errors (A.5.1).
    fn k(&self, a: i64) -> u32 {
        const MAX_K: u32 = 31;
        (0..MAX_K).find(|&k| self.n << k >= a).unwrap_or(MAX_K)
    }
}

struct Decoder<'a> {
    bits: Bits<'a>,
    maxval: i64,
    near: i64,
    thresholds: [i64; 3],
    reset: i64,
    range: i64,
    /// Bits of an unencoded error, and of the longest code (A.2.1).
    qbpp: u32,
    limit: u32,
    contexts: Vec<Context>,
    run_index: usize,
}

impl<'a> Decoder<'a> {
    fn new(header: Header<'a>) -> Self {
        let Header { maxval, near, .. } = header;
        let range = (maxval + 2 * near) / (2 * near + 1) + 1;
        let bits_of = |largest: i64| i64::BITS - largest.leading_zeros();
        let bpp = bits_of(maxval).max(2);
        let [t1, t2, t3, reset] = header.presets;
        let defaults = default_thresholds(maxval, near);
        let or = |given: i64, default| if given == 0 { default } else { given };
        let context = Context {
            a: ((range + 32) / 64).max(2),
            b: 0,
            c: 0,
            n: 1,
        };
        Self {
            bits: Bits::new(header.samples),
            maxval,
            near,
            thresholds: [
                or(t1, defaults[0]),
                or(t2, defaults[1]),
                or(t3, defaults[2]),
            ],
            reset: or(reset, 64),
            range,
            qbpp: bits_of(range - 1),
            limit: 2 * (bpp + bpp.max(8)),
            contexts: vec![context; REGULAR + 2],
            run_index: 0,
        }
    }

    /// Decodes a line; `above` is the previous one. Both have an additional sample at each end.
    fn line(&mut self, above: &[i64], line: &mut [i64]) -> Result<(), DicomError> {
        let width = line.len() - 2;
        let mut x = 1;
        while x <= width {
            let (ra, rb, rc, rd) = (line[x - 1], above[x], above[x - 1], above[x + 1]);
            let gradients = [rd - rb, rb - rc, rc - ra];
            if gradients.iter().all(|gradient| gradient.abs() <= self.near) {
                let (length, is_interrupted) = self.run_length(width + 1 - x)?;
                line[x..x + length].fill(ra);
                x += length;
                if is_interrupted {
                    line[x] = self.run_end(ra, above[x])?;
                    x += 1;
                }
            } else {
                line[x] = self.regular(gradients, ra, rb, rc)?;
                x += 1;
            }
        }
        Ok(())
    }

    /// Decodes a sample from its neighbours (A.3 to A.6).
    fn regular(
        &mut self,
        gradients: [i64; 3],
        ra: i64,
        rb: i64,
        rc: i64,
    ) -> Result<i64, DicomError> {
        let q = gradients
            .into_iter()
            .fold(0, |q, gradient| 9 * q + self.quantize(gradient));
        let sign = if q < 0 { -1 } else { 1 };
        let context = self.contexts[q.unsigned_abs() as usize];
        let edge = if rc >= ra.max(rb) {
            ra.min(rb)
        } else if rc <= ra.min(rb) {
            ra.max(rb)
        } else {
            ra + rb - rc
        };
        let predicted = (edge + sign * context.c).clamp(0, self.maxval);
        let k = context.k(context.a);
        let mapped = self.bits.golomb(k, self.limit, self.qbpp)?;
        let folded = if mapped % 2 == 0 {
            mapped / 2
        } else {
            -(mapped + 1) / 2
        };
        let is_turned = k == 0 && self.near == 0 && 2 * context.b <= -context.n;
        let error = if is_turned { -folded - 1 } else { folded };
        self.update(q.unsigned_abs() as usize, error);
        Ok(self.reconstruct(predicted, sign * error))
    }

    fn quantize(&self, gradient: i64) -> i64 {
        let [t1, t2, t3] = self.thresholds;
        let size = match gradient.abs() {
            size if size <= self.near => 0,
            size if size < t1 => 1,
            size if size < t2 => 2,
            size if size < t3 => 3,
            _ => 4,
        };
        size * gradient.signum()
    }

    fn update(&mut self, q: usize, error: i64) {
        let Context { a, b, c, n } = &mut self.contexts[q];
        *b += error * (2 * self.near + 1);
        *a += error.abs();
        if *n == self.reset {
            (*a, *b, *n) = (*a >> 1, *b >> 1, *n >> 1);
        }
        *n += 1;
        if *b <= -*n {
            *b = (*b + *n).max(1 - *n);
            *c = (*c - 1).max(-128);
        } else if *b > 0 {
            *b = (*b - *n).min(0);
            *c = (*c + 1).min(127);
        }
    }

    /// Decodes the length of a run, and whether it ends before the line (A.7.1).
    fn run_length(&mut self, left: usize) -> Result<(usize, bool), DicomError> {
        let mut length = 0;
        while self.bits.read(1)? == 1 {
            let step = 1 << J[self.run_index];
            if length + step <= left {
                self.run_index = (self.run_index + 1).min(J.len() - 1);
            }
            length = (length + step).min(left);
            if length == left {
                return Ok((left, false));
            }
        }
        length += self.bits.read(J[self.run_index])? as usize;
        if length >= left {
            return Err(malformed("a run of its JPEG-LS leaves the line"));
        }
        Ok((length, true))
    }

    /// Decodes the sample that interrupts a run (A.7.2); `b` of its context counts negative errors.
    fn run_end(&mut self, ra: i64, rb: i64) -> Result<i64, DicomError> {
        let is_flat = (ra - rb).abs() <= self.near;
        let ri_type = i64::from(is_flat);
        let q = REGULAR + usize::from(is_flat);
        let context = self.contexts[q];
        let k = context.k(context.a + if is_flat { context.n >> 1 } else { 0 });
        let limit = self.limit - J[self.run_index] - 1;
        let mapped = self.bits.golomb(k, limit, self.qbpp)?;
        let is_odd = (mapped + ri_type) % 2 == 1;
        let size = (mapped + ri_type + 1) / 2;
        let is_negative = (k != 0 || 2 * context.b >= context.n) == is_odd;
        let error = if is_negative { -size } else { size };

        let Context { a, b, n, .. } = &mut self.contexts[q];
        *b += i64::from(error < 0);
        *a += (mapped + 1 - ri_type) >> 1;
        if *n == self.reset {
            (*a, *b, *n) = (*a >> 1, *b >> 1, *n >> 1);
        }
        *n += 1;
        self.run_index = self.run_index.saturating_sub(1);
        let sign = if !is_flat && ra > rb { -1 } else { 1 };
        Ok(self.reconstruct(if is_flat { ra } else { rb }, sign * error))
    }

    fn reconstruct(&self, predicted: i64, error: i64) -> i64 {
        let step = 2 * self.near + 1;
        let sample = predicted + error * step;
        let sample = if sample < -self.near {
            sample + self.range * step
        } else if sample > self.maxval + self.near {
            sample - self.range * step
        } else {
            sample
        };
        sample.clamp(0, self.maxval)
    }
}

/// Returns the default thresholds (section C.2.4.1.1.1).
fn default_thresholds(maxval: i64, near: i64) -> [i64; 3] {
    let within = |value, least| {
        if value > maxval || value < least {
            least
        } else {
            value
        }
    };
    let basic = if maxval >= 128 {
        let factor = (maxval.min(4095) + 128) / 256;
        [factor + 2, 4 * factor + 3, 17 * factor + 4]
    } else {
        let factor = 256 / (maxval + 1);
        [
            (3 / factor).max(2),
            (7 / factor).max(3),
            (21 / factor).max(4),
        ]
    };
    let t1 = within(basic[0] + 3 * near, near + 1);
    let t2 = within(basic[1] + 5 * near, t1);
    [t1, t2, within(basic[2] + 7 * near, t2)]
}

/// Bit reader for the samples; a byte after FF has only seven bits.
struct Bits<'a> {
    rest: std::slice::Iter<'a, u8>,
    last: u8,
    buffer: u64,
    available: u32,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes.iter(),
            last: 0,
            buffer: 0,
            available: 0,
        }
    }

    /// Reads up to 32 bits.
    fn read(&mut self, count: u32) -> Result<i64, DicomError> {
        while self.available < count {
            let &byte = self.rest.next().unwrap_or(&0xFF);
            let is_after_ff = self.last == 0xFF;
            if is_after_ff && byte > 0x7F {
                return Err(malformed("its JPEG-LS ends before the image does"));
            }
            let bits = if is_after_ff { 7 } else { 8 };
            self.buffer = self.buffer << bits | u64::from(byte);
            self.available += bits;
            self.last = byte;
        }
        self.available -= count;
        let mask = (1 << count) - 1;
        Ok((self.buffer >> self.available & mask) as i64)
    }

    /// Reads a number in a length-limited Golomb code (A.5.3).
    fn golomb(&mut self, k: u32, limit: u32, qbpp: u32) -> Result<i64, DicomError> {
        let longest = limit.saturating_sub(qbpp + 1);
        let mut zeros = 0;
        while self.read(1)? == 0 {
            zeros += 1;
            if zeros > longest {
                return Err(malformed("a code of its JPEG-LS is too long"));
            }
        }
        if zeros < longest {
            Ok(i64::from(zeros) << k | self.read(k)?)
        } else {
            Ok(self.read(qbpp)? + 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::image::dicom::tests::fixtures::{Dicom, JPEG_LS, hex};
    use crate::image::error::ImageError;
    use crate::image::limits::DecodeLimits;
    use crate::image::radiograph::Radiograph;

    // The example of T.87, annex H.3; the second is encoded by CharLS with `NEAR` = 2.
    const LOSSLESS: &str = "FFD8 FFF7000B08000400040101 1100 FFDA00080101000000 00 \
        C000006C80208E01C0000057400000 6EE6000001BC18000005D80000 9160 FFD9";
    const NEAR: &str = "FFD8 FFF7000B08000400040101 1100 FFDA00080101000200 00 \
        C0000C46C600800002400006800602 8C FFD9";

    fn read(compressed: &[u8]) -> Result<Radiograph, ImageError> {
        let file = Dicom::grey_8(4, &[0; 16])
            .syntax(JPEG_LS)
            .fragment(compressed);
        Radiograph::decode(&file.file(), Path::new("a.dcm"), &DecodeLimits::default())
    }

    #[test]
    fn the_example_of_the_standard_is_decoded() {
        let expected = [
            0, 0, 90, 74, 68, 50, 43, 205, 64, 145, 145, 145, 100, 145, 145, 145,
        ];
        let image = read(&hex(LOSSLESS)).unwrap();
        assert_eq!(image, Radiograph::from_u8(4, 4, 1, &expected));
    }

    #[test]
    fn near_lossless_agrees_with_charls() {
        let expected = [
            0, 0, 90, 75, 70, 50, 45, 205, 65, 145, 145, 145, 100, 144, 144, 144,
        ];
        let image = read(&hex(NEAR)).unwrap();
        assert_eq!(image, Radiograph::from_u8(4, 4, 1, &expected));
    }

    #[test]
    fn damage_gives_an_error_or_another_image_but_no_panic() {
        let good = hex(LOSSLESS);
        for length in 0..good.len() - 4 {
            assert!(read(&good[..length]).is_err(), "{length}");
        }
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut damaged = good.clone();
                damaged[at] ^= 1 << bit;
                if let Err(error) = read(&damaged) {
                    let is_panic = matches!(error, ImageError::DecoderPanicked { .. });
                    assert!(!is_panic, "byte {at}, bit {bit}");
                }
            }
        }
    }
}
