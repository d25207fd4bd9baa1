//! Errors in reading and decoding images.

use std::path::{Path, PathBuf};

use crate::files::{FileError, PassedOver, shown};

/// An error in reading or decoding an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A file or a folder cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),

    /// An image file is empty, or its image has no pixels.
    #[error("{}: empty image", shown(path))]
    Empty {
        /// The image.
        path: PathBuf,
    },

    /// The data of a JPEG is truncated or has invalid codes.
    #[error(
        "{}: truncated jpeg: its data ends before its image does, or is damaged",
        shown(path)
    )]
    Truncated {
        /// The image.
        path: PathBuf,
    },

    /// An image exceeds the limits.
    #[error(
        "{}: larger than {max_side} pixels a side or {max_bytes} bytes; `max_image_side` and \
         `max_image_mb` set these limits",
        shown(path)
    )]
    TooLarge {
        /// The image.
        path: PathBuf,
        /// Longest side allowed, in pixels.
        max_side: u32,
        /// Largest file and decoded image allowed, in bytes.
        max_bytes: u64,
    },

    /// The header of an image declares more pixels than the file can contain.
    #[error(
        "{}: {bytes} bytes cannot hold as many pixels as its header promises; a damaged or \
         truncated file",
        shown(path)
    )]
    Implausible {
        /// The image.
        path: PathBuf,
        /// Size of the file or of its compressed data.
        bytes: u64,
    },

    /// A file is not a JPEG, PNG or DICOM file, or is damaged.
    #[error("{}: cannot be decoded: {cause}", shown(path))]
    Decode {
        /// The image.
        path: PathBuf,
        /// Why.
        cause: image::ImageError,
    },

    /// A DICOM file is damaged or not supported.
    #[error("{}: cannot be decoded: {cause}", shown(path))]
    Dicom {
        /// The image.
        path: PathBuf,
        /// Why.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The decoder panicked, most likely because of a damaged file.
    #[error("{}: the decoder gave up in a panic", shown(path))]
    DecoderPanicked {
        /// The image.
        path: PathBuf,
    },

    /// A folder contains no images.
    #[error(
        "{}: no images, JPEG, PNG or DICOM, there or below; {passed_over}",
        shown(folder)
    )]
    NoImages {
        /// The folder.
        folder: PathBuf,
        /// The other files.
        passed_over: PassedOver,
    },
}

impl ImageError {
    /// Returns the message without the path of the image, for callers that name the image.
    pub(crate) fn reason(&self, path: &Path) -> String {
        let whole = self.to_string();
        let start = format!("{}: ", shown(path));
        whole.strip_prefix(&start).unwrap_or(&whole).to_owned()
    }
}
