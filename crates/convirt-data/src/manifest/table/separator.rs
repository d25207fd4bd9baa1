//! The sign between the cells of a table: a comma, unless the header row says another.
//!
//! Spreadsheets write semicolons where the comma is the decimal sign, and tabulators into text
//! files. Cells do not count for the choice unless the header has several of the signs: "63,5" is
//! a number in one table and two cells in another.

use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};

use crate::files::{FileError, NotUtf8, is_utf_16};
use crate::manifest::table::error::TableError;

/// Signs that separate cells.
const SIGNS: [u8; 4] = *b",;\t|";

/// Rows that decide between the signs of a header that has several.
const ROWS: usize = 100;

/// Finds the sign that separates the cells of the table at `path`, of which `start` is the whole or
/// the beginning.
///
/// # Errors
///
/// [`FileError::NotUtf8`] where it is in UTF-16, [`TableError::AmbiguousSeparator`] where the
/// header has several signs and the rows do not decide.
pub(crate) fn find_separator(path: &Path, start: &[u8]) -> Result<u8, TableError> {
    let path = || path.to_path_buf();
    match is_utf_16(start) {
        true => Err(TableError::File(FileError::NotUtf8 {
            path: path(),
            cause: NotUtf8::Utf16,
        })),
        false => separator(start).map_err(|signs| TableError::AmbiguousSeparator {
            path: path(),
            signs,
        }),
    }
}

/// Returns the sign that a first line `sep=;` names, as Excel writes and reads it, and the length
/// of that line without its end.
pub(crate) fn named_separator(start: &[u8]) -> Option<(u8, usize)> {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', sign, rest @ ..] = text else {
        return None;
    };
    let is_line = rest.starts_with(b"\r") || rest.starts_with(b"\n");
    (is_line && SIGNS.contains(sign)).then_some((*sign, start.len() - rest.len()))
}

/// Returns the sign, or those of the header between which nothing decides.
fn separator(start: &[u8]) -> Result<u8, String> {
    if let Some((sign, _)) = named_separator(start) {
        return Ok(sign);
    }
    let header = header(start);
    let mut signs = SIGNS.into_iter().filter(|sign| header.contains(sign));
    let (first, second) = (signs.next(), signs.next());
    let (Some(first), Some(_)) = (first, second) else {
        return Ok(first.unwrap_or(b','));
    };
    let several = [first].into_iter().chain(second).chain(signs);
    let several: Vec<_> = several.collect();
    let mut fitting = several.iter().filter(|&&sign| rows_fit(start, sign));
    match (fitting.next(), fitting.next()) {
        (Some(&sign), None) => Ok(sign),
        _ => {
            let names = several.iter().map(|&sign| format!("{:?}", sign as char));
            Err(names.collect::<Vec<_>>().join(" and "))
        }
    }
}

/// The first line that is not blank, without what stands in quotes.
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

/// Whether most rows have as many cells as the header if `sign` separates them.
fn rows_fit(start: &[u8], sign: u8) -> bool {
    let mut reader = ReaderBuilder::new()
        .delimiter(sign)
        .has_headers(false)
        .flexible(true)
        .from_reader(start);
    let rows = reader.byte_records().map_while(Result::ok);
    let lengths: Vec<_> = rows
        .map(|row: ByteRecord| row.len())
        .take(ROWS + 1)
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
    fn the_header_says_what_separates_cells() {
        for (table, sign) in [
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
            assert_eq!(separator(table.as_bytes()), Ok(sign), "{table}");
        }
    }

    #[test]
    fn rows_decide_between_the_signs_of_a_header() {
        for (table, sign) in [
            ("image,text (left; right)\na,b\nc,d\n", b','),
            ("Bild;Befund, kurz\na;b\nc;d, e, f\ng;h\n", b';'),
        ] {
            assert_eq!(separator(table.as_bytes()), Ok(sign), "{table}");
        }
        for table in ["a,b;c\n", "a,b;c\n1,2;3\n", "a,b;c\n1\n2\n"] {
            let signs = separator(table.as_bytes()).unwrap_err();
            assert_eq!(signs, "',' and ';'", "{table}");
        }
    }
}
