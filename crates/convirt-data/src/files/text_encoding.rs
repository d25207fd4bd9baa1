//! Decoding of text files: UTF-8, with or without a byte order mark.

/// The byte order mark that editors on Windows put before a text in UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Why a file is not text in UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotUtf8 {
    /// The text is in UTF-16: it has a byte order mark or zero bytes between its letters.
    #[error("a text in UTF-16; save it as UTF-8")]
    Utf16,
    /// A byte is not part of any character.
    #[error("not UTF-8, byte {byte}")]
    Byte {
        /// Its position, from 0.
        byte: usize,
    },
}

/// Decodes the bytes of a text file in UTF-8, without its byte order mark.
///
/// # Errors
///
/// [`NotUtf8`].
///
/// # Examples
///
/// ```
/// use convirt_data::{NotUtf8, decode_text};
///
/// assert_eq!(decode_text(b"\xef\xbb\xbfNo effusion.".to_vec()).unwrap(), "No effusion.");
/// assert_eq!(decode_text(b"No \xe9".to_vec()), Err(NotUtf8::Byte { byte: 3 }));
/// ```
pub fn decode_text(bytes: Vec<u8>) -> Result<String, NotUtf8> {
    if is_utf_16(&bytes) {
        return Err(NotUtf8::Utf16);
    }
    let mut text = String::from_utf8(bytes).map_err(|error| NotUtf8::Byte {
        byte: error.utf8_error().valid_up_to(),
    })?;
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len_utf8());
    }
    Ok(text)
}

/// Whether a file begins like text in UTF-16: with a byte order mark, or with two ASCII letters,
/// which UTF-8 would read as letters and zero bytes.
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
    fn a_byte_order_mark_is_not_part_of_a_text() {
        let text = |bytes: &[u8]| decode_text(bytes.into());
        assert_eq!(text(b"\xef\xbb\xbfa\n").as_deref(), Ok("a\n"));
        assert_eq!(text("a\u{feff}é".as_bytes()).as_deref(), Ok("a\u{feff}é"));
        assert_eq!(text(b"").as_deref(), Ok(""));
        assert_eq!(text(b"caf\xe9"), Err(NotUtf8::Byte { byte: 3 }));
    }

    #[test]
    fn utf_16_is_detected_with_and_without_byte_order_mark() {
        for little in [false, true] {
            for text in ["\u{feff}Lungs", "Lungs", "\u{feff}心影"] {
                let units = text.encode_utf16();
                let bytes = units.flat_map(|unit| {
                    if little {
                        unit.to_le_bytes()
                    } else {
                        unit.to_be_bytes()
                    }
                });
                let error = decode_text(bytes.collect()).unwrap_err();
                assert_eq!(error, NotUtf8::Utf16, "{text}");
            }
        }
    }
}
