//! Reading of a CSV into a header and raw rows; a bad row does not affect the others.

pub(crate) mod error;
pub(crate) mod separator;
mod shards;

pub use shards::shards;

use std::path::Path;

use csv::{ByteRecord, Position, ReaderBuilder};
use memchr::memchr_iter;

use super::table::separator::{find_separator, named_separator};
use crate::files::{FileError, read_regular};
use crate::image::MAX_TEXT;
use crate::manifest::table::error::TableError;

/// Largest CSV, in bytes; that of MIMIC-CXR with its reports has 0.2 GB.
const MAX_BYTES: u64 = 4 << 30;

/// Longest line, in bytes: a thousand columns of long texts.
const MAX_LINE_BYTES: usize = 16 << 20;

/// A CSV file, cells as bytes.
#[derive(Debug)]
pub(crate) struct Table {
    /// Names of the columns.
    pub(crate) header: Vec<String>,
    /// The rows after the header, without blank lines; their lengths may differ.
    pub(crate) rows: Vec<ByteRecord>,
}

impl Table {
    /// Reads a table: a CSV file, or the samples of [`shards`].
    ///
    /// Accepts a byte order mark, CRLF, quoted cells that span lines, a first line `sep=;`, and
    /// semicolons, tabs or bars in place of commas.
    pub(crate) fn read(path: &Path) -> Result<Self, TableError> {
        if let Some(shards) = shards(path) {
            return Self::of_shards(path, &shards);
        }
        let bytes = read_regular(path, MAX_BYTES).map_err(FileError::read(path))?;
        check_lines(path, &bytes)?;
        let separator = find_separator(path, &bytes)?;
        let mut records = records(&bytes, separator).map_err(|cause| TableError::Csv {
            path: path.into(),
            cause,
        })?;
        if named_separator(&bytes).is_some() {
            records.remove(0);
        }
        if let Some(last) = records.last().filter(|last| is_unclosed(last, &bytes)) {
            return Err(TableError::UnclosedQuote {
                path: path.into(),
                row: records.len() - 1,
                line: line(last),
            });
        }
        for (row, record) in records.iter().enumerate() {
            check_cells(path, row, record)?;
        }
        let mut records = records.into_iter();
        let header = records
            .next()
            .ok_or_else(|| TableError::NoHeader { path: path.into() })?;
        Ok(Self {
            header: names(&header)
                .ok_or_else(|| TableError::HeaderNotUtf8 { path: path.into() })?,
            rows: records.collect(),
        })
    }
}

/// Returns the line on which a row begins, from 1.
pub(crate) fn line(row: &ByteRecord) -> u64 {
    row.position().map_or(0, Position::line)
}

/// Rejects long lines: their cells would take many times as much memory.
fn check_lines(path: &Path, bytes: &[u8]) -> Result<(), TableError> {
    let mut start = 0;
    let ends = memchr_iter(b'\n', bytes).chain([bytes.len()]);
    for (index, end) in ends.enumerate() {
        let length = end - start;
        if length > MAX_LINE_BYTES {
            return Err(TableError::LongLine {
                path: path.into(),
                line: index + 1,
                bytes: length,
                max_bytes: MAX_LINE_BYTES,
            });
        }
        start = end + 1;
    }
    Ok(())
}

/// Rejects cells that are too long for a text; the usual cause is a missing closing quote.
fn check_cells(path: &Path, row: usize, record: &ByteRecord) -> Result<(), TableError> {
    let max_bytes = MAX_TEXT as usize;
    match record
        .iter()
        .enumerate()
        .find(|(_, cell)| cell.len() > max_bytes)
    {
        None => Ok(()),
        Some((column, cell)) => Err(TableError::LongCell {
            path: path.into(),
            row,
            line: line(record),
            column,
            bytes: cell.len(),
            max_bytes,
        }),
    }
}

fn names(header: &ByteRecord) -> Option<Vec<String>> {
    header
        .iter()
        .map(|name| String::from_utf8(name.into()).ok())
        .collect()
}

/// Reads all rows, each with the position of its first byte.
fn records(bytes: &[u8], separator: u8) -> csv::Result<Vec<ByteRecord>> {
    let mut reader = ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .flexible(true)
        .from_reader(bytes);
    let mut records = Vec::new();
    let (mut start, mut line) = (0, 1);
    for record in reader.byte_records() {
        let mut record = record?;
        // The reader's position may be that of a line end or a blank line before the row.
        let position = record
            .position()
            .map_or(start, |position| position.byte() as usize);
        let line_ends = bytes[position..]
            .iter()
            .take_while(|byte| b"\r\n".contains(byte));
        let row_start = position + line_ends.count();
        line += bytes[start..row_start]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count() as u64;
        start = row_start;
        let mut position = Position::new();
        position.set_byte(start as u64).set_line(line);
        record.set_position(Some(position));
        records.push(record);
    }
    Ok(records)
}

