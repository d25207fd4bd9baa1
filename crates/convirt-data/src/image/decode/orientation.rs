//! The EXIF orientation of an image file.

use crate::image::limits::DecodeLimits;
use memchr::memmem;

use crate::image::radiograph::Radiograph;
use crate::image::segments::segments;

/// The EXIF orientation (Exif 3.0, section 4.6.5): a transposition followed by flips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Orientation {
    /// Whether rows and columns are exchanged.
    is_transposed: bool,
    /// Whether the result is mirrored horizontally.
    is_flipped_across: bool,
    /// Whether the result is mirrored vertically.
    is_flipped_down: bool,
}

impl DecodeLimits {
    /// Returns the orientation of a file, unless `exif_orientation` is off.
    pub(crate) fn orientation(&self, file: &[u8]) -> Option<Orientation> {
        self.exif_orientation.then(|| Orientation::find(file))?
    }
}

impl Orientation {
    /// Reads the orientation from the EXIF or else the XMP of a JPEG or PNG, like Pillow's
    /// `exif_transpose`; `None` for the normal orientation.
    pub(crate) fn find(file: &[u8]) -> Option<Self> {
        let (mut exif, mut xmp) = (None, None);
        for segment in segments(file) {
            exif = exif.or(segment.exif().and_then(from_exif));
            xmp = xmp.or(segment.xmp().and_then(from_xmp));
        }
        Self::from_number(exif.or(xmp)?)
    }

    fn from_number(number: u16) -> Option<Self> {
        let [is_transposed, is_flipped_across, is_flipped_down] = match number {
            2 => [false, true, false],
            3 => [false, true, true],
            4 => [false, false, true],
            5 => [true, false, false],
            6 => [true, true, false],
            7 => [true, true, true],
            8 => [true, false, true],
            _ => return None,
        };
        Some(Self {
            is_transposed,
            is_flipped_across,
            is_flipped_down,
        })
    }

    /// Returns the size of the oriented image, from that of the stored image.
    pub(crate) fn oriented_size(self, [width, height]: [usize; 2]) -> [usize; 2] {
        if self.is_transposed {
            [height, width]
        } else {
            [width, height]
        }
    }

    /// Describes the orientation in words.
    pub(crate) fn words(self) -> &'static str {
        match (
            self.is_transposed,
            self.is_flipped_across,
            self.is_flipped_down,
        ) {
            (false, true, false) => "mirrored",
            (false, true, true) => "turned by 180°",
            (false, false, _) => "turned upside down and mirrored",
            (true, false, false) => "turned clockwise and mirrored",
            (true, true, false) => "turned clockwise",
            (true, true, true) => "turned anticlockwise and mirrored",
            (true, false, true) => "turned anticlockwise",
        }
    }
}

impl Radiograph {
    /// Applies an orientation.
    pub(crate) fn oriented(self, orientation: Option<Orientation>) -> Self {
        let Some(orientation) = orientation else {
            return self;
        };
        let [width, height] = orientation.oriented_size([self.width, self.height]);
        let flipped = |at: usize, length: usize, is_flipped: bool| {
            if is_flipped { length - 1 - at } else { at }
        };
        let mut pixels = Vec::with_capacity(self.pixels.len());
        for plane in self.planes() {
            for y in 0..height {
                let y = flipped(y, height, orientation.is_flipped_down);
                let at = |x| {
                    let x = flipped(x, width, orientation.is_flipped_across);
                    if orientation.is_transposed {
                        plane[x * self.width + y]
                    } else {
                        plane[y * self.width + x]
                    }
                };
                pixels.extend((0..width).map(at));
            }
        }
        Self::from_planes(width, height, self.depth, pixels).with_stretch(self.stretch)
    }
}

/// Reads the orientation from the first EXIF directory (TIFF 6.0, section 2): a short integer, or a
/// long one from some writers.
fn from_exif(exif: &[u8]) -> Option<u16> {
    const ORIENTATION: u16 = 0x0112;
    const SHORT: u16 = 3;
    const LONG: u16 = 4;
    let is_little = match exif.first_chunk()? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let word = |at: usize| {
        let bytes = *exif.get(at..)?.first_chunk()?;
        Some(if is_little {
            u16::from_le_bytes(bytes)
        } else {
            u16::from_be_bytes(bytes)
        })
    };
    let long = |at: usize| {
        let bytes = *exif.get(at..)?.first_chunk()?;
        Some(if is_little {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        })
    };
    let start = long(4)? as usize;
    let start = Some(start).filter(|&start| start < exif.len())?;
    let mut entries = (0..usize::from(word(start)?)).map(|number| start + 2 + 12 * number);
    let entry = entries.find(|&at| word(at) == Some(ORIENTATION))?;
    match word(entry + 2)? {
        SHORT => word(entry + 8),
        LONG => long(entry + 8)?.try_into().ok(),
        _ => None,
    }
}

