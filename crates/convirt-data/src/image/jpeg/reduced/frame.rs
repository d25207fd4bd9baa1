//! The segments of a JPEG, and its frame header (ITU-T T.81, annex B).

use std::iter::repeat_n;

use memchr::memchr;

use super::transform::Side;
use super::{Radiograph, Reduced};
use crate::image::limits::DecodeLimits;
use crate::image::radiograph::ycbcr_to_rgb;

/// A segment that matters for decoding.
pub(super) enum Segment<'a> {
    Quantization(&'a [u8]),
    Huffman(&'a [u8]),
    /// Units (MCUs) in a restart interval; 0 for no restarts.
    RestartInterval(usize),
    Frame(&'a [u8]),
    /// Three colour components that are not YCbCr.
    OtherColours,
    /// The header of a scan, and the file from its coded data on.
    Scan {
        header: &'a [u8],
        coded: &'a [u8],
    },
}

/// Iterates over the segments of a file, up to its end or an unsupported segment.
pub(super) struct Segments<'a>(&'a [u8]);

/// Starts at the beginning of a file; `None` if it is not a JPEG.
pub(super) fn segments(jpeg: &[u8]) -> Option<Segments<'_>> {
    jpeg.strip_prefix(&[0xFF, 0xD8]).map(Segments)
}

impl<'a> Segments<'a> {
    /// Continues after the data of a scan.
    pub(super) fn continue_at(&mut self, rest: &'a [u8]) {
        self.0 = rest;
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        loop {
            let start = memchr(0xFF, self.0)?;
            let (&marker, rest) = self.0.get(start + 1..)?.split_first()?;
            if marker == 0xFF {
                self.0 = &self.0[start + 1..];
                continue;
            }
            let length = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
            let content = rest.get(2..length)?;
            let after = &rest[length..];
            self.0 = after;
            return Some(match marker {
                0xDB => Segment::Quantization(content),
                0xC4 => Segment::Huffman(content),
                0xDD => {
                    let interval = u16::from_be_bytes(content.try_into().ok()?);
                    Segment::RestartInterval(interval.into())
                }
                // Sequential, with Huffman codes.
                0xC0 | 0xC1 => Segment::Frame(content),
                0xDA => Segment::Scan {
                    header: content,
                    coded: after,
                },
                // The Adobe segment, with 1 for YCbCr.
                0xEE if content.starts_with(b"Adobe") && content.get(11) != Some(&1) => {
                    Segment::OtherColours
                }
                0xE0..=0xEF | 0xFE => continue,
                _ => return None,
            });
        }
    }
}

/// The frame header, and the pixels decoded so far.
pub(super) struct Frame {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) side: Side,
    pub(super) components: Vec<Component>,
}

/// A colour component: grey, Y, Cb or Cr.
pub(super) struct Component {
    pub(super) id: u8,
    /// Sampling factors: blocks in a unit (MCU), across and down.
    pub(super) sampling: (usize, usize),
    pub(super) quantization: usize,
    /// Blocks that cover the image, across and down.
    pub(super) blocks: (usize, usize),
    /// Blocks in a row of `samples`, for whole units.
    pub(super) stride: usize,
    /// Reduced side of a block.
    pub(super) side: Side,
    /// Decoded samples, in rows of whole units.
    pub(super) samples: Vec<u8>,
    pub(super) is_decoded: bool,
}

impl Frame {
    pub(super) fn read(content: &[u8]) -> Option<Self> {
        let (&[8, h1, h0, w1, w0, count], rest) = content.split_first_chunk()? else {
            return None;
        };
        let (width, height) = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
        if width == 0 || height == 0 || !matches!(count, 1 | 3) {
            return None;
        }
        let (descriptions, _) = rest.as_chunks::<3>();
        let components: Vec<_> = descriptions
            .iter()
            .take(count.into())
            .map(|&[id, sampling, quantization]| Component {
                id,
                sampling: (usize::from(sampling >> 4), usize::from(sampling & 15)),
                quantization: quantization.into(),
                blocks: (0, 0),
                stride: 0,
                side: Side::One,
                samples: Vec::new(),
                is_decoded: false,
            })
            .collect();
        let is_sound =
            |it: &Component| (1..=4).contains(&it.sampling.0) && (1..=4).contains(&it.sampling.1);
        // RGB files may have the letters as component ids.
        let is_rgb = components.iter().map(|it| it.id).eq(*b"RGB");
        if components.len() != usize::from(count) || !components.iter().all(is_sound) || is_rgb {
            return None;
        }
        Some(Self {
            width: width.into(),
            height: height.into(),
            side: Side::One,
            components,
        })
    }