/// Whether the file ends inside a quote: the last row spans lines and has an odd number of quotes.
/// The CSV reader would take the rest of the file as one cell.
fn is_unclosed(last: &ByteRecord, bytes: &[u8]) -> bool {
    let spans_lines = last.iter().any(|cell| cell.contains(&b'\n'));
    let start = last.position().map_or(0, Position::byte) as usize;
    let quotes = bytes[start..].iter().filter(|&&byte| byte == b'"').count();
    spans_lines && quotes % 2 == 1
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn table(bytes: &[u8]) -> Result<Table, TableError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pairs.csv");
        fs::write(&path, bytes).unwrap();
        Table::read(&path)
    }

    #[test]
    fn byte_order_marks_line_ends_blank_lines_and_quoted_cells_are_read() {
        let table = table(b"\xef\xbb\xbfimage,text\r\n\r\na.png,\"one\r\n\"\"two\"\", three\"\r\n")
            .unwrap();
        assert_eq!(table.header, ["image", "text"]);
        assert_eq!(table.rows.len(), 1);
        assert_eq!(&table.rows[0][1], b"one\r\n\"two\", three");
        assert_eq!(line(&table.rows[0]), 3);
    }

    #[test]
    fn a_first_line_that_names_the_separator_is_not_the_header() {
        let table = table(b"sep=;\r\nimage;text, if any\r\na.png;Clear, normal.\r\n").unwrap();
        assert_eq!(table.header, ["image", "text, if any"]);
        assert_eq!(&table.rows[0][1], b"Clear, normal.");
        assert_eq!(line(&table.rows[0]), 3);
    }

    #[test]
    fn semicolons_tabs_and_bars_separate_cells_if_the_header_has_them() {
        for sign in [";", "\t", "|"] {
            let text = "image;text\na.png;\"one; two\"\nb.png;63,5\n".replace(';', sign);
            let table = table(text.as_bytes()).unwrap();
            assert_eq!(table.header, ["image", "text"]);
            let cells: Vec<_> = table.rows.iter().map(|row| row[1].to_vec()).collect();
            assert_eq!(cells[0], format!("one{sign} two").into_bytes());
            assert_eq!(cells[1], b"63,5");
        }
        let error = table(b"image,a;b\n1,2;3\n").unwrap_err().to_string();
        assert!(error.contains("',' and ';'"), "{error}");
    }

    #[test]
    fn ragged_rows_and_invalid_bytes_do_not_affect_other_rows() {
        let table = table(b"image,text\na\nb,\xff\nc,d,e\nf,g").unwrap();
        let lengths: Vec<_> = table.rows.iter().map(ByteRecord::len).collect();
        assert_eq!(lengths, [1, 2, 3, 2]);
        assert_eq!(&table.rows[1][1], b"\xff");
    }

    #[test]
    fn an_unclosed_quote_is_an_error_with_row_and_line() {
        let error = table(b"image,text\na,b\nc,\"d\ne,f\ng,h\n").unwrap_err();
        assert!(
            matches!(
                error,
                TableError::UnclosedQuote {
                    row: 2,
                    line: 3,
                    ..
                }
            ),
            "{error}"
        );
        assert!(table(b"image,text\na,b\nc,\"d\n\"\"e\"\"\"\n").is_ok());
    }

    #[test]
    fn a_cell_too_long_for_a_text_is_an_error_with_its_row() {
        let long = "x\n".repeat(1 << 19);
        let with_cell = |text: &str| table(format!("image,text\na,b\nc,\"{text}\"\n").as_bytes());
        assert!(with_cell(&long).is_ok());
        let message = with_cell(&(long + "x")).unwrap_err().to_string();
        let expected = "row 2 (line 3), column 1: 1048577 bytes, more than the 1048576 of";
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn a_line_of_commas_is_rejected_before_it_becomes_cells() {
        let file = "image,text\n".to_string() + &",".repeat(MAX_LINE_BYTES + 1);
        let error = table(file.as_bytes()).unwrap_err();
        assert!(
            matches!(error, TableError::LongLine { line: 2, .. }),
            "{error}"
        );
    }

    #[test]
    fn an_empty_file_has_no_header() {
        for nothing in [&b""[..], b"\n\n"] {
            assert!(matches!(table(nothing), Err(TableError::NoHeader { .. })));
        }
    }

    #[test]
    fn other_encodings_are_rejected() {
        let utf_16 = b"\xff\xfei\0m\0a\0g\0e\0,\0t\0e\0x\0t\0\n\0";
        for bytes in [&utf_16[..], &utf_16[2..]] {
            let error = table(bytes).unwrap_err();
            let error = error.to_string();
            assert!(
                error.ends_with(": a text in UTF-16; save it as UTF-8"),
                "{error}"
            );
        }
        assert!(matches!(
            table(b"image,r\xe9sum\xe9\n"),
            Err(TableError::HeaderNotUtf8 { .. })
        ));
    }

    #[test]
    fn a_missing_file_is_an_error_that_names_it() {
        let error = Table::read(Path::new("nowhere/pairs.csv")).unwrap_err();
        assert!(
            error.to_string().starts_with("nowhere/pairs.csv"),
            "{error}"
        );
    }
}