/// Reads the orientation from an XMP packet, where it is an attribute or an element.
fn from_xmp(xmp: &[u8]) -> Option<u16> {
    const NAME: &[u8] = b"tiff:Orientation";
    memmem::find_iter(xmp, NAME).find_map(|at| {
        let digit = match &xmp[at + NAME.len()..] {
            [b'=', b'"', digit, ..] | [b'>', digit, ..] => digit,
            _ => return None,
        };
        digit.is_ascii_digit().then(|| u16::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::image::header;
    use crate::tests::fixtures::{data_file, levels_apart};

    const PATH: &str = "a.png";

    /// An EXIF segment with one entry.
    fn exif(is_little: bool, number: u16) -> Vec<u8> {
        let word = |it: u16| {
            if is_little {
                it.to_le_bytes()
            } else {
                it.to_be_bytes()
            }
        };
        let long = |it: u32| {
            if is_little {
                it.to_le_bytes()
            } else {
                it.to_be_bytes()
            }
        };
        let mut exif = if is_little {
            b"II*\0".to_vec()
        } else {
            b"MM\0*".to_vec()
        };
        exif.extend(long(8));
        exif.extend([word(1), word(0x0112), word(3)].concat());
        exif.extend(long(1));
        exif.extend([word(number), [0, 0], [0, 0], [0, 0]].concat());
        exif
    }

    /// A PNG with a chunk after its header.
    fn png(image: &Radiograph, name: &[u8], content: &[u8]) -> Vec<u8> {
        const HEADER: usize = 8 + 25;
        let named = [name, content].concat();
        let mut crc = flate2::Crc::new();
        crc.update(&named);
        let length = (content.len() as u32).to_be_bytes();
        let chunk = [&length, &named[..], &crc.sum().to_be_bytes()].concat();
        let png = image.to_png().unwrap();
        [&png[..HEADER], &chunk, &png[HEADER..]].concat()
    }

    fn jpeg(name: &str, exif: &[u8]) -> Vec<u8> {
        let jpeg = fs::read(data_file(name)).unwrap();
        let content = [b"Exif\0\0", exif].concat();
        let length = (content.len() as u16 + 2).to_be_bytes();
        [&jpeg[..2], &[0xFF, 0xE1], &length, &content, &jpeg[2..]].concat()
    }

    fn decoded(file: &[u8]) -> Radiograph {
        Radiograph::decode(file, Path::new(PATH), &DecodeLimits::default()).unwrap()
    }

    fn as_stored() -> DecodeLimits {
        DecodeLimits {
            exif_orientation: false,
            ..DecodeLimits::default()
        }
    }

    // Results of `PIL.ImageOps.exif_transpose` for the rows 1 2 3 and 4 5 6.
    #[test]
    fn orientations_agree_with_pillow() {
        let image = Radiograph::from_u8(3, 2, 1, &[1, 2, 3, 4, 5, 6]);
        for (number, width, expected) in [
            (1, 3, [1, 2, 3, 4, 5, 6]),
            (2, 3, [3, 2, 1, 6, 5, 4]),
            (3, 3, [6, 5, 4, 3, 2, 1]),
            (4, 3, [4, 5, 6, 1, 2, 3]),
            (5, 2, [1, 4, 2, 5, 3, 6]),
            (6, 2, [4, 1, 5, 2, 6, 3]),
            (7, 2, [6, 3, 5, 2, 4, 1]),
            (8, 2, [3, 6, 2, 5, 1, 4]),
            (9, 3, [1, 2, 3, 4, 5, 6]),
        ] {
            let expected = Radiograph::from_u8(width, 6 / width, 1, &expected);
            for is_little in [true, false] {
                let file = png(&image, b"eXIf", &exif(is_little, number));
                assert_eq!(decoded(&file), expected, "{number}");
                let stored = Radiograph::decode(&file, Path::new(PATH), &as_stored());
                assert_eq!(stored.unwrap(), image, "{number}");
            }
        }
    }

    #[test]
    fn colours_are_oriented_plane_by_plane() {
        let image = Radiograph::from_u8(2, 1, 3, &[255, 0, 0, 0, 255, 0]);
        let turned = decoded(&png(&image, b"eXIf", &exif(true, 6)));
        let expected = Radiograph::from_u8(1, 2, 3, &[255, 0, 0, 0, 255, 0]);
        assert_eq!(turned, expected);
    }

    #[test]
    fn a_jpeg_is_oriented_at_any_size_and_in_its_header() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.jpg");
        for name in ["img_grey_111x130.jpg", "progressive_grey_41x33.jpg"] {
            let file = jpeg(name, &exif(false, 6));
            let limits = DecodeLimits::default();
            fs::write(&path, &file).unwrap();
            for longer_side in [8, 1000] {
                let within = |limits: &DecodeLimits| {
                    Radiograph::decode_within(&file, Path::new(PATH), longer_side, limits).unwrap()
                };
                let (turned, stored) = (within(&limits), within(&as_stored()));
                assert_eq!(turned.width(), stored.height());
                // Clockwise: the bottom becomes the left.
                let bottom = (stored.height() - 1) * stored.width();
                assert_eq!(turned.pixels()[0], stored.pixels()[bottom]);
                if longer_side == 1000 {
                    let size = [turned.width(), turned.height()];
                    assert_eq!(header::probe_image(&path, &limits).unwrap().size, size);
                    assert!(levels_apart(decoded(&file).pixels(), turned.pixels()) < 1e-6);
                }
            }
        }
    }

    #[test]
    fn xmp_is_read_if_exif_has_no_orientation() {
        let image = Radiograph::from_u8(2, 1, 1, &[1, 2]);
        for text in [
            "<x tiff:Orientation=\"3\"/>",
            "<tiff:Orientation>3</tiff:Orientation>",
        ] {
            let content = [b"XML:com.adobe.xmp\0\0\0\0\0", text.as_bytes()].concat();
            let turned = decoded(&png(&image, b"iTXt", &content));
            assert_eq!(turned, Radiograph::from_u8(2, 1, 1, &[2, 1]), "{text}");
        }
    }

    #[test]
    fn damaged_exif_is_ignored() {
        let image = Radiograph::from_u8(2, 1, 1, &[1, 2]);
        let whole = exif(true, 3);
        for length in 0..20 {
            assert_eq!(decoded(&png(&image, b"eXIf", &whole[..length])), image);
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] = 0xFF;
            decoded(&png(&image, b"eXIf", &damaged));
        }
    }
}
