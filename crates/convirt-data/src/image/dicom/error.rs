//! Errors in decoding DICOM files.

use std::path::Path;

use super::tag::Tag;
use crate::image::error::ImageError;
use crate::image::limits::{DecodeLimits, too_large};

/// An error in decoding a DICOM file. No variant contains patient data.
#[derive(Debug, thiserror::Error)]
pub(super) enum DicomError {
    #[error("truncated DICOM: {needed} bytes needed where {found} are left")]
    Truncated { needed: usize, found: usize },

    #[error("malformed DICOM: {what}")]
    Malformed { what: &'static str },

    #[error("DICOM without {name}")]
    Missing { name: &'static str },

    #[error("DICOM transfer syntax {uid} is not supported")]
    TransferSyntax { uid: String },

    #[error("DICOM with {name} {value} is not supported")]
    Unsupported { name: &'static str, value: String },

    #[error("{name} {tag} is `{value}`: {fault}")]
    Value {
        name: &'static str,
        tag: Tag,
        value: String,
        fault: &'static str,
    },

    #[error("the compressed image is of {decoded:?} and the DICOM header of {described:?}")]
    Mismatch {
        /// Columns, rows and samples per pixel of the compressed image.
        decoded: [usize; 3],
        /// The same in the DICOM header.
        described: [usize; 3],
    },

    #[error("its JPEG cannot be decoded: {source}")]
    Jpeg { source: jpeg_decoder::Error },

    #[error("its JPEG 2000 cannot be decoded: {source}")]
    Jpeg2000 { source: hayro_jpeg2000::DecodeError },

    #[error("{bytes} bytes cannot hold as many pixels as the header promises")]
    Implausible { bytes: usize },

    #[error("0 rows or columns")]
    Empty,

    #[error("beyond the limits")]
    TooLarge,
}

impl DicomError {
    /// Makes an error for the invalid value of an element that contains no patient data.
    pub(super) fn value(name: &'static str, tag: Tag, value: &str, fault: &'static str) -> Self {
        // A damaged element may have any length and content.
        let is_plain = |c: &char| c.is_ascii_graphic() || *c == ' ';
        let value = value.chars().take(32);
        let value = value.map(|c| if is_plain(&c) { c } else { '?' }).collect();
        Self::Value {
            name,
            tag,
            value,
            fault,
        }
    }

    /// Whether more bytes of the same file may resolve the error.
    pub(super) fn needs_more_data(&self) -> bool {
        matches!(self, Self::Truncated { .. } | Self::Missing { .. })
    }

    /// Adds the path of the file.
    pub(super) fn into_image_error(self, path: &Path, limits: &DecodeLimits) -> ImageError {
        match self {
            Self::Empty => ImageError::Empty { path: path.into() },
            Self::TooLarge => too_large(path, limits),
            Self::Implausible { bytes } => ImageError::Implausible {
                path: path.into(),
                bytes: bytes as u64,
            },
            other => ImageError::Dicom {
                path: path.into(),
                cause: Box::new(other),
            },
        }
    }
}
