//! Quick checks of image and text files, for all files before a run.

use std::io::{self, Cursor, Read};
use std::path::Path;

use image::{ImageReader, ImageResult};
use twox_hash::XxHash3_64;

use super::dicom::{self, is_dicom};
use super::limits::{DecodeLimits, HEAD};
use super::plausible;
use super::radiograph::without_profile;
use crate::files::{DataFile, NotUtf8, decode_text, read_rest};
use crate::skips::SkipReason;

/// Longest text, in bytes, in a file or a table; the longest report of MIMIC-CXR has under 10 kB.
pub(crate) const MAX_TEXT: u64 = 1 << 20;

/// Why a file cannot be used, with a detail.
pub(crate) type Fault = (SkipReason, String);

/// Information from the beginning of an image file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ImageHeader {
    /// Width and height, in pixels.
    pub(crate) size: [usize; 2],
    /// Hash of the file's length and of its first [`HEAD`] bytes.
    pub(crate) content: u64,
}

/// Checks that `path` begins like an image within the limits; decoding may still fail.
pub(crate) fn probe_image(path: &Path, limits: &DecodeLimits) -> Result<ImageHeader, Fault> {
    let mut file = open(path, SkipReason::MissingImage, SkipReason::UnreadableImage)?;
    read_header(&mut file, limits).map_err(|detail| (SkipReason::UnreadableImage, detail))
}

/// Reads a whole image file without decoding it.
pub(crate) fn read_image(path: &Path, limits: &DecodeLimits) -> Result<Vec<u8>, Fault> {
    let unreadable = |detail| (SkipReason::UnreadableImage, detail);
    let file = open(path, SkipReason::MissingImage, SkipReason::UnreadableImage)?;
    let length = file.len();
    read_rest(file, length, limits.max_bytes).map_err(|error| unreadable(error.to_string()))
}

/// Reads a text file, without a byte-order mark.
pub(crate) fn read_text(path: &Path) -> Result<String, Fault> {
    let unreadable = |error: io::Error| (SkipReason::UnreadableText, error.to_string());
    let file = open(path, SkipReason::MissingText, SkipReason::UnreadableText)?;
    let length = file.len();
    let bytes = read_rest(file, length, MAX_TEXT).map_err(unreadable)?;
    let text = decode_text(bytes).map_err(|error| {
        let detail = match error {
            NotUtf8::Byte { byte } => format!("byte {byte}"),
            NotUtf8::Utf16 => error.to_string(),
        };
        (SkipReason::NotUtf8, detail)
    })?;
    if text.trim().is_empty() {
        return Err((SkipReason::EmptyText, format!("{} bytes", text.len())));
    }
    Ok(text)
}

/// Returns the text, or the position of the first byte that is not UTF-8, from 0.
pub(crate) fn utf_8(bytes: impl Into<Vec<u8>>) -> Result<String, usize> {
    String::from_utf8(bytes.into()).map_err(|error| error.utf8_error().valid_up_to())
}

/// Opens a regular file or a member of an archive.
fn open(path: &Path, missing: SkipReason, unreadable: SkipReason) -> Result<DataFile, Fault> {
    let fault = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => (missing, String::new()),
        _ => (unreadable, error.to_string()),
    };
    DataFile::open(path).map_err(fault)
}

// The JPEG decoder reads its whole input before the header. So it first gets only the beginning of
// the file, and the rest in the rare case that the header is longer.
fn read_header(file: &mut DataFile, limits: &DecodeLimits) -> Result<ImageHeader, String> {
    let unreadable = |error: io::Error| error.to_string();
    let length = file.len();
    if length > limits.max_bytes {
        let max_mb = limits.max_bytes >> 20;
        return Err(format!("{length} bytes, max_image_mb is {max_mb}"));
    }
    let mut bytes = Vec::new();
    let head = Read::take(&mut *file, HEAD).read_to_end(&mut bytes);
    let head = head.map_err(unreadable)?;
    if head == 0 {
        return Err("0 bytes".into());
    }
    let content = XxHash3_64::oneshot_with_seed(length, &bytes);
    let size = if is_dicom(&bytes) {
        dicom::probe(bytes, file, limits)?
    } else {
        jpeg_or_png_size(bytes, length, file, limits)?
    };
    Ok(ImageHeader { size, content })
}

/// Returns width and height of a JPEG or PNG of `length` bytes that begins with `bytes`.
fn jpeg_or_png_size(
    mut bytes: Vec<u8>,
    length: u64,
    file: &mut DataFile,
    limits: &DecodeLimits,
) -> Result<[usize; 2], String> {
    let unreadable = |error: io::Error| error.to_string();
    let (width, height) = match dimensions(&bytes) {
        Ok(dimensions) => dimensions,
        Err(_) => {
            let mut rest = Read::take(&mut *file, limits.max_bytes);
            rest.read_to_end(&mut bytes).map_err(unreadable)?;
            dimensions(&bytes).map_err(|error| error.to_string())?
        }
    };
    if width.max(height) > limits.max_side {
        let max_side = limits.max_side;
        return Err(format!(
            "{width}×{height} pixels, max_image_side is {max_side}"
        ));
    }
    let size = [width as usize, height as usize];
    if !is_plausible(&bytes, size, length) {
        return Err(format!(
            "{width}×{height} pixels cannot be in {length} bytes"
        ));
    }
    let orientation = limits.orientation(&bytes);
    Ok(orientation.map_or(size, |orientation| orientation.oriented_size(size)))
}

