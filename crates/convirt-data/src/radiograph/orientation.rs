//! How an image file asks to be turned before it is shown.

use memchr::memmem;

use super::Radiograph;
use crate::image_segments::segments;

/// The values of the element `Orientation` (Exif 3.0, section 4.6.5): which side of the picture
/// the first row and the first column of the file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Orientation {
    /// Whether rows are columns.
    is_transposed: bool,
    /// Whether the picture's left is at the right, after that.
    is_flipped_across: bool,
    /// Whether its top is at the bottom.
    is_flipped_down: bool,
}

impl Orientation {
    /// Looks up what a JPEG or PNG says, in its EXIF or else in its XMP, as Pillow's
    /// `exif_transpose` does; `None` where nothing is to be done.
    pub(crate) fn find(file: &[u8]) -> Option<Self> {
        let (mut exif, mut xmp) = (None, None);
        for segment in segments(file) {
            exif = exif.or(segment.exif().and_then(in_exif));
            xmp = xmp.or(segment.xmp().and_then(in_xmp));
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

    /// Returns width and height of the picture, by those of the file.
    pub(crate) fn turned_size(self, [width, height]: [usize; 2]) -> [usize; 2] {
        match self.is_transposed {
            true => [height, width],
            false => [width, height],
        }
    }

    /// What is done, in words.
    pub(crate) fn words(self) -> &'static str {
        match (self.is_transposed, self.is_flipped_across, self.is_flipped_down) {
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
    /// Returns the picture that the rows of a file are.
    pub(super) fn turned(self, orientation: Option<Orientation>) -> Self {
        let Some(orientation) = orientation else {
            return self;
        };
        let [width, height] = orientation.turned_size([self.width, self.height]);
        let flipped = |at: usize, length: usize, is_flipped: bool| match is_flipped {
            true => length - 1 - at,
            false => at,
        };
        let mut pixels = Vec::with_capacity(self.pixels.len());
        for plane in self.planes() {
            for y in 0..height {
                let y = flipped(y, height, orientation.is_flipped_down);
                let at = |x| {
                    let x = flipped(x, width, orientation.is_flipped_across);
                    match orientation.is_transposed {
                        true => plane[x * self.width + y],
                        false => plane[y * self.width + x],
                    }
                };
                pixels.extend((0..width).map(at));
            }
        }
        Self::from_planes(width, height, self.depth, pixels).with_stretch(self.stretch)
    }
}

/// Reads the orientation of the first directory (TIFF 6.0, section 2).
fn in_exif(exif: &[u8]) -> Option<u16> {
    const ORIENTATION: u16 = 0x0112;
    const SHORT: u16 = 3;
    let is_little = match exif.first_chunk()? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let word = |at: usize| {
        let bytes = *exif.get(at..)?.first_chunk()?;
        Some(match is_little {
            true => u16::from_le_bytes(bytes),
            false => u16::from_be_bytes(bytes),
        })
    };
    let offset = {
        let bytes = *exif.get(4..)?.first_chunk()?;
        match is_little {
            true => u32::from_le_bytes(bytes),
            false => u32::from_be_bytes(bytes),
        }
    };
    let start = usize::try_from(offset).ok()?;
    let count = usize::from(word(start)?);
    let mut entries = (0..count).map(|number| start + 2 + 12 * number);
    let entry = entries.find(|&at| word(at) == Some(ORIENTATION))?;
    (word(entry + 2)? == SHORT).then(|| word(entry + 8))?
}

/// Reads the orientation of an XMP packet, which is written as an attribute or as an element.
fn in_xmp(xmp: &[u8]) -> Option<u16> {
    const NAME: &[u8] = b"tiff:Orientation";
    memmem::find_iter(xmp, NAME).find_map(|at| {
        let digit = match &xmp[at + NAME.len()..] {
            [b'=', b'"', digit, ..] | [b'>', digit, ..] => digit,
            _ => return None,
        };
        digit.is_ascii_digit().then(|| u16::from(digit - b'0'))
    })
}
