//! The view of a DICOM image.

use std::io::{self, Read};
use std::path::Path;

use super::data_set::DataSet;
use super::error::DicomError;
use super::tag::{
    CODE_MEANING, CODE_VALUE, CODING_SCHEME, DESCRIPTIONS, PIXEL_DATA, VIEW_CODE_SEQUENCE,
    VIEW_POSITION,
};
use super::{is_dicom, syntax};
use crate::files::DataFile;
use crate::image::dicom::header::parse_incrementally;
use crate::image::limits::HEAD;

/// Longest code string, in characters (PS3.5, table 6.2-1).
const MAX_CODE: usize = 16;

/// Codes in SNOMED CT and in SNOMED RT, which was used before 2017, with their views (PS3.16, CID
/// 4010).
const CODES: [([&str; 2], &str); 14] = [
    (["272479007", "R-40888"], "PA"),
    (["399348003", "R-10206"], "AP"),
    (["399067008", "R-102CD"], "LATERAL"),
    (["399173006", "R-10236"], "LL"),
    (["399198007", "R-10232"], "RL"),
    (["399033003", "R-10202"], "FRONTAL"),
    (["399059000", "R-10216"], "PA OBLIQUE"),
    (["399312000", "R-10208"], "AP OBLIQUE"),
    (["399135007", "R-10220"], "LAO"),
    (["399356000", "R-40985"], "RAO"),
    (["399006002", "R-10212"], "LPO"),
    (["399038007", "R-10210"], "RPO"),
    (["399182000", "R-102C1"], "OBLIQUE"),
    (["399061009", "R-10241"], "AXIAL"),
];

/// The SNOMED RT code for postero-anterior in earlier editions of the standard.
const EARLIER_PA: &str = "R-10214";

/// Coding schemes of these codes.
const SCHEMES: [&str; 4] = ["SCT", "SRT", "SNM3", "99SDM"];

/// Words and their views, in English and, if unambiguous, in German, French, Spanish, Italian and
/// Dutch.
const NAMES: [(&str, &str); 16] = [
    ("PA", "PA"),
    ("POSTEROANTERIOR", "PA"),
    ("POSTERIORANTERIOR", "PA"),
    ("DORSOVENTRAL", "PA"),
    ("AP", "AP"),
    ("ANTEROPOSTERIOR", "AP"),
    ("ANTERIORPOSTERIOR", "AP"),
    ("VENTRODORSAL", "AP"),
    ("LATERAL", "LATERAL"),
    ("LAT", "LATERAL"),
    ("LATERALE", "LATERAL"),
    ("LATERAAL", "LATERAL"),
    ("SEITLICH", "LATERAL"),
    ("SEITL", "LATERAL"),
    ("PROFIL", "LATERAL"),
    ("PERFIL", "LATERAL"),
];

/// Reads the view of a DICOM file, in capitals, without reading the whole file.
///
/// The view is the view position, or else the view code, or else `PA`, `AP` or `LATERAL` if a
/// description names exactly one of them. Nothing else of a description is used.
pub(crate) fn view(path: &Path, max_bytes: u64) -> Result<Option<String>, String> {
    let unreadable = |error: io::Error| error.to_string();
    let mut file = DataFile::open(path).map_err(unreadable)?;
    let mut start = Vec::new();
    let read = Read::take(&mut file, HEAD).read_to_end(&mut start);
    read.map_err(unreadable)?;
    if !is_dicom(&start) {
        return Err("no DICOM file".into());
    }
    let mut rest = file.take(max_bytes);
    parse_incrementally(start, &mut rest, |bytes| read_view(bytes, max_bytes))
}

/// Returns the view of a whole file in memory; `None` for other or damaged files.
pub(crate) fn view_within(file: &[u8], max_bytes: u64) -> Option<String> {
    read_view(file, max_bytes).ok().filter(|_| is_dicom(file))?
}

fn read_view(file: &[u8], max_bytes: u64) -> Result<Option<String>, DicomError> {
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
    let coded = match data.first_item(VIEW_CODE_SEQUENCE)? {
        Some(item) => by_code(&item),
        None => None,
    };
    let position = data.text(VIEW_POSITION).and_then(position);
    Ok(position
        .or_else(|| coded.map(Into::into))
        .or_else(described))
}

/// Returns a view position in capitals and in its usual spelling; `None` if it is not a valid code
/// string, since it might be any text.
fn position(text: &str) -> Option<String> {
    let words = words(text);
    let view = named(text);
    match &*words {
        [_] if view.is_some() => view.map(Into::into),
        // For example "L-L".
        [word] if word.len() == 2 && word.is_ascii() => Some(word.clone()),
        _ if text.len() > MAX_CODE => view.map(Into::into),
        _ if view.is_some() => Some(words.join(" ")),
        _ => {
            let is_sign = |c| c == ' ' || c == '_';
            let is_code = text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || is_sign(c));
            is_code.then(|| text.to_ascii_uppercase())
        }
    }
}

