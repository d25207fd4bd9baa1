//! What a file says of its image, from as little of it as will do.

use std::io::Read;

use super::data_set::DataSet;
use super::description::Description;
use super::error::DicomError;
use super::syntax;
use crate::image::limits::DecodeLimits;

/// How many times as much of a file is looked at when what was read ends before its pixels.
const GROWTH: u64 = 8;

/// Looks whether a DICOM file has pixels, and of a kind that is decoded, and how many across and
/// down: `start` is its beginning, `rest` gives what follows. The pixels themselves are not read,
/// and may still be damaged.
///
/// The error says what is amiss, and nothing about a patient.
pub(crate) fn probe(
    start: Vec<u8>,
    rest: &mut impl Read,
    limits: &DecodeLimits,
) -> Result<[usize; 2], String> {
    let description = in_as_little_as_will_do(start, rest, |file| describe(file, limits))?;
    Ok([description.columns, description.rows])
}

/// Looks at `start`, the beginning of a file, and at more and more of it with what `rest` gives,
/// as long as it ends too early.
pub(super) fn in_as_little_as_will_do<T>(
    mut start: Vec<u8>,
    rest: &mut impl Read,
    look: impl Fn(&[u8]) -> Result<T, DicomError>,
) -> Result<T, String> {
    loop {
        let error = match look(&start) {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        let more = start.len() as u64 * (GROWTH - 1);
        let read = if error.is_of_too_little() {
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

    /// What is amiss with a file of which `start` bytes are at hand, and how many are left unread.
    fn probed(file: &[u8], start: usize) -> (Result<[usize; 2], String>, usize) {
        let (start, rest) = file.split_at(start.min(file.len()));
        let mut rest = Cursor::new(rest);
        let verdict = probe(start.into(), &mut rest, &DecodeLimits::default());
        let unread = rest.get_ref().len() - rest.position() as usize;
        (verdict, unread)
    }

    #[test]
    fn a_file_is_read_up_to_its_pixels_and_not_to_its_end() {
        let pixels = vec![7; 65_000];
        let file = Dicom::grey_8(1000, &pixels).file();
        for start in [140, 300, 1000] {
            let (verdict, unread) = probed(&file, start);
            assert_eq!(verdict, Ok([1000, 65]));
            assert!(unread > 60_000, "{start}: {unread}");
        }
        let compressed = image().syntax(JPEG_2000).fragment(&pixels).file();
        let (verdict, unread) = probed(&compressed, 200);
        assert_eq!(verdict, Ok([2, 2]));
        assert!(unread > 60_000, "{unread}");
    }

    #[test]
    fn elements_longer_than_the_start_are_read_over() {
        let file = image().bytes(0x0028_2000, &[0; 60_000]).file();
        assert_eq!(probed(&file, 140).0, Ok([2, 2]));
    }

    #[test]
    fn a_deflated_file_is_known_by_its_start() {
        let mut file = image().syntax(DEFLATED).file();
        file.truncate(132 + 8 + DEFLATED.len());
        let elements = image().data_set();
        let level = flate2::Compression::default();
        let mut deflater = flate2::read::DeflateEncoder::new(&*elements, level);
        std::io::copy(&mut deflater, &mut file).unwrap();
        assert_eq!(probed(&file, 150).0, Ok([2, 2]));
    }

    #[test]
    fn what_cannot_be_decoded_is_known_without_reading_its_pixels() {
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
            let (verdict, unread) = probed(&file.file(), 1000);
            assert!(unread > 60_000, "{unread}");
            let error = verdict.unwrap_err();
            assert!(error.contains(fact), "`{fact}` in {error}");
            assert!(!error.contains("Doe"), "{error}");
        }
    }

    #[test]
    fn a_file_cut_before_its_pixels_is_no_image() {
        let file = image().file();
        // The pixels are the last 4 bytes, and what is left of them is the decoder's to judge.
        for length in 132..=file.len() - 4 {
            assert!(probed(&file[..length], 140).0.is_err(), "{length}");
        }
        assert!(probed(&image().without(0x7FE0_0010).file(), 140).0.is_err());
        assert!(probe(Vec::new(), &mut empty(), &DecodeLimits::default()).is_err());
    }
}
