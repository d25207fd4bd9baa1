//! The format of the pixels of a DICOM file (PS3.3, section C.7.6.3).

use super::data_set::DataSet;
use super::error::DicomError;
use super::syntax::Compression;
use super::tag::{PIXEL_DATA, Tag};
use crate::image::limits::DecodeLimits;

const SAMPLES_PER_PIXEL: Tag = Tag(0x0028, 0x0002);
const PHOTOMETRIC_INTERPRETATION: Tag = Tag(0x0028, 0x0004);
const PLANAR_CONFIGURATION: Tag = Tag(0x0028, 0x0006);
const NUMBER_OF_FRAMES: Tag = Tag(0x0028, 0x0008);
const ROWS: Tag = Tag(0x0028, 0x0010);
const COLUMNS: Tag = Tag(0x0028, 0x0011);
const BITS_ALLOCATED: Tag = Tag(0x0028, 0x0100);
const BITS_STORED: Tag = Tag(0x0028, 0x0101);
const HIGH_BIT: Tag = Tag(0x0028, 0x0102);
const PIXEL_REPRESENTATION: Tag = Tag(0x0028, 0x0103);

/// The photometric interpretation: the meaning of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Photometric {
    /// The smallest value is white.
    Monochrome1,
    /// The smallest value is black.
    Monochrome2,
    Rgb,
    /// YCbCr without subsampling.
    Ybr,
}

/// The format of the pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Description {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) photometric: Photometric,
    /// 1 or 3.
    pub(super) samples_per_pixel: usize,
    /// Whether colours are stored plane by plane instead of pixel by pixel.
    pub(super) is_planar: bool,
    /// 1 or 2.
    pub(super) bytes_per_sample: usize,
    /// Bits of a stored value, 1 to 16.
    pub(super) bits: u32,
    /// Unused bits below a stored value.
    pub(super) shift: u32,
    pub(super) is_signed: bool,
}

impl Description {
    /// Checks the size in a codestream before memory is allocated; the limits only apply to the
    /// header.
    pub(super) fn check_size(&self, decoded: [usize; 3]) -> Result<(), DicomError> {
        let described = [self.columns, self.rows, self.samples_per_pixel];
        if decoded == described {
            Ok(())
        } else {
            Err(DicomError::Mismatch { decoded, described })
        }
    }

    pub(super) fn read(
        data: &DataSet<'_>,
        compression: Compression,
        limits: &DecodeLimits,
    ) -> Result<Self, DicomError> {
        if data.bytes(PIXEL_DATA).is_none() {
            return Err(DicomError::Missing { name: "pixel data" });
        }
        let needed = |tag, name| data.integer(tag).ok_or(DicomError::Missing { name });
        let rows = needed(ROWS, "rows")?;
        let columns = needed(COLUMNS, "columns")?;
        if let Some(frames) = data.text(NUMBER_OF_FRAMES)
            && !matches!(frames.parse(), Ok(0 | 1))
        {
            return Err(unsupported("number of frames", frames));
        }
        let allocated = needed(BITS_ALLOCATED, "bits allocated")?;
        if !matches!(allocated, 8 | 16) {
            return Err(unsupported("bits allocated", allocated));
        }
        let stored = needed(BITS_STORED, "bits stored")?;
        let high_bit = data.integer(HIGH_BIT).unwrap_or(stored.wrapping_sub(1));
        if stored == 0 || high_bit >= allocated || high_bit + 1 < stored {
            let value = format!("{stored}, high bit {high_bit}");
            return Err(unsupported("bits stored", value));
        }
        let samples_per_pixel = data.integer(SAMPLES_PER_PIXEL).unwrap_or(1);
        let representation = needed(PIXEL_REPRESENTATION, "pixel representation")?;
        if representation > 1 {
            return Err(unsupported("pixel representation", representation));
        }
        let description = Self {
            rows: rows.into(),
            columns: columns.into(),
            photometric: photometric(data, compression, samples_per_pixel)?,
            samples_per_pixel: samples_per_pixel.into(),
            is_planar: data.integer(PLANAR_CONFIGURATION) == Some(1),
            bytes_per_sample: usize::from(allocated / 8),
            bits: stored.into(),
            shift: (high_bit + 1 - stored).into(),
            is_signed: representation == 1,
        };
        if rows == 0 || columns == 0 {
            return Err(DicomError::Empty);
        }
        if u32::from(rows.max(columns)) > limits.max_side
            || description.bytes() as u64 > limits.max_bytes
        {
            return Err(DicomError::TooLarge);
        }
        Ok(description)
    }

    /// Returns the number of pixels.
    pub(super) fn area(&self) -> usize {
        self.rows * self.columns
    }

    /// Returns the number of samples.
    pub(super) fn samples(&self) -> usize {
        self.area() * self.samples_per_pixel
    }

    /// Returns the number of bytes, uncompressed.
    pub(super) fn bytes(&self) -> usize {
        self.samples() * self.bytes_per_sample
    }

    /// Extracts the stored value from a sample of the file, as unsigned bits.
    pub(super) fn level(&self, sample: u16) -> u16 {
        (sample >> self.shift) & (u16::MAX >> (u16::BITS - self.bits))
    }

    /// Returns the stored value of a [`level`](Self::level), with its sign.
    pub(super) fn value(&self, level: u16) -> f64 {
        let sign_bit = 1 << (self.bits - 1);
        let level = i32::from(level);
        let is_negative = self.is_signed && level & sign_bit != 0;
        f64::from(if is_negative {
            level - 2 * sign_bit
        } else {
            level
        })
    }
}

fn photometric(
    data: &DataSet<'_>,
    compression: Compression,
    samples_per_pixel: u16,
) -> Result<Photometric, DicomError> {
    let name = "photometric interpretation";
    let text = data.text(PHOTOMETRIC_INTERPRETATION);
    let text = text.ok_or(DicomError::Missing { name })?;
    let photometric = match text {
        "MONOCHROME1" => Photometric::Monochrome1,
        "MONOCHROME2" => Photometric::Monochrome2,
        "RGB" => Photometric::Rgb,
        "YBR_FULL" => Photometric::Ybr,
        // The decoder undoes the subsampling.
        "YBR_FULL_422" if matches!(compression, Compression::Jpeg | Compression::Jpeg2000) => {
            Photometric::Ybr
        }
        // The decoder undoes these transforms.
        "YBR_RCT" | "YBR_ICT" if compression == Compression::Jpeg2000 => Photometric::Rgb,
        _ => return Err(unsupported(name, text)),
    };
    let is_grey = matches!(
        photometric,
        Photometric::Monochrome1 | Photometric::Monochrome2
    );
    if samples_per_pixel != if is_grey { 1 } else { 3 } {
        return Err(unsupported("samples per pixel", samples_per_pixel));
    }
    Ok(photometric)
}

fn unsupported(name: &'static str, value: impl ToString) -> DicomError {
    // A damaged element may have any length.
    let value = value.to_string().chars().take(32).collect();
    DicomError::Unsupported { name, value }
}