/// Returns the view of a code, or else of its meaning in words.
fn by_code(item: &DataSet<'_>) -> Option<&'static str> {
    let code = item.text(CODE_VALUE).filter(|_| {
        let scheme = item.text(CODING_SCHEME);
        scheme.is_some_and(|scheme| SCHEMES.contains(&scheme))
    });
    let view = code.and_then(|code| {
        let known = CODES.iter().find(|(codes, _)| codes.contains(&code));
        let earlier = (code == EARLIER_PA).then_some("PA");
        known.map(|&(_, view)| view).or(earlier)
    });
    view.or_else(|| named(&String::from_utf8_lossy(item.bytes(CODE_MEANING)?)))
}

/// Returns the view that a description names, `PA`, `AP` or `LATERAL`; `None` if it names several,
/// which are those of the whole examination.
pub(crate) fn named(text: &str) -> Option<&'static str> {
    let words = words(text);
    let mut views = words
        .iter()
        .filter_map(|word| NAMES.iter().find(|(name, _)| name == word))
        .map(|&(_, view)| view);
    let first = views.next()?;
    views.all(|view| view == first).then_some(first)
}

/// Returns the words of a text in capitals. Two letters with punctuation (`P.A.`, `a.-p.`) or two
/// directions (`postero-anterior`) are one word.
fn words(text: &str) -> Vec<String> {
    const DIRECTIONS: [&str; 8] = [
        "POSTERO",
        "POSTERIOR",
        "ANTERO",
        "ANTERIOR",
        "DORSO",
        "DORSAL",
        "VENTRO",
        "VENTRAL",
    ];
    let is_letter = |word: &str| word.chars().count() == 1;
    let is_direction = |word: &str| DIRECTIONS.contains(&word);
    let text = text.to_uppercase();
    let mut words: Vec<String> = Vec::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let start = rest.find(char::is_alphanumeric).unwrap_or(rest.len());
        let (signs, after) = rest.split_at(start);
        let end = after.find(|c: char| !c.is_alphanumeric());
        let (word, after) = after.split_at(end.unwrap_or(after.len()));
        rest = after;
        let is_pair = |last: &String| {
            is_letter(last) && is_letter(word) && signs.contains(['.', '-', '/'])
                || is_direction(last) && is_direction(word)
        };
        match words.last_mut().filter(|last| is_pair(last)) {
            Some(last) => last.push_str(word),
            None if !word.is_empty() => words.push(word.into()),
            None => {}
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::image::dicom::tests::fixtures::{Dicom, IMPLICIT, Value};

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
    fn the_view_of_a_file_in_memory_is_the_same() {
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
    fn descriptions_are_used_if_the_view_position_is_blank() {
        for (description, expected) in [
            ("Thorax p.a.", Some("PA")),
            ("Thorax a.-p. im Liegen", Some("AP")),
            ("Thorax seitlich", Some("LATERAL")),
            ("Chest postero-anterior", Some("PA")),
            ("a.p./p.a.", None),
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
    fn spellings_of_a_view_position_are_recognized() {
        for (text, expected) in [
            ("P.A.", "PA"),
            ("P-A", "PA"),
            ("a. p.", "AP"),
            ("A/P", "AP"),
            ("POSTERO-ANTERIOR", "PA"),
            ("Posterior Anterior", "PA"),
            ("LAT", "LATERAL"),
            ("SEITLICH", "LATERAL"),
            ("L-L", "LL"),
            ("LL", "LL"),
            ("AP AXIAL", "AP AXIAL"),
            ("A.P. AXIAL", "AP AXIAL"),
            ("XTABLE LATERAL", "XTABLE LATERAL"),
            ("LAO", "LAO"),
        ] {
            let view = view_of(&image().text(0x0018_5101, text));
            assert_eq!(view.as_deref(), Some(expected), "{text}");
        }
    }

    // PS3.16, CID 4010, with the codes of SNOMED CT and those of SNOMED RT before them.
    #[test]
    fn a_view_code_is_used_if_the_position_is_blank() {
        let coded = |code: &str, scheme: &str| {
            let item = vec![
                (CODE_VALUE, Value::Text(code.into())),
                (CODING_SCHEME, Value::Text(scheme.into())),
            ];
            image()
                .with(0x0054_0220, Value::Item(item))
                .text(0x0008_103E, "CHEST LATERAL")
        };
        for (code, scheme, expected) in [
            ("272479007", "SCT", "PA"),
            ("R-10214", "SRT", "PA"),
            ("399348003", "SCT", "AP"),
            ("R-10206", "SNM3", "AP"),
            ("399173006", "SCT", "LL"),
            ("R-10206", "99LOCAL", "LATERAL"),
            ("T-D1000", "SRT", "LATERAL"),
        ] {
            let view = view_of(&coded(code, scheme));
            assert_eq!(view.as_deref(), Some(expected), "{code} {scheme}");
        }
        let meant = vec![
            (CODE_VALUE, Value::Text("7".into())),
            (CODING_SCHEME, Value::Text("99LOCAL".into())),
            (CODE_MEANING, Value::Text("Thorax p.a.".into())),
        ];
        let meant = image().with(0x0054_0220, Value::Item(meant));
        assert_eq!(view_of(&meant).as_deref(), Some("PA"));
        let both = coded("272479007", "SCT").text(0x0018_5101, "AP");
        assert_eq!(view_of(&both).as_deref(), Some("AP"));
    }

    #[test]
    fn an_invalid_code_is_not_returned() {
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
