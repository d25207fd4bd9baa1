//! How much a file may ask for.

use std::ops::RangeInclusive;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::image::error::ImageError;

/// Bytes that hold the header of nearly every image.
pub(crate) const HEAD: u64 = 64 * 1024;

/// How image files are decoded: bounds on what a file may ask for, so that a damaged header does
/// not take all memory, and whether it is turned as it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecodeLimits {
    /// Longest width and height, in pixels.
    pub max_side: u32,
    /// Largest file, and largest decoded image in the file's own depth, in bytes.
    pub max_bytes: u64,
    /// Whether a JPEG or PNG is turned as its EXIF asks, as photographs of films do.
    pub exif_orientation: bool,
}

impl DecodeLimits {
    /// Range of the longest side, in pixels.
    pub const SIDES: RangeInclusive<u32> = 32..=65_535;
    /// Range of the largest file, in MiB.
    pub const MEBIBYTES: RangeInclusive<u32> = 1..=65_536;
}

impl Default for DecodeLimits {
    /// 16,384 pixels a side and 1 GiB: four times the side of the largest detectors.
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