/// Whether a file of `length` bytes can contain the image that its header declares.
fn is_plausible(start: &[u8], [width, height]: [usize; 2], length: u64) -> bool {
    match start {
        [0xFF, 0xD8, ..] => plausible::jpeg(width, height, length as usize),
        _ => plausible::png(start, length),
    }
}

fn dimensions(bytes: &[u8]) -> ImageResult<(u32, u32)> {
    ImageReader::new(Cursor::new(without_profile(bytes)))
        .with_guessed_format()?
        .into_dimensions()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::GrayImage;

    use super::*;
    use crate::image::dicom::tests::fixtures::Dicom;
    use crate::image::radiograph::Radiograph;

    fn probed(bytes: &[u8]) -> Result<[usize; 2], Fault> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        fs::write(&path, bytes).unwrap();
        probe_image(&path, &DecodeLimits::default()).map(|header| header.size)
    }

    fn encoded(extension: &str) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("image.{extension}"));
        GrayImage::new(40, 30).save(&path).unwrap();
        fs::read(&path).unwrap()
    }

    #[test]
    fn images_are_detected_by_content_and_not_by_name() {
        for extension in ["png", "jpg"] {
            assert_eq!(probed(&encoded(extension)), Ok([40, 30]), "{extension}");
        }
    }

    #[test]
    fn dicom_files_are_checked_by_their_description() {
        let dicom = Dicom::grey_8(2, &[0, 51, 102, 255]);
        assert_eq!(probed(&dicom.file()), Ok([2, 2]));
        let (reason, detail) = probed(&dicom.text(0x0028_0008, "9").file()).unwrap_err();
        assert_eq!(reason, SkipReason::UnreadableImage);
        assert!(detail.contains("number of frames 9"), "{detail}");
    }

    #[test]
    fn every_image_that_decodes_is_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let dicom = Dicom::grey_8(2, &[0, 51, 102, 255]);
        let limits = DecodeLimits::default();
        for whole in [
            encoded("png"),
            encoded("jpg"),
            dicom.file(),
            dicom.file()[132..].into(),
        ] {
            for length in 1..=whole.len() {
                fs::write(&path, &whole[..length]).unwrap();
                let decodes = Radiograph::read(&path, &limits).is_ok();
                assert!(
                    !decodes || probe_image(&path, &limits).is_ok(),
                    "{length} bytes"
                );
                assert!(decodes || length < whole.len(), "{length} bytes");
            }
        }
    }

    #[test]
    fn images_beyond_the_limits_are_detected_before_decoding() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let dicom = Dicom::grey_8(40, &[7; 40 * 30]).file();
        for whole in [encoded("png"), encoded("jpg"), dicom] {
            fs::write(&path, whole).unwrap();
            let limits = |max_side, max_bytes| DecodeLimits {
                max_side,
                max_bytes,
                ..DecodeLimits::default()
            };
            assert!(probe_image(&path, &limits(40, 2000)).is_ok());
            for limits in [limits(39, 2000), limits(40, 20)] {
                assert!(Radiograph::read(&path, &limits).is_err());
                let (reason, detail) = probe_image(&path, &limits).unwrap_err();
                assert_eq!(reason, SkipReason::UnreadableImage);
                assert!(
                    detail.contains("limits") || detail.contains("max_image_"),
                    "{detail}"
                );
            }
        }
    }

    #[test]
    fn an_implausible_header_is_rejected() {
        let mut png = encoded("png");
        png[16..24].copy_from_slice(&[0, 0, 0x3F, 0xFF, 0, 0, 0x3F, 0xFF]);
        let mut crc = flate2::Crc::new();
        crc.update(&png[12..29]);
        png[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        let mut jpeg = encoded("jpg");
        let frame = jpeg.windows(2).position(|it| it == [0xFF, 0xC0]).unwrap();
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0x3F, 0xFF, 0x3F, 0xFF]);
        for file in [png, jpeg] {
            let (reason, detail) = probed(&file).unwrap_err();
            assert_eq!(reason, SkipReason::UnreadableImage);
            assert!(detail.contains("16383×16383 pixels cannot be"), "{detail}");
        }
    }

    #[test]
    fn a_long_header_is_read_to_its_end() {
        let jpeg = encoded("jpg");
        let comment = [&[0xff, 0xfe, 0xff, 0xff], &[b' '; 0xffff - 2][..]].concat();
        let long = [&jpeg[..2], &comment, &comment, &jpeg[2..]].concat();
        assert_eq!(probed(&long), Ok([40, 30]));
    }

    #[test]
    fn empty_truncated_and_other_files_are_unreadable_images() {
        let png = encoded("png");
        for bytes in [&b""[..], &png[..20], b"%PDF-1.4 not an image at all"] {
            let (reason, detail) = probed(bytes).unwrap_err();
            assert_eq!(reason, SkipReason::UnreadableImage);
            assert!(!detail.is_empty());
        }
    }

    #[test]
    fn a_folder_is_neither_image_nor_text() {
        let folder = tempfile::tempdir().unwrap();
        let image = probe_image(folder.path(), &DecodeLimits::default()).unwrap_err();
        let text = read_text(folder.path()).unwrap_err();
        assert_eq!(image.0, SkipReason::UnreadableImage);
        assert_eq!(text.0, SkipReason::UnreadableText);
    }

    #[test]
    fn a_text_is_read_without_its_byte_order_mark() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.txt");
        fs::write(&path, "\u{feff}one\n\ntwo\n").unwrap();
        assert_eq!(read_text(&path).unwrap(), "one\n\ntwo\n");
    }
}
