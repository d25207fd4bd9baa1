//! Detection of DICOM elements that identify the patient.

use super::data_set::{Encoding, Reader};
use super::syntax::{self, is_dicom};
use super::tag::{PIXEL_DATA, Tag};
use crate::image::limits::DecodeLimits;

/// Elements that identify a patient (PS3.3, sections C.2.2 and C.7.1.1).
const IDENTIFYING: [(Tag, &str); 6] = [
    (Tag(0x0010, 0x0010), "patient's name"),
    (Tag(0x0010, 0x0020), "patient ID"),
    (Tag(0x0010, 0x0030), "patient's birth date"),
    (Tag(0x0010, 0x1000), "other patient IDs"),
    (Tag(0x0010, 0x1040), "patient's address"),
    (Tag(0x0010, 0x2154), "patient's telephone number"),
];

/// `YES` in anonymized files (PS3.3, section C.12.1.1.1).
const IDENTITY_REMOVED: Tag = Tag(0x0012, 0x0062);

/// Names the elements of a DICOM file that identify the patient and are not empty, without their
/// values.
///
/// The list is empty for other files and for files that declare the identity removed; it ends at a
/// defect.
pub(crate) fn identifying_elements(file: &[u8], limits: &DecodeLimits) -> Vec<&'static str> {
    if !is_dicom(file) {
        return Vec::new();
    }
    match syntax::open(file, limits.max_bytes) {
        Ok(opened) => filled(&opened.elements, opened.encoding),
        Err(_) => Vec::new(),
    }
}

fn filled(elements: &[u8], encoding: Encoding) -> Vec<&'static str> {
    let mut names = Vec::new();
    let mut reader = Reader::new(elements, encoding);
    while let Ok(Some(element)) = reader.element() {
        if element.tag >= PIXEL_DATA {
            break;
        }
        let is_filled = element.value.iter().any(|byte| !b" \0^".contains(byte));
        if element.tag == IDENTITY_REMOVED && element.value.trim_ascii() == b"YES" {
            return Vec::new();
        }
        let identifying = IDENTIFYING.iter().find(|(tag, _)| *tag == element.tag);
        if let Some((_, name)) = identifying.filter(|_| is_filled) {
            names.push(*name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::dicom::tests::fixtures::{BIG_ENDIAN, Dicom, EXPLICIT, IMPLICIT};

    fn identifying(dicom: &Dicom) -> Vec<&'static str> {
        identifying_elements(&dicom.file(), &DecodeLimits::default())
    }

    #[test]
    fn filled_elements_are_named_in_every_encoding() {
        // In addition to the name in the fixture.
        let file = Dicom::grey_8(1, &[7])
            .text(0x0010_0020, "12345")
            .text(0x0010_0030, "");
        for syntax in [EXPLICIT, IMPLICIT, BIG_ENDIAN] {
            let names = identifying(&file.clone().syntax(syntax));
            assert_eq!(names, ["patient's name", "patient ID"], "{syntax}");
        }
    }

    #[test]
    fn empty_elements_and_removed_identities_name_nobody() {
        let file = Dicom::grey_8(1, &[7]);
        assert_eq!(identifying(&file.clone().text(0x0010_0010, "^^ ")), [""; 0]);
        assert_eq!(identifying(&file.clone().without(0x0010_0010)), [""; 0]);
        assert_eq!(identifying(&file.text(0x0012_0062, "YES")), [""; 0]);
        let png = b"\x89PNG\r\n\x1a\n";
        assert!(identifying_elements(png, &DecodeLimits::default()).is_empty());
    }

    #[test]
    fn a_file_truncated_anywhere_causes_no_panic() {
        let file = Dicom::grey_8(1, &[7]).text(0x0010_0020, "12345").file();
        for length in 0..file.len() {
            identifying_elements(&file[..length], &DecodeLimits::default());
        }
    }
}
