//! JPEG decoding at reduced size.
//!
//! For an image that will be scaled down, the full image is not needed. Each block of 8×8 pixels
//! gives 1, 2×2 or 4×4 pixels from its lowest frequencies, and the other coefficients are skipped,
//! several at a time. Reading coefficients takes most of the time of the full decoder, so the
//! scaling of the crate `jpeg-decoder` would gain nothing.
//!
//! Only sequential Huffman files of 8 bits, grey or YCbCr, are supported, as written by cameras,
//! Pillow and MIMIC-CXR-JPG. All others, and damaged files, are left to the full decoder.

mod frame;
mod scan;
mod transform;

use crate::image::jpeg::huffman::{HuffmanTable, SkipTable};
use crate::image::limits::DecodeLimits;
use crate::image::plausible;
use crate::image::radiograph::Radiograph;
use frame::{Frame, Segment, segments};
use scan::Scan;
use transform::Side;

/// An image decoded at reduced size.
pub(crate) struct Reduced {
    pub image: Radiograph,
    /// Width and height of the full image, in pixels.
    pub original: (usize, usize),
    /// Width and height of the full image in pixels of `image`; the last column and row of `image`
    /// may exceed it.
    pub extent: (f64, f64),
}

/// The tables defined by the segments before a scan.
#[derive(Default)]
struct Tables {
    quantization: [Option<[u16; 64]>; 4],
    dc: [Option<HuffmanTable>; 4],
    ac: [Option<SkipTable>; 4],
    restart_interval: usize,
}

/// Decodes at the smallest size whose longer side is at least twice `longer_side`.
///
/// Returns `None` if that is the full size, if the file is unsupported or damaged, or if the image
/// exceeds `limits`. With a factor of two, the subsequent filter gives nearly the same result as
/// for the full image, like Pillow's `reducing_gap` of 2.
pub(crate) fn decode(jpeg: &[u8], longer_side: usize, limits: &DecodeLimits) -> Option<Reduced> {
    let mut tables = Tables::default();
    let mut frame: Option<Frame> = None;
    let mut rest = segments(jpeg)?;
    loop {
        match rest.next()? {
            Segment::Quantization(content) => tables.read_quantization(content)?,
            Segment::Huffman(content) => tables.read_huffman(content)?,
            Segment::RestartInterval(interval) => tables.restart_interval = interval,
            Segment::Frame(content) if frame.is_none() => {
                let mut new_frame = Frame::read(content)?;
                if !new_frame.is_within(limits) {
                    return None;
                }
                let side = Side::for_image(new_frame.width.max(new_frame.height), longer_side)?;
                if !plausible::jpeg(new_frame.width, new_frame.height, jpeg.len()) {
                    return None;
                }
                new_frame.reduce(side);
                frame = Some(new_frame);
            }
            Segment::OtherColours => return None,
            Segment::Scan { header, coded } => {
                let frame = frame.as_mut()?;
                let end = Scan::read(header, frame, &tables)?.decode(coded, frame)?;
                if frame.is_complete() {
                    return frame.reduced();
                }
                rest.continue_at(&coded[end..]);
            }
            Segment::Frame(_) => return None,
        }
    }
}

impl Tables {
    fn read_quantization(&mut self, mut content: &[u8]) -> Option<()> {
        while let [head, rest @ ..] = content {
            let wide = head >> 4 != 0;
            let bytes = if wide { 128 } else { 64 };
            let (values, after) = rest.split_at_checked(bytes)?;
            let mut table = [0; 64];
            for (i, entry) in table.iter_mut().enumerate() {
                *entry = if wide {
                    u16::from_be_bytes([values[2 * i], values[2 * i + 1]])
                } else {
                    values[i].into()
                };
            }
            *self.quantization.get_mut(usize::from(head & 15))? = Some(table);
            content = after;
        }
        Some(())
    }

