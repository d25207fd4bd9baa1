//! The marker segments of a JPEG (ITU-T T.81, annex B).

use std::ops::ControlFlow;

use memchr::memchr_iter;

const TEMPORARY: u8 = 0x01;
pub(super) const HUFFMAN_TABLES: u8 = 0xC4;
const START_OF_IMAGE: u8 = 0xD8;
pub(super) const END_OF_IMAGE: u8 = 0xD9;
pub(super) const SCAN: u8 = 0xDA;
pub(super) const RESTART_INTERVAL: u8 = 0xDD;
const FIRST_APPLICATION: u8 = 0xE0;
const ADOBE: u8 = 0xEE;

/// Whether a JPEG has its end-of-image marker.
///
/// It follows the segments instead of reading the last two bytes: files with data after the image
/// are common, and a thumbnail in the header has an end marker of its own.
pub(crate) fn reaches_end_of_image(jpeg: &[u8]) -> bool {
    let is_end = |marker, _: &[u8]| match marker {
        END_OF_IMAGE => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    visit_segments(jpeg, is_end).is_some()
}

/// The colour space of a JPEG with three components, declared by the file itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colours {
    Rgb,
    YCbCr,
}

/// Finds the colour space of three components: by their ids, then by a JFIF segment (as in
/// pydicom), then by an Adobe segment (as in libjpeg); `None` if there is none of them.
pub(crate) fn colours(jpeg: &[u8]) -> Option<Colours> {
    let (mut is_jfif, mut adobe) = (false, None);
    let ids = visit_segments(jpeg, |marker, content| {
        match (marker, content) {
            (FIRST_APPLICATION, [b'J', b'F', b'I', b'F', 0, ..]) => is_jfif = true,
            (
                ADOBE,
                [
                    b'A',
                    b'd',
                    b'o',
                    b'b',
                    b'e',
                    _,
                    _,
                    _,
                    _,
                    _,
                    _,
                    transform,
                    ..,
                ],
            ) => {
                adobe = Some(*transform);
            }
            (0xC0..=0xC3, &[_, _, _, _, _, 3, a, _, _, b, _, _, c, ..]) => {
                return ControlFlow::Break([a, b, c]);
            }
            (SCAN | END_OF_IMAGE, _) => return ControlFlow::Break([0; 3]),
            _ => {}
        }
        ControlFlow::Continue(())
    });
    match (ids, adobe) {
        (Some([b'R', b'G', b'B'] | [b'r', b'g', b'b']), _) => Some(Colours::Rgb),
        _ if is_jfif => Some(Colours::YCbCr),
        (_, Some(0)) => Some(Colours::Rgb),
        (_, Some(_)) => Some(Colours::YCbCr),
        (_, None) => None,
    }
}

/// Visits the segments of a JPEG, with marker and content, until `visit` returns a value.
fn visit_segments<T>(jpeg: &[u8], mut visit: impl FnMut(u8, &[u8]) -> ControlFlow<T>) -> Option<T> {
    let mut rest = jpeg;
    loop {
        let (marker, content, after) = next_segment(rest)?;
        if let ControlFlow::Break(result) = visit(marker, content) {
            return Some(result);
        }
        rest = after;
    }
}

/// Finds the next marker; returns it, the content of its segment and the rest of the file.
pub(super) fn next_segment(rest: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    // In a scan, FF 00 is a byte FF of the data and FF D0–D7 a restart; FF FF is padding.
    let is_marker =
        |&at: &usize| !matches!(rest.get(at + 1), None | Some(0x00 | 0xD0..=0xD7 | 0xFF));
    let start = memchr_iter(0xFF, rest).find(is_marker)?;
    let (marker, after) = (rest[start + 1], &rest[start + 2..]);
    if matches!(marker, START_OF_IMAGE | END_OF_IMAGE | TEMPORARY) {
        return Some((marker, &[], after));
    }
    let length = usize::from(u16::from_be_bytes(*after.first_chunk()?));
    let (segment, after) = after.split_at_checked(length)?;
    Some((marker, segment.get(2..).unwrap_or_default(), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_colour_space_is_that_of_ids_then_jfif_then_adobe() {
        use Colours::{Rgb, YCbCr};
        let jpeg = |jfif: bool, adobe: Option<u8>, ids: [u8; 3]| {
            let mut jpeg = vec![0xFF, START_OF_IMAGE];
            if jfif {
                jpeg.extend(b"\xFF\xE0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
            }
            if let Some(transform) = adobe {
                jpeg.extend(b"\xFF\xEE\0\x0EAdobe\0\x64\0\0\0\0");
                jpeg.push(transform);
            }
            let [a, b, c] = ids;
            let frame = [0, 17, 8, 0, 8, 0, 8, 3, a, 0x11, 0, b, 0x11, 0, c, 0x11, 0];
            [&jpeg[..], &[0xFF, 0xC0], &frame].concat()
        };
        for (file, expected) in [
            (jpeg(false, None, [1, 2, 3]), None),
            (jpeg(false, None, *b"RGB"), Some(Rgb)),
            (jpeg(true, None, [1, 2, 3]), Some(YCbCr)),
            (jpeg(false, Some(0), [1, 2, 3]), Some(Rgb)),
            (jpeg(false, Some(1), [1, 2, 3]), Some(YCbCr)),
            (jpeg(true, Some(0), [1, 2, 3]), Some(YCbCr)),
        ] {
            assert_eq!(colours(&file), expected);
        }
    }
}
