//! The preamble and group 2 of a DICOM file: encoding of elements and compression of pixels.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::DeflateDecoder;

use super::data_set::{Encoding, Reader, is_vr};
use super::error::DicomError;
use super::tag::Tag;

const MAGIC: &[u8] = b"DICM";
const PREAMBLE: usize = 128;
const TRANSFER_SYNTAX: Tag = Tag(0x0002, 0x0010);

/// Compression of the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    RunLength,
    /// Baseline, progressive or lossless.
    Jpeg,
    JpegLs,
    Jpeg2000,
}

/// An opened file: its encoding and its elements.
pub(super) struct Opened<'a> {
    pub(super) encoding: Encoding,
    pub(super) compression: Compression,
    pub(super) elements: Cow<'a, [u8]>,
}

/// Whether a file is DICOM: it has the magic bytes or, if the preamble is missing, begins with an
/// element of group 2 or 8.
pub(crate) fn is_dicom(bytes: &[u8]) -> bool {
    let is_marked = bytes
        .get(PREAMBLE..)
        .is_some_and(|it| it.starts_with(MAGIC));
    let is_low = |group, element| element <= if group == 2 { 0x10 } else { 0x60 };
    is_marked
        || match *bytes {
            [group @ (2 | 8), 0, element, 0, a, b, _, d, ..] => {
                is_low(group, element) && (is_vr(&[a, b]) || d == 0)
            }
            // Big endian, which always has VRs.
            [0, group @ 8, 0, element, a, b, ..] => is_low(group, element) && is_vr(&[a, b]),
            _ => false,
        }
}

/// Opens a file; deflated elements are inflated up to `max_bytes`.
pub(super) fn open(file: &[u8], max_bytes: u64) -> Result<Opened<'_>, DicomError> {
    let marked = file
        .get(PREAMBLE..)
        .and_then(|rest| rest.strip_prefix(MAGIC));
    let (uid, elements) = transfer_syntax(marked.unwrap_or(file))?;
    let (encoding, compression) = match &*uid {
        "1.2.840.10008.1.2" => (Encoding::IMPLICIT, Compression::None),
        // Files without the element mostly predate the standard.
        "" | "1.2.840.10008.1.2.1" | "1.2.840.10008.1.2.1.99" => {
            (Encoding::EXPLICIT, Compression::None)
        }
        "1.2.840.10008.1.2.2" => (Encoding::BIG_ENDIAN, Compression::None),
        "1.2.840.10008.1.2.5" => (Encoding::EXPLICIT, Compression::RunLength),
        "1.2.840.10008.1.2.4.50"
        | "1.2.840.10008.1.2.4.51"
        | "1.2.840.10008.1.2.4.57"
        | "1.2.840.10008.1.2.4.70" => (Encoding::EXPLICIT, Compression::Jpeg),
        "1.2.840.10008.1.2.4.80" | "1.2.840.10008.1.2.4.81" => {
            (Encoding::EXPLICIT, Compression::JpegLs)
        }
        "1.2.840.10008.1.2.4.90" | "1.2.840.10008.1.2.4.91" => {
            (Encoding::EXPLICIT, Compression::Jpeg2000)
        }
        _ => return Err(DicomError::TransferSyntax { uid }),
    };
    let elements: Cow<'_, [u8]> = match &*uid {
        "1.2.840.10008.1.2.1.99" => inflate(elements, max_bytes)?.into(),
        _ => elements.into(),
    };
    let encoding = encoding.corrected(&elements);
    Ok(Opened {
        encoding,
        compression,
        elements,
    })
}

/// Returns the transfer syntax, empty if it is not declared, and the bytes after group 2.
fn transfer_syntax(bytes: &[u8]) -> Result<(String, &[u8]), DicomError> {
    let mut reader = Reader::new(bytes, Encoding::EXPLICIT);
    let mut uid = String::new();
    while reader.rest.starts_with(&[2, 0]) {
        let Some(element) = reader.element()? else {
            break;
        };
        if element.tag == TRANSFER_SYNTAX {
            let text = String::from_utf8_lossy(element.value);
            uid = text.trim_matches(['\0', ' ']).to_string();
        }
    }
    Ok((uid, reader.rest))
}

fn inflate(deflated: &[u8], max_bytes: u64) -> Result<Vec<u8>, DicomError> {
    let mut inflated = Vec::new();
    let decoder = DeflateDecoder::new(deflated);
    // Truncated data ends within an element, which gives an error.
    let _ = decoder
        .take(max_bytes.saturating_add(1))
        .read_to_end(&mut inflated);
    if inflated.len() as u64 > max_bytes {
        return Err(DicomError::TooLarge);
    }
    Ok(inflated)
}
