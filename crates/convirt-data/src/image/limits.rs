//! Limits on the size of images.

use std::ops::RangeInclusive;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::image::error::ImageError;

/// Bytes that contain the header of nearly every image.
pub(crate) const HEAD: u64 = 64 * 1024;

/// How image files are decoded: limits that bound the memory for a damaged header, and whether the
/// EXIF orientation is applied.
///
/// # Examples
///
/// ```
/// use convirt_data::{DecodeLimits, ImageError, Radiograph};
///
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("chest.png");
/// image::GrayImage::new(100, 40).save(&path).unwrap();
/// let limits = DecodeLimits { max_side: 64, ..DecodeLimits::default() };
/// let error = Radiograph::read(&path, &limits).unwrap_err();
/// assert!(matches!(error, ImageError::TooLarge { max_side: 64, .. }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecodeLimits {
    /// Longest width and height, in pixels.
    pub max_side: u32,
    /// Largest file, and largest decoded image in the file's own depth, in bytes.
    pub max_bytes: u64,
    /// Whether JPEG and PNG files are rotated according to their EXIF orientation, which
    /// photographs of films often have.
    pub exif_orientation: bool,
}

impl DecodeLimits {
    /// Range of the longest side, in pixels.
    pub const SIDES: RangeInclusive<u32> = 32..=65_535;
    /// Range of the largest file, in MiB.
    pub const MEBIBYTES: RangeInclusive<u32> = 1..=65_536;
}

impl Default for DecodeLimits {
    /// 16,384 pixels a side, four times that of the largest detectors, and 1 GiB.
    fn default() -> Self {
        Self {
            max_side: 16_384,
            max_bytes: 1 << 30,
            exif_orientation: true,
        }
    }
}

pub(crate) fn too_large(path: &Path, limits: &DecodeLimits) -> ImageError {
    ImageError::TooLarge {
        path: path.into(),
        max_side: limits.max_side,
        max_bytes: limits.max_bytes,
    }
}