    fn read_huffman(&mut self, mut content: &[u8]) -> Option<()> {
        while let [head, rest @ ..] = content {
            let (lengths, rest) = rest.split_first_chunk::<16>()?;
            let symbols = lengths.iter().copied().map(usize::from).sum();
            let (symbols, after) = rest.split_at_checked(symbols)?;
            let table = HuffmanTable::new(lengths, symbols)?;
            let place = usize::from(head & 15);
            match head >> 4 {
                0 => *self.dc.get_mut(place)? = Some(table),
                1 => *self.ac.get_mut(place)? = Some(SkipTable::new(table)),
                _ => return None,
            }
            content = after;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::tests::fixtures::data_file;

    fn file(name: &str) -> Vec<u8> {
        std::fs::read(data_file(name)).unwrap()
    }

    fn reduced(jpeg: &[u8], longer_side: usize) -> Option<Reduced> {
        decode(jpeg, longer_side, &DecodeLimits::default())
    }

    /// Means of the full image over squares of `side` pixels, without the incomplete ones at the
    /// right and the bottom.
    fn means(whole: &Radiograph, side: usize) -> Vec<Vec<Vec<f32>>> {
        let (columns, rows) = (whole.width() / side, whole.height() / side);
        let mean = |plane: &[f32], row: usize, column: usize| {
            let pixels = (0..side * side).map(|i| {
                let (y, x) = (row * side + i / side, column * side + i % side);
                plane[y * whole.width() + x]
            });
            pixels.sum::<f32>() / (side * side) as f32
        };
        let rows_of =
            |plane| (0..rows).map(move |row| (0..columns).map(|it| mean(plane, row, it)).collect());
        whole
            .planes()
            .map(|plane| rows_of(plane).collect())
            .collect()
    }

    /// Largest and mean difference to the means of the full image, in levels of 255.
    fn differences(jpeg: &[u8], longer_side: usize, side: usize) -> (f32, f32) {
        let ours = reduced(jpeg, longer_side).unwrap().image;
        let whole = Radiograph::decode(jpeg, Path::new("a.jpg"), &DecodeLimits::default()).unwrap();
        assert_eq!(ours.channels(), whole.channels());
        assert_eq!(ours.width(), whole.width().div_ceil(side));
        assert_eq!(ours.height(), whole.height().div_ceil(side));
        let mut apart = Vec::new();
        for (plane, expected) in ours.planes().zip(means(&whole, side)) {
            for (row, expected) in plane.chunks(ours.width()).zip(expected) {
                let pairs = row.iter().zip(expected);
                apart.extend(pairs.map(|(one, other)| (one - other).abs() * 255.0));
            }
        }
        let largest = apart.iter().copied().fold(0.0, f32::max);
        (largest, apart.iter().sum::<f32>() / apart.len() as f32)
    }

    // One pixel per block is the mean of the block; both are rounded by up to half a level.
    #[test]
    fn an_eighth_is_the_mean_of_each_block() {
        for name in ["img_grey_111x130.jpg", "restarts_and_own_codes_111x130.jpg"] {
            let (largest, _) = differences(&file(name), 8, 8);
            assert!(largest <= 1.01, "{name}: {largest}");
        }
        // The full decoder interpolates colours of half the resolution across blocks.
        let (largest, mean) = differences(&file("img_rgb_61x97.jpg"), 6, 8);
        assert!(largest <= 30.0 && mean <= 4.0, "{largest}, {mean}");
    }

    // 2×2 and 4×4 pixels per block keep the lowest frequencies and drop the others; a mean
    // attenuates both a little. A wrong sign or order gives differences of tens of levels.
    #[test]
    fn a_quarter_and_a_half_are_near_the_means() {
        for name in ["img_grey_111x130.jpg", "restarts_and_own_codes_111x130.jpg"] {
            for (longer_side, side, most, on_average) in [(16, 4, 15.0, 3.0), (32, 2, 35.0, 6.0)] {
                let (largest, mean) = differences(&file(name), longer_side, side);
                assert!(
                    largest <= most && mean <= on_average,
                    "{name} {side}: {largest}, {mean}"
                );
            }
        }
    }

    #[test]
    fn unsupported_files_are_left_to_the_full_decoder() {
        let jpeg = file("img_grey_111x130.jpg");
        assert!(
            reduced(&jpeg, 33).is_none(),
            "66 of 130 is more than a half"
        );
        assert!(reduced(&file("img_grey_111x130.png"), 8).is_none());
        let limits = DecodeLimits {
            max_side: 129,
            ..DecodeLimits::default()
        };
        assert!(decode(&jpeg, 8, &limits).is_none());
        let limits = DecodeLimits {
            max_bytes: 111 * 130 - 1,
            ..DecodeLimits::default()
        };
        assert!(decode(&jpeg, 8, &limits).is_none());
        // The frame's marker is changed to that of a progressive file.
        let at = jpeg.windows(2).position(|it| it == [0xFF, 0xC0]).unwrap();
        let mut progressive = jpeg.clone();
        progressive[at + 1] = 0xC2;
        assert!(reduced(&progressive, 8).is_none());
    }

    #[test]
    fn a_file_truncated_anywhere_is_left_to_the_full_decoder() {
        for name in ["img_grey_111x130.jpg", "img_rgb_61x97.jpg"] {
            let jpeg = file(name);
            for length in 0..jpeg.len() - 2 {
                assert!(reduced(&jpeg[..length], 6).is_none(), "{name}: {length}");
            }
        }
    }

    #[test]
    fn damage_causes_no_panic() {
        for name in ["img_grey_111x130.jpg", "img_rgb_61x97.jpg"] {
            let jpeg = file(name);
            for position in (0..jpeg.len()).step_by(3) {
                for value in [0x00, 0x55, 0xFF] {
                    let mut damaged = jpeg.clone();
                    damaged[position] = value;
                    let longer_side = [6, 12, 24][position / 3 % 3];
                    if let Some(image) = reduced(&damaged, longer_side) {
                        let pixels = image.image.pixels();
                        assert!(pixels.iter().all(|it| (0.0..=1.0).contains(it)));
                    }
                }
            }
        }
    }
}
