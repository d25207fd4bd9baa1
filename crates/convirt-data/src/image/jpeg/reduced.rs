//! JPEG decoded at a fraction of its size.
//!
//! Of an image that is scaled down anyway, the whole is never made. Each block of 8×8 pixels gives
//! 1, 2×2 or 4×4 of the lowest frequencies; the other coefficients are stepped over, several at a
//! time. That is what takes nearly all the time of the whole decoder, so that its own crate's
//! scaling gains nothing.
//!
//! Sequential Huffman files of 8 bits, grey or YCbCr, are read here, which is what cameras,
//! Pillow and MIMIC-CXR-JPG write. Of all others, and of damaged ones, nothing comes of it, and the
//! whole decoder has the say.

mod frame;
mod scan;
mod transform;

use crate::image::jpeg::huffman::{HuffmanTable, SteppingTable};
use crate::image::limits::DecodeLimits;
use crate::image::plausible;
use crate::image::radiograph::Radiograph;
use frame::{Frame, Segment, segments};
use scan::Scan;
use transform::Side;

/// An image whose pixels stand for several of the file's.
pub(crate) struct Reduced {
    pub image: Radiograph,
    /// Width and height of the file's image, in its pixels.
    pub original: (usize, usize),
    /// Width and height of the file's image in pixels of `image`, whose last column and row may
    /// reach beyond it.
    pub extent: (f64, f64),
}

/// What the segments before a scan have said.
#[derive(Default)]
struct Tables {
    quantization: [Option<[u16; 64]>; 4],
    dc: [Option<HuffmanTable>; 4],
    ac: [Option<SteppingTable>; 4],
    restart_interval: usize,
}

/// Decodes at the smallest size whose longer side is still twice `longer_side`; `None` when that
/// is the whole size, the file is of another kind or damaged, or the image exceeds `limits`.
///
/// Twice, since a filter that follows then sees what it would see of the whole image: Pillow's
/// `reducing_gap` of 2.
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
                let mut found = Frame::read(content)?;
                if !found.is_within(limits) {
                    return None;
                }
                let side = Side::for_image(found.width.max(found.height), longer_side)?;
                if !plausible::jpeg(found.width, found.height, jpeg.len()) {
                    return None;
                }
                found.reduce(side);
                frame = Some(found);
            }
            Segment::OtherColours => return None,
            Segment::Scan { header, coded } => {
                let frame = frame.as_mut()?;
                let end = Scan::read(header, frame, &tables)?.decode(coded, frame)?;
                if frame.is_complete() {
                    return frame.reduced();
                }
                rest.go_on_at(&coded[end..]);
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
                1 => *self.ac.get_mut(place)? = Some(SteppingTable::new(table)),
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

    /// Means of the whole image over squares of `side` pixels, of which those cut off at the right
    /// and at the bottom are left out.
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

    /// Largest and mean difference to the means of the whole image, in levels of 255.
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

    // One pixel a block is the block's mean to a rounding, here and there, of half a level each.
    #[test]
    fn an_eighth_is_the_mean_of_each_block() {
        for name in ["img_grey_111x130.jpg", "restarts_and_own_codes_111x130.jpg"] {
            let (largest, _) = differences(&file(name), 8, 8);
            assert!(largest <= 1.01, "{name}: {largest}");
        }
        // The whole decoder interpolates colours of half the resolution across blocks.
        let (largest, mean) = differences(&file("img_rgb_61x97.jpg"), 6, 8);
        assert!(largest <= 30.0 && mean <= 4.0, "{largest}, {mean}");
    }

    // Of 2×2 and 4×4 pixels a block the lowest frequencies are whole and the others gone, where a
    // mean dampens both a little. A sign or an order amiss gives tens of levels.
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
    fn what_is_not_reduced_is_left_to_the_whole_decoder() {
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
        // The frame's marker, made that of a progressive file.
        let at = jpeg.windows(2).position(|it| it == [0xFF, 0xC0]).unwrap();
        let mut progressive = jpeg.clone();
        progressive[at + 1] = 0xC2;
        assert!(reduced(&progressive, 8).is_none());
    }

    #[test]
    fn a_file_cut_off_anywhere_is_left_to_the_whole_decoder() {
        for name in ["img_grey_111x130.jpg", "img_rgb_61x97.jpg"] {
            let jpeg = file(name);
            for length in 0..jpeg.len() - 2 {
                assert!(reduced(&jpeg[..length], 6).is_none(), "{name}: {length}");
            }
        }
    }

    #[test]
    fn no_damage_is_a_panic() {
        for name in ["img_grey_111x130.jpg", "img_rgb_61x97.jpg"] {
            let jpeg = file(name);
            for position in (0..jpeg.len()).step_by(3) {
                for value in [0x00, 0x55, 0xFF] {
                    let mut damaged = jpeg.clone();
                    damaged[position] = value;
                    let longer_side = [6, 12, 24][position / 3 % 3];
                    if let Some(found) = reduced(&damaged, longer_side) {
                        let pixels = found.image.pixels();
                        assert!(pixels.iter().all(|it| (0.0..=1.0).contains(it)));
                    }
                }
            }
        }
    }
}
