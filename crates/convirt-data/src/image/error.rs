//! Why there is no image.

use std::path::{Path, PathBuf};

use crate::files::{FileError, PassedOver, shown};

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A file or a folder cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),

    /// An image file has no bytes, or its image no pixels.
    #[error("{}: empty image", shown(path))]
    Empty {
        /// The image.
        path: PathBuf,
    },

    /// A JPEG has no end-of-image marker, or one before all of its image, or codes that are none.
    #[error(
        "{}: truncated jpeg: its data ends before its image does, or is damaged",
        shown(path)
    )]
    Truncated {
        /// The image.
        path: PathBuf,
    },

    /// An image is larger than the decoder may go.
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
        /// Largest file and decoded image allowed.
        max_bytes: u64,
    },

    /// The header of an image promises more pixels than the file can hold.
    #[error(
        "{}: {bytes} bytes cannot hold as many pixels as its header promises; a damaged or \
         truncated file",
        shown(path)
    )]
    Implausible {
        /// The image.
        path: PathBuf,
        /// Size of the file, or of what of it is compressed.
        bytes: u64,
    },

    /// A file is no JPEG, PNG or DICOM, or a damaged one.
    #[error("{}: cannot be decoded: {cause}", shown(path))]
    Decode {
        /// The image.
        path: PathBuf,
        /// Why.
        cause: image::ImageError,
    },

    /// A DICOM file is damaged, or of a kind that is not read.
    #[error("{}: cannot be decoded: {cause}", shown(path))]
    Dicom {
        /// The image.
        path: PathBuf,
        /// Why.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A file is damaged in a way that the decoder did not foresee.
    #[error("{}: the decoder gave up in a panic", shown(path))]
    DecoderPanicked {
        /// The image.
        path: PathBuf,
    },

    /// A folder holds no images.
    #[error(
        "{}: no images, JPEG, PNG or DICOM, there or below; {passed_over}",
        shown(folder)
    )]
    NoImages {
        /// The folder.
        folder: PathBuf,
        /// What there is instead.
        passed_over: PassedOver,
    },
}

impl ImageError {
    /// What it says behind the path of the image, for those who name the image themselves.
    pub(crate) fn reason(&self, path: &Path) -> String {
        let whole = self.to_string();
        let start = format!("{}: ", shown(path));
        whole.strip_prefix(&start).unwrap_or(&whole).to_owned()
    }
}
