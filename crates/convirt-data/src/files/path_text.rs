//! A reversible text form of paths, for tables, indexes and embedding files.
//!
//! Not every file name is UTF-8: archives from older systems unpack to names in Latin-1. With
//! replacement characters, different names could get the same text. Here a byte that is not UTF-8
//! is written as `\xE9`. Where a name itself contains such an escape, its backslash is written as
//! `\x5C`. All other names are unchanged.

use std::borrow::Cow;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Characters of an escape: `\x` and two hexadecimal digits in upper case.
const ESCAPE_LENGTH: usize = 4;

/// Returns the text form of a path; different paths have different texts.
///
/// ```
/// use std::path::Path;
///
/// use convirt_data::{path_from_text, path_text};
///
/// let path = Path::new("images/chest.png");
/// assert_eq!(path_text(path), "images/chest.png");
/// assert_eq!(path_from_text(&path_text(path)), path);
/// ```
pub fn path_text(path: &Path) -> Cow<'_, str> {
    let bytes = path.as_os_str().as_encoded_bytes();
    if let Ok(text) = str::from_utf8(bytes)
        && escapes(text).next().is_none()
    {
        return text.into();
    }
    let mut text = String::with_capacity(bytes.len() + ESCAPE_LENGTH);
    for chunk in bytes.utf8_chunks() {
        let mut rest = 0;
        for (at, _) in escapes(chunk.valid()) {
            text.push_str(&chunk.valid()[rest..at]);
            text.push_str(r"\x5C");
            rest = at + 1;
        }
        text.push_str(&chunk.valid()[rest..]);
        for byte in chunk.invalid() {
            write!(text, r"\x{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    text.into()
}

/// Returns the path of a text that [`path_text`] made; other texts are taken as paths directly.
///
/// On Windows, where file names are not bytes, escapes are not decoded.
#[cfg(unix)]
pub fn path_from_text(text: &str) -> PathBuf {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), 0);
    for (at, byte) in escapes(text) {
        bytes.extend(&text.as_bytes()[rest..at]);
        bytes.push(byte);
        rest = at + ESCAPE_LENGTH;
    }
    bytes.extend(&text.as_bytes()[rest..]);
    OsString::from_vec(bytes).into()
}

/// Returns the text as a path: escapes are not decoded on this platform.
#[cfg(not(unix))]
pub fn path_from_text(text: &str) -> PathBuf {
    text.into()
}

/// Resolves a path that a table gives as text, relative to `root`.
///
/// A file with exactly this name takes precedence over the decoded name.
pub(super) fn located(root: &Path, text: &str) -> PathBuf {
    let literal = root.join(text);
    if escapes(text).next().is_none() || literal.exists() {
        return literal;
    }
    root.join(path_from_text(text))
}

/// Finds the escapes of a text, each with its position and its byte.
fn escapes(text: &str) -> impl Iterator<Item = (usize, u8)> + '_ {
    text.match_indices(r"\x").filter_map(|(at, _)| {
        let digits = text.get(at + 2..at + ESCAPE_LENGTH)?;
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
    fn names_in_utf_8_are_unchanged() {
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
    fn every_name_has_its_own_text_and_is_restored_from_it() {
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
    fn a_file_is_found_by_its_text_and_an_exact_name_is_preferred() {
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
