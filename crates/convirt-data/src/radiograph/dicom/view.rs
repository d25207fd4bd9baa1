//! The view that an image was taken in.

use std::io::{self, Read};
use std::path::Path;

use super::data_set::{DataSet, PIXEL_DATA, Tag};
use super::error::DicomError;
use super::probe::in_as_little_as_will_do;
use super::{is_dicom, syntax};
use crate::open_regular;
use crate::probe::HEAD;

const VIEW_POSITION: Tag = Tag(0x0018, 0x5101);
/// Free texts that often name the view where that is blank, the first to ask first: series
/// description, acquisition device processing description, protocol name.
const DESCRIPTIONS: [Tag; 3] = [
    Tag(0x0008, 0x103E),
    Tag(0x0018, 0x1400),
    Tag(0x0018, 0x1030),
];

/// Characters of the longest code string (PS3.5, table 6.2-1).
const MAX_CODE: usize = 16;

/// Words of a description and the views they name.
const NAMES: [(&str, &str); 4] = [
    ("PA", "PA"),
    ("AP", "AP"),
    ("LATERAL", "LATERAL"),
    ("LAT", "LATERAL"),
];

/// Whether an element tells the view.
pub(super) fn tells_the_view(tag: Tag) -> bool {
    tag == VIEW_POSITION || DESCRIPTIONS.contains(&tag)
}

/// Reads the view of a DICOM file, in capitals, from as little of it as will do: its view
/// position, or else `PA`, `AP` or `LATERAL` where a description names exactly one of them.
///
/// Nothing else of a description is kept. The error says what is amiss.
pub(crate) fn view(path: &Path, max_bytes: u64) -> Result<Option<String>, String> {
    let unreadable = |error: io::Error| error.to_string();
    let mut file = open_regular(path).map_err(unreadable)?;
    let mut start = Vec::new();
    let read = Read::take(&mut file, HEAD).read_to_end(&mut start);
    read.map_err(unreadable)?;
    if !is_dicom(&start) {
        return Err("no DICOM file".into());
    }
    let mut rest = file.take(max_bytes);
    in_as_little_as_will_do(start, &mut rest, |bytes| of(bytes, max_bytes))
}

/// Returns the same of a whole file; none of another kind of file or beyond a defect.
pub(crate) fn view_within(file: &[u8], max_bytes: u64) -> Option<String> {
    of(file, max_bytes).ok().filter(|_| is_dicom(file))?
}

fn of(file: &[u8], max_bytes: u64) -> Result<Option<String>, DicomError> {
    let opened = syntax::open(file, max_bytes)?;
    let data = DataSet::read(&opened.elements, opened.encoding)?;
    if data.bytes(PIXEL_DATA).is_none() {
        return Err(DicomError::Missing { name: "pixel data" });
    }
    let described = || {
        let texts = DESCRIPTIONS.iter().filter_map(|&tag| data.bytes(tag));
        let mut views = texts.filter_map(|text| named(&String::from_utf8_lossy(text)));
        views.next().map(Into::into)
    };
    Ok(data.text(VIEW_POSITION).and_then(code).or_else(described))
}

/// Returns a code string in capitals; what is none may be anything and is not passed on.
fn code(text: &str) -> Option<String> {
    let is_code = text.len() <= MAX_CODE
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == ' ' || c == '_');
    is_code.then(|| text.to_ascii_uppercase())
}

/// Returns the one view that a description names; several are those of the whole examination.
fn named(text: &str) -> Option<&'static str> {
    let text = text.to_uppercase();
    let mut views = text
        .split(|c: char| !c.is_alphanumeric())
        .filter_map(|word| NAMES.iter().find(|(name, _)| *name == word))
        .map(|&(_, view)| view);
    let first = views.next()?;
    views.all(|view| view == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::fixtures::{Dicom, IMPLICIT};
    use super::*;

    fn view_of(dicom: &Dicom) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.dcm");
        fs::write(&path, dicom.file()).unwrap();
        view(&path, 1 << 20).unwrap()
    }

    fn image() -> Dicom {
        Dicom::grey_8(1000, &[7; 65_000])
    }

    #[test]
    fn the_view_within_a_whole_file_is_the_same() {
        let file = image().text(0x0018_5101, "LL").file();
        assert_eq!(view_within(&file, 1 << 20).as_deref(), Some("LL"));
        assert_eq!(view_within(&file[..200], 1 << 20), None);
        assert_eq!(view_within(b"LL", 1 << 20), None);
    }

    #[test]
    fn the_view_position_comes_before_descriptions() {
        let file = image()
            .text(0x0018_5101, "pa")
            .text(0x0008_103E, "CHEST AP");
        assert_eq!(view_of(&file).as_deref(), Some("PA"));
        assert_eq!(view_of(&file.syntax(IMPLICIT)).as_deref(), Some("PA"));
        let oblique = image().text(0x0018_5101, "AP LLD");
        assert_eq!(view_of(&oblique).as_deref(), Some("AP LLD"));
    }

    #[test]
    fn a_blank_view_position_leaves_it_to_the_descriptions() {
        for (description, expected) in [
            ("CHEST PA", Some("PA")),
            ("W Chest Lat.", Some("LATERAL")),
            ("PA, chest: PA upright", Some("PA")),
            ("PA/LAT", None),
            ("PAIN, LAPAROSCOPY", None),
            ("", None),
        ] {
            let file = image()
                .text(0x0018_5101, " ")
                .text(0x0008_103E, description);
            assert_eq!(view_of(&file).as_deref(), expected, "{description}");
            let further = file.text(0x0018_1400, "AP");
            let expected = expected.or(Some("AP"));
            assert_eq!(view_of(&further).as_deref(), expected, "{description}");
        }
    }

    #[test]
    fn what_is_no_code_is_not_passed_on() {
        for text in ["Doe^Jane", "a text of more than 16 letters", "=HYPERLINK()"] {
            assert_eq!(view_of(&image().text(0x0018_5101, text)), None);
        }
    }

    #[test]
    fn a_file_without_pixels_or_of_another_kind_has_no_view() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.dcm");
        for content in [
            image().without(0x7FE0_0010).file(),
            b"\x89PNG".into(),
            image().file()[..200].into(),
        ] {
            fs::write(&path, content).unwrap();
            assert!(view(&path, 1 << 20).is_err());
        }
    }
}
