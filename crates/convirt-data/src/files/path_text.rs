//! Paths as text, one text for each: for names in tables, indexes and files of embeddings.
//!
//! Not every file name is UTF-8: archives from older systems unpack to names in Latin-1. Shown with
//! replacement characters, two of them become one. Here a byte that is not UTF-8 is written `\xE9`,
//! and the backslash of a name that has such letters of its own is written `\x5C`; all other names
//! stay as they are.

use std::borrow::Cow;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Characters of an escape, `\x` and two digits in capitals.
const ESCAPE: usize = 4;

/// Returns the text that stands for a path, and for no other.
pub fn path_text(path: &Path) -> Cow<'_, str> {
    let bytes = path.as_os_str().as_encoded_bytes();
    if let Ok(text) = str::from_utf8(bytes)
        && escapes(text).next().is_none()
    {
        return text.into();
    }
    let mut text = String::with_capacity(bytes.len() + ESCAPE);
    for chunk in bytes.utf8_chunks() {
        let mut rest = 0;
        for (at, _) in escapes(chunk.valid()) {
            text.push_str(&chunk.valid()[rest..at]);
            text.push_str(r"\x5C");
            rest = at + 1;
        }
        text.push_str(&chunk.valid()[rest..]);
        for byte in chunk.invalid() {
            write!(text, r"\x{byte:02X}").expect("text takes all that is written");
        }
    }
    text.into()
}

/// Returns the path that a text of [`path_text`] stands for; other texts are paths as they are.
///
/// Where file names are no bytes, as on Windows, escapes stay what they are.
#[cfg(unix)]
pub fn path_from_text(text: &str) -> PathBuf {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), 0);
    for (at, byte) in escapes(text) {
        bytes.extend(&text.as_bytes()[rest..at]);
        bytes.push(byte);
        rest = at + ESCAPE;
    }
    bytes.extend(&text.as_bytes()[rest..]);
    OsString::from_vec(bytes).into()
}

/// The same where escapes cannot stand for bytes.
#[cfg(not(unix))]
pub fn path_from_text(text: &str) -> PathBuf {
    text.into()
}

/// Where a path lies that a table gives as text, from `root`: the file of that very name, or else
/// of the name that the text stands for.
pub(crate) fn located(root: &Path, text: &str) -> PathBuf {
    let literal = root.join(text);
    if escapes(text).next().is_none() || literal.exists() {
        return literal;
    }
    root.join(path_from_text(text))
}

/// Finds what reads like an escape: where, and the byte it stands for.
fn escapes(text: &str) -> impl Iterator<Item = (usize, u8)> + '_ {
    text.match_indices(r"\x").filter_map(|(at, _)| {
        let digits = text.get(at + 2..at + ESCAPE)?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'A'..=b'F');
        let are_digits = digits.bytes().all(is_digit);
        let byte = u8::from_str_radix(digits, 16).ok()?;
        are_digits.then_some((at, byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_utf_8_stay_as_they_are() {
        for name in [
            "a/b.png",
            "tórax.png",
            "50 %.png",
            r"C:\data\x.png",
            r"\xab",
        ] {
            assert_eq!(path_text(Path::new(name)), name);
            assert_eq!(path_from_text(name), Path::new(name));
        }
    }

    #[cfg(unix)]
    #[test]
    fn every_name_has_a_text_of_its_own_that_leads_back() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;

        let names: [(&[u8], &str); 7] = [
            (b"t\xe9rax.png", r"t\xE9rax.png"),
            (b"t\xe8rax.png", r"t\xE8rax.png"),
            ("t\u{fffd}rax.png".as_bytes(), "t\u{fffd}rax.png"),
            (br"t\xE9rax.png", r"t\x5CxE9rax.png"),
            (br"t\x5CxE9rax.png", r"t\x5Cx5CxE9rax.png"),
            (b"\\x\xe9", r"\x\xE9"),
            (b"\xe4\xb8\xad\xe4\xb8", r"中\xE4\xB8"),
        ];
        for (bytes, text) in names {
            let path = Path::new(OsStr::from_bytes(bytes));
            assert_eq!(path_text(path), text);
            assert_eq!(path_from_text(text), path);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_table_finds_a_file_by_its_text_and_prefers_the_very_name() {
        use std::ffi::OsStr;
        use std::fs::write;
        use std::os::unix::ffi::OsStrExt;

        let folder = tempfile::tempdir().unwrap();
        let latin = folder.path().join(OsStr::from_bytes(b"a\xe9.png"));
        let text = r"a\xE9.png";
        // Some file systems take names in UTF-8 only.
        if write(&latin, b"").is_ok() {
            assert_eq!(located(folder.path(), text), latin);
        }
        let literal = folder.path().join(text);
        write(&literal, b"").unwrap();
        assert_eq!(located(folder.path(), text), literal);
        let nowhere = folder.path().join("nowhere.png");
        assert_eq!(located(folder.path(), "nowhere.png"), nowhere);
    }
}
