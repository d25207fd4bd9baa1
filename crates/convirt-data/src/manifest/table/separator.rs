//! Detection of the separator of a CSV: comma, semicolon, tab or bar.
//!
//! Spreadsheets write semicolons where the comma is the decimal separator, and tabs into text
//! files. The header row decides. Other rows count only if the header contains several separators:
//! "63,5" is a number in one table and two cells in another.

use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};

use crate::files::{FileError, NotUtf8, is_utf_16};
use crate::manifest::table::error::TableError;

/// Possible separators.
const SEPARATORS: [u8; 4] = *b",;\t|";

/// Rows that are examined when the header contains several separators.
const MAX_EXAMINED_ROWS: usize = 100;

/// Finds the separator of the table at `path`; `start` is its content or the beginning of it.
///
/// # Errors
///
/// [`FileError::NotUtf8`] for a file in UTF-16, [`TableError::AmbiguousSeparator`] if the header
/// contains several separators and the rows do not decide.
pub(crate) fn find_separator(path: &Path, start: &[u8]) -> Result<u8, TableError> {
    let path = || path.to_path_buf();
    if is_utf_16(start) {
        Err(TableError::File(FileError::NotUtf8 {
            path: path(),
            cause: NotUtf8::Utf16,
        }))
    } else {
        separator(start).map_err(|separators| TableError::AmbiguousSeparator {
            path: path(),
            separators,
        })
    }
}

/// Returns the separator that a first line `sep=;` names, as Excel writes it, and the length of
/// that line without its end.
pub(crate) fn named_separator(start: &[u8]) -> Option<(u8, usize)> {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let [
        b's' | b'S',
        b'e' | b'E',
        b'p' | b'P',
        b'=',
        separator,
        rest @ ..,
    ] = text
    else {
        return None;
    };
    let is_line = rest.starts_with(b"\r") || rest.starts_with(b"\n");
    (is_line && SEPARATORS.contains(separator)).then_some((*separator, start.len() - rest.len()))
}

/// Returns the separator, or the possible ones if neither header nor rows decide.
fn separator(start: &[u8]) -> Result<u8, String> {
    if let Some((separator, _)) = named_separator(start) {
        return Ok(separator);
    }
    let header = header(start);
    let mut separators = SEPARATORS
        .into_iter()
        .filter(|separator| header.contains(separator));
    let (first, second) = (separators.next(), separators.next());
    let (Some(first), Some(_)) = (first, second) else {
        return Ok(first.unwrap_or(b','));
    };
    let several = [first].into_iter().chain(second).chain(separators);
    let several: Vec<_> = several.collect();
    let mut fitting = several
        .iter()
        .filter(|&&separator| rows_fit(start, separator));
    match (fitting.next(), fitting.next()) {
        (Some(&separator), None) => Ok(separator),
        _ => {
            let names = several
                .iter()
                .map(|&separator| format!("{:?}", separator as char));
            Err(names.collect::<Vec<_>>().join(" and "))
        }
    }
}

/// Returns the first line that is not blank, without quoted parts.
fn header(start: &[u8]) -> Vec<u8> {
    let mut in_quotes = false;
    let mut header = Vec::new();
    for &byte in start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start) {
        match byte {
            b'"' => in_quotes = !in_quotes,
            b'\r' | b'\n' if !in_quotes && !header.is_empty() => break,
            b'\r' | b'\n' => {}
            _ if in_quotes => {}
            _ => header.push(byte),
        }
    }
    header
}

/// Whether most rows have as many cells as the header if `separator` separates them.
fn rows_fit(start: &[u8], separator: u8) -> bool {
    let mut reader = ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .flexible(true)
        .from_reader(start);
    let rows = reader.byte_records().map_while(Result::ok);
    let lengths: Vec<_> = rows
        .map(|row: ByteRecord| row.len())
        .take(MAX_EXAMINED_ROWS + 1)
        .collect();
    let Some((header, rows)) = lengths.split_first() else {
        return false;
    };
    let fitting = rows.iter().filter(|&length| length == header).count();
    2 * fitting > rows.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_decides_the_separator() {
        for (table, expected) in [
            ("image,text\na.png,No; none.\n", b','),
            ("image;text\na.png;Heart, lungs, bones.\n", b';'),
            ("path;age\na.png;63,5\n", b';'),
            (
                "\u{feff}\r\nimage\ttext\r\na.png\tHeart, lungs; bones\r\n",
                b'\t',
            ),
            ("image|text\na.png|Heart, lungs\n", b'|'),
            ("image\na;b.png\n", b','),
            ("\"image, small\";\"text\nor; none\"\na;b\n", b';'),
            ("\"a;b\",c\nd,e\n", b','),
            ("sep=;\r\na,b;c\n1,2;3\n", b';'),
            ("\u{feff}SEP=\t\na,b;c\n", b'\t'),
            ("sep=,x\n1,2\n", b','),
            ("", b','),
        ] {
            assert_eq!(separator(table.as_bytes()), Ok(expected), "{table}");
        }
    }

    #[test]
    fn rows_decide_between_several_separators_of_a_header() {
        for (table, expected) in [
            ("image,text (left; right)\na,b\nc,d\n", b','),
            ("Bild;Befund, kurz\na;b\nc;d, e, f\ng;h\n", b';'),
        ] {
            assert_eq!(separator(table.as_bytes()), Ok(expected), "{table}");
        }
        for table in ["a,b;c\n", "a,b;c\n1,2;3\n", "a,b;c\n1\n2\n"] {
            let separators = separator(table.as_bytes()).unwrap_err();
            assert_eq!(separators, "',' and ';'", "{table}");
        }
    }
}