    pub(super) fn is_within(&self, limits: &DecodeLimits) -> bool {
        let bytes = self.width * self.height * self.components.len();
        self.width.max(self.height) as u64 <= limits.max_side.into()
            && bytes as u64 <= limits.max_bytes
    }

    /// Allocates the samples for blocks of a reduced side.
    pub(super) fn reduce(&mut self, side: Side) {
        self.side = side;
        let (across, down) = self.sampling();
        let units = (
            self.width.div_ceil(8 * across),
            self.height.div_ceil(8 * down),
        );
        for component in &mut self.components {
            let (h, v) = component.sampling;
            component.blocks = (
                (self.width * h).div_ceil(8 * across),
                (self.height * v).div_ceil(8 * down),
            );
            component.stride = units.0 * h;
            // Components of half the resolution are decoded at twice the side if possible.
            let is_half = across >= 2 * h && down >= 2 * v;
            component.side = if is_half { side.twice() } else { side };
            let pixels = component.side.pixels();
            component.samples = vec![0; component.stride * units.1 * v * pixels * pixels];
        }
    }

    /// Returns the largest sampling factors, across and down.
    pub(super) fn sampling(&self) -> (usize, usize) {
        let largest = |factor: fn(&Component) -> usize| self.components.iter().map(factor).max();
        (
            largest(|it| it.sampling.0).unwrap_or(1),
            largest(|it| it.sampling.1).unwrap_or(1),
        )
    }

    pub(super) fn is_complete(&self) -> bool {
        self.components.iter().all(|it| it.is_decoded)
    }

    /// Returns the reduced image, up to its last whole or partial pixel.
    pub(super) fn reduced(&self) -> Option<Reduced> {
        let pixels = self.side.pixels();
        let (width, height) = (
            (self.width * pixels).div_ceil(8),
            (self.height * pixels).div_ceil(8),
        );
        let planes = self
            .components
            .iter()
            .map(|it| self.plane(it, width, height));
        let planes: Vec<_> = planes.collect::<Option<_>>()?;
        let image = match planes.as_slice() {
            [grey] => Radiograph::from_u8(width, height, 1, grey),
            [luma, blue, red] => {
                let colours = luma.iter().zip(blue).zip(red);
                let colours = colours.flat_map(|((&y, &cb), &cr)| ycbcr_to_rgb([y, cb, cr]));
                Radiograph::from_u8(width, height, 3, &colours.collect::<Vec<_>>())
            }
            _ => return None,
        };
        let exact = |length: usize| (length * pixels) as f64 / 8.0;
        Some(Reduced {
            image,
            original: (self.width, self.height),
            extent: (exact(self.width), exact(self.height)),
        })
    }

    /// Returns the samples of a component, repeated to the size of the largest one.
    fn plane(&self, component: &Component, width: usize, height: usize) -> Option<Vec<u8>> {
        let (across, down) = self.sampling();
        // Repetitions: pixels of a unit divided by the pixels of this component.
        let times = |unit: usize, blocks: usize| {
            let (all, own) = (unit * self.side.pixels(), blocks * component.side.pixels());
            all.is_multiple_of(own).then_some(all / own)
        };
        let times_across = times(across, component.sampling.0)?;
        let times_down = times(down, component.sampling.1)?;
        let stride = component.stride * component.side.pixels();
        let rows = component.samples.chunks_exact(stride);
        let rows = rows.flat_map(|row| repeat_n(row, times_down)).take(height);
        let repeated = |row: &[u8], plane: &mut Vec<u8>| match times_across {
            1 => plane.extend_from_slice(&row[..width]),
            times => {
                let samples = row.iter().flat_map(|&sample| repeat_n(sample, times));
                plane.extend(samples.take(width));
            }
        };
        let mut plane = Vec::with_capacity(width * height);
        rows.for_each(|row| repeated(row, &mut plane));
        Some(plane)
    }
}
