//! The encoding of text files: UTF-8, with a byte order mark or without.

/// The mark that editors of Windows put before a text in UTF-8.
const MARK: char = '\u{feff}';

/// Why the bytes of a file are no text in UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotUtf8 {
    /// The text is in UTF-16, as its byte order mark or the zero bytes between its letters say.
    #[error("a text in UTF-16; save it as UTF-8")]
    Utf16,
    /// A byte is no part of any character.
    #[error("not UTF-8, byte {byte}")]
    Byte {
        /// Its position, from 0.
        byte: usize,
    },
}

/// Makes a text of the bytes of a file; a byte order mark at the beginning is no part of it.
///
/// # Errors
///
/// [`NotUtf8`].
pub fn decode_text(bytes: Vec<u8>) -> Result<String, NotUtf8> {
    if is_utf_16(&bytes) {
        return Err(NotUtf8::Utf16);
    }
    let mut text = String::from_utf8(bytes).map_err(|error| NotUtf8::Byte {
        byte: error.utf8_error().valid_up_to(),
    })?;
    if text.starts_with(MARK) {
        text.drain(..MARK.len_utf8());
    }
    Ok(text)
}

/// Whether a file begins as text in UTF-16 does: with a byte order mark, or with two letters of
/// ASCII, which UTF-8 would read as letters and zero bytes.
pub(crate) fn is_utf_16(bytes: &[u8]) -> bool {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        [0, first, 0, second, ..] | [first, 0, second, 0, ..] => *first > 0 && *second > 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_text() {
        let text = |bytes: &[u8]| decode_text(bytes.into());
        assert_eq!(text(b"\xef\xbb\xbfa\n").as_deref(), Ok("a\n"));
        assert_eq!(text("a\u{feff}é".as_bytes()).as_deref(), Ok("a\u{feff}é"));
        assert_eq!(text(b"").as_deref(), Ok(""));
        assert_eq!(text(b"caf\xe9"), Err(NotUtf8::Byte { byte: 3 }));
    }

    #[test]
    fn utf_16_is_named_with_its_mark_and_without() {
        for little in [false, true] {
            for text in ["\u{feff}Lungs", "Lungs", "\u{feff}心影"] {
                let units = text.encode_utf16();
                let bytes = units.flat_map(|unit| match little {
                    true => unit.to_le_bytes(),
                    false => unit.to_be_bytes(),
                });
                let error = decode_text(bytes.collect()).unwrap_err();
                assert_eq!(error, NotUtf8::Utf16, "{text}");
            }
        }
    }
}
