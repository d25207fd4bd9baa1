//! Reading of a DICOM header without reading the whole file.

use std::io::Read;

use super::data_set::DataSet;
use super::description::Description;
use super::error::DicomError;
use super::syntax;
use crate::image::limits::DecodeLimits;

/// Factor by which the part of the file grows that is read, until it contains the header.
const GROWTH: u64 = 8;

/// Checks that a DICOM file has pixels in a supported format; returns width and height.
///
/// `start` is the beginning of the file, and `rest` reads the rest. The pixels are not read and may
/// be damaged. The error contains no patient data.
pub(crate) fn probe(
    start: Vec<u8>,
    rest: &mut impl Read,
    limits: &DecodeLimits,
) -> Result<[usize; 2], String> {
    let description = parse_incrementally(start, rest, |file| describe(file, limits))?;
    Ok([description.columns, description.rows])
}

/// Calls `parse` on `start`, the beginning of a file, and reads more from `rest` as long as `parse`
/// needs more data.
pub(super) fn parse_incrementally<T>(
    mut start: Vec<u8>,
    rest: &mut impl Read,
    parse: impl Fn(&[u8]) -> Result<T, DicomError>,
) -> Result<T, String> {
    loop {
        let error = match parse(&start) {
            Ok(parsed) => return Ok(parsed),
            Err(error) => error,
        };
        let more = start.len() as u64 * (GROWTH - 1);
        let read = if error.needs_more_data() {
            let read = rest.by_ref().take(more).read_to_end(&mut start);
            read.map_err(|error| error.to_string())?
        } else {
            0
        };
        if read == 0 {
            return Err(error.to_string());
        }
    }
}

fn describe(file: &[u8], limits: &DecodeLimits) -> Result<Description, DicomError> {
    let opened = syntax::open(file, limits.max_bytes)?;
    let data = DataSet::read(&opened.elements, opened.encoding)?;
    Description::read(&data, opened.compression, limits)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, empty};

    use super::*;
    use crate::image::dicom::tests::fixtures::{DEFLATED, Dicom, JPEG_2000};

    fn image() -> Dicom {
        Dicom::grey_8(2, &[0, 51, 102, 255])
    }

    /// The result for a file of which `start` bytes have been read, and the number of bytes left
    /// unread.
    fn probed(file: &[u8], start: usize) -> (Result<[usize; 2], String>, usize) {
        let (start, rest) = file.split_at(start.min(file.len()));
        let mut rest = Cursor::new(rest);
        let result = probe(start.into(), &mut rest, &DecodeLimits::default());
        let unread = rest.get_ref().len() - rest.position() as usize;
        (result, unread)
    }

    #[test]
    fn a_file_is_read_up_to_its_pixels_and_not_to_its_end() {
        let pixels = vec![7; 65_000];
        let file = Dicom::grey_8(1000, &pixels).file();
        for start in [140, 300, 1000] {
            let (result, unread) = probed(&file, start);
            assert_eq!(result, Ok([1000, 65]));
            assert!(unread > 60_000, "{start}: {unread}");
        }
        let compressed = image().syntax(JPEG_2000).fragment(&pixels).file();
        let (result, unread) = probed(&compressed, 200);
        assert_eq!(result, Ok([2, 2]));
        assert!(unread > 60_000, "{unread}");
    }

    #[test]
    fn elements_longer_than_the_start_are_skipped() {
        let file = image().bytes(0x0028_2000, &[0; 60_000]).file();
        assert_eq!(probed(&file, 140).0, Ok([2, 2]));
    }

    #[test]
    fn a_deflated_file_is_probed_by_its_start() {
        let mut file = image().syntax(DEFLATED).file();
        file.truncate(132 + 8 + DEFLATED.len());
        let elements = image().data_set();
        let level = flate2::Compression::default();
        let mut deflater = flate2::read::DeflateEncoder::new(&*elements, level);
        std::io::copy(&mut deflater, &mut file).unwrap();
        assert_eq!(probed(&file, 150).0, Ok([2, 2]));
    }

    #[test]
    fn an_unsupported_file_is_detected_without_reading_its_pixels() {
        let image = || Dicom::grey_8(1000, &[7; 65_000]);
        for (file, fact) in [
            (image().text(0x0028_0008, "2"), "number of frames 2"),
            (image().text(0x0028_0004, "PALETTE COLOR"), "PALETTE COLOR"),
            (
                image().integers(0x0028_0011, &[65_535]),
                "beyond the limits",
            ),
            (image().integers(0x0028_0011, &[0]), "0 rows or columns"),
        ] {
            let (result, unread) = probed(&file.file(), 1000);
            assert!(unread > 60_000, "{unread}");
            let error = result.unwrap_err();
            assert!(error.contains(fact), "`{fact}` in {error}");
            assert!(!error.contains("Doe"), "{error}");
        }
    }

    #[test]
    fn a_file_truncated_before_its_pixels_is_not_an_image() {
        let file = image().file();
        // The pixels are the last 4 bytes; the decoder checks how many are left.
        for length in 132..=file.len() - 4 {
            assert!(probed(&file[..length], 140).0.is_err(), "{length}");
        }
        assert!(probed(&image().without(0x7FE0_0010).file(), 140).0.is_err());
        assert!(probe(Vec::new(), &mut empty(), &DecodeLimits::default()).is_err());
    }
}
