//! Reading of the tables of a data set, plain or gzipped, row by row.

use std::fs;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use csv::StringRecord;
use flate2::read::MultiGzDecoder;

use crate::files::{FileError, is_plain_name, open_regular};
use crate::manifest::{TableError, find_separator, named_separator};

/// Bytes at the start of a table that are used to detect the separator.
const SAMPLE_BYTES: u64 = 64 << 10;

/// A CSV or gzipped CSV that is read row by row.
pub(super) struct Table {
    path: PathBuf,
    header: Vec<String>,
    reader: csv::Reader<LimitedReader<Box<dyn Read>>>,
    rows: usize,
    /// Line ends within the cells of the most recent row.
    line_ends: u64,
}

/// Largest table, in unpacked bytes; the largest of MIMIC-CXR has 0.1 GB.
const MAX_UNPACKED: u64 = 4 << 30;

/// Longest row, in bytes, far beyond any real one.
const MAX_ROW_BYTES: u64 = 16 << 20;

/// A reader that counts quotes and limits the bytes of the table and of each row.
struct LimitedReader<R> {
    bytes: R,
    quotes: usize,
    /// Bytes that may still be read of the table.
    left: u64,
    /// Bytes that may still be read of the current row.
    left_of_row: u64,
    /// Number of the current row, from 1 after the header.
    row: usize,
}

impl<R: Read> Read for LimitedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buffer)?;
        let quotes = buffer[..read].iter().filter(|&&byte| byte == b'"');
        self.quotes += quotes.count();
        for (left, what, limit) in [
            (&mut self.left, "a table", MAX_UNPACKED),
            (&mut self.left_of_row, "a row", MAX_ROW_BYTES),
        ] {
            *left = left.checked_sub(read as u64).ok_or_else(|| {
                let row = self.row;
                let problem = format!("row {row}: {what} of more than {limit} bytes");
                io::Error::new(io::ErrorKind::FileTooLarge, problem)
            })?;
        }
        Ok(read)
    }
}

/// A row of a table.
pub(super) struct Row<'a> {
    path: &'a Path,
    header: &'a [String],
    /// Counted from 1 after the header.
    number: usize,
    cells: StringRecord,
}

impl Table {
    /// Opens a table; a file whose name ends in `.gz` is unpacked.
    pub(super) fn open(path: &Path) -> Result<Self, TableError> {
        let unreadable = FileError::read(path);
        let file = open_regular(path).map_err(unreadable)?;
        let is_packed = path.extension().is_some_and(|end| end == "gz");
        let mut bytes: Box<dyn Read> = if is_packed {
            Box::new(MultiGzDecoder::new(BufReader::new(file)))
        } else {
            Box::new(file)
        };
        let mut start = Vec::new();
        let read = bytes.by_ref().take(SAMPLE_BYTES).read_to_end(&mut start);
        read.map_err(unreadable)?;
        let separator = find_separator(path, &start)?;
        if let Some((_, length)) = named_separator(&start) {
            // The rest of that line is blank; the CSV reader counts and skips it.
            start.drain(..length);
        }
        let bytes: Box<dyn Read> = Box::new(Cursor::new(start).chain(bytes));
        let mut reader =
            csv::ReaderBuilder::new()
                .delimiter(separator)
                .from_reader(LimitedReader {
                    bytes,
                    quotes: 0,
                    left: MAX_UNPACKED,
                    left_of_row: MAX_ROW_BYTES,
                    row: 0,
                });
        let header = reader.headers().map_err(|source| csv_error(path, source))?;
        let header: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        if header.iter().all(String::is_empty) {
            return Err(TableError::NoHeader { path: path.into() });
        }
        Ok(Self {
            path: path.into(),
            header,
            reader,
            rows: 0,
            line_ends: 0,
        })
    }

    pub(super) fn header(&self) -> &[String] {
        &self.header
    }

    /// Returns the position of a column.
    pub(super) fn column(&self, name: &str) -> Result<usize, TableError> {
        let mut names = self.header.iter();
        names
            .position(|column| column.eq_ignore_ascii_case(name))
            .ok_or_else(|| TableError::NoColumn {
                path: self.path.clone(),
                column: name.into(),
                found: self.header.clone(),
            })
    }

    /// Reads the next row. At the end of the file it checks that the last row was closed.
    pub(super) fn next_row(&mut self) -> Result<Option<Row<'_>>, TableError> {
        let mut cells = StringRecord::new();
        let limited = self.reader.get_mut();
        (limited.left_of_row, limited.row) = (MAX_ROW_BYTES, self.rows + 1);
        let more = self
            .reader
            .read_record(&mut cells)
            .map_err(|source| csv_error(&self.path, source))?;
        if !more {
            return self.check_end().map(|()| None);
        }
        self.rows += 1;
        self.line_ends = cells.as_slice().matches('\n').count() as u64;
        Ok(Some(Row {
            path: &self.path,
            header: &self.header,
            number: self.rows,
            cells,
        }))
    }

    /// Checks that the file does not end inside a quote, which makes the rest of the file one cell:
    /// the last row spans lines, and the number of quotes is odd.
    fn check_end(&self) -> Result<(), TableError> {
        if self.line_ends == 0 || self.reader.get_ref().quotes.is_multiple_of(2) {
            return Ok(());
        }
        Err(TableError::UnclosedQuote {
            path: self.path.clone(),
            row: self.rows,
            line: self.reader.position().line() - self.line_ends,
        })
    }
}

impl Row<'_> {
    /// Returns the cell of a column, trimmed.
    pub(super) fn cell(&self, column: usize) -> &str {
        self.cells.get(column).unwrap_or("").trim()
    }

    /// Returns a cell that must consist of digits.
    pub(super) fn number(&self, column: usize) -> Result<&str, TableError> {
        let cell = self.cell(column);
        let is_number = !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit());
        is_number
            .then_some(cell)
            .ok_or_else(|| self.error(column, "a number"))
    }

    /// Returns a cell that must be safe as part of a path.
    pub(super) fn name(&self, column: usize) -> Result<&str, TableError> {
        let cell = self.cell(column);
        is_plain_name(cell)
            .then_some(cell)
            .ok_or_else(|| self.error(column, "a name of letters, digits, `-`, `_` and `.`"))
    }

    /// Makes an error that names the row and the cell.
    pub(super) fn error(&self, column: usize, expected: &'static str) -> TableError {
        TableError::Cell {
            path: self.path.into(),
            row: self.number,
            column: self.header[column].clone(),
            cell: self.cell(column).into(),
            expected,
        }
    }

    pub(super) fn row(&self) -> usize {
        self.number
    }
}

/// Finds `<start>…<end>.csv` or `.csv.gz` in a folder: the last by name; a plain file is preferred.
pub(super) fn find(folder: &Path, start: &str, end: &str) -> Result<Option<PathBuf>, FileError> {
    let unreadable = FileError::read(folder);
    let names = fs::read_dir(folder)
        .map_err(unreadable)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(unreadable)?;
    let tables = names.into_iter().filter_map(|name| {
        let is_packed = name.ends_with(".gz");
        let stem = name
            .strip_suffix(".gz")
            .unwrap_or(&name)
            .strip_suffix(".csv")?;
        let middle = stem.strip_prefix(start)?;
        (middle.ends_with(end)).then(|| (stem.to_owned(), !is_packed, name.clone()))
    });
    Ok(tables.max().map(|(_, _, name)| folder.join(name)))
}

/// Wraps an error of the CSV reader, which includes errors of decompression.
fn csv_error(path: &Path, error: csv::Error) -> TableError {
    TableError::Csv {
        path: path.into(),
        cause: error,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn table(name: &str, bytes: &[u8]) -> Result<Vec<String>, TableError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let mut table = Table::open(&path)?;
        let column = table.column("study_id")?;
        let mut cells = Vec::new();
        while let Some(row) = table.next_row()? {
            cells.push(row.number(column)?.to_owned());
        }
        Ok(cells)
    }

    #[test]
    fn plain_and_packed_tables_read_the_same() {
        let text = "\u{feff}subject_id,Study_ID\n1,22\n3, 44 \n";
        assert_eq!(table("a.csv", text.as_bytes()).unwrap(), ["22", "44"]);
        assert_eq!(table("a.csv.gz", &packed(text)).unwrap(), ["22", "44"]);
        let text = text.replace(',', ";");
        assert_eq!(table("a.csv", text.as_bytes()).unwrap(), ["22", "44"]);
        let named = format!("sep=;\r\n{text}");
        assert_eq!(table("a.csv", named.as_bytes()).unwrap(), ["22", "44"]);
    }

    #[test]
    fn errors_name_file_row_and_column() {
        let error = |name: &str, bytes: &[u8]| {
            let error = table(name, bytes).unwrap_err();
            let source = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error}: {}", source.unwrap_or_default())
        };
        for (name, bytes, parts) in [
            (
                "a.csv",
                &b"x,study_id\n1,2\n1,../3\n"[..],
                &["a.csv", "row 2", "study_id", "../3"][..],
            ),
            (
                "a.csv",
                b"x,y\n1,2\n",
                &["a.csv", "study_id", "\"x\", \"y\""],
            ),
            (
                "a.csv",
                b"x,study_id\n1\n",
                &["a.csv", "line: 2", "1 field"],
            ),
            ("a.csv", b"", &["a.csv", "empty"]),
            ("a.csv", b"s\0t\0u\0", &["a.csv", "UTF-16"]),
            (
                "a.csv",
                b"x,study_id\r\n1,2\r\n3,\"4\r\n5,6\r\n",
                &["a.csv", "row 2, column `study_id`", "5,6"],
            ),
            (
                "a.csv",
                b"x,study_id\n\xff,2\n",
                &["a.csv", "line 2", "UTF-8"],
            ),
            ("a.csv.gz", b"x,study_id\n1,2\n", &["a.csv.gz", "gzip"]),
        ] {
            let text = error(name, bytes);
            for part in parts {
                assert!(text.contains(part), "no `{part}` in {text}");
            }
        }
        // A row that unpacks to a thousand times its size, beyond the limit.
        let bomb = packed(&format!(
            "x,study_id\n1,2\n1,\"{}",
            "a".repeat(MAX_ROW_BYTES as usize + 9000)
        ));
        let message = error("a.csv.gz", &bomb);
        assert!(
            message.contains("row 2: a row of more than 16777216 bytes"),
            "{message}"
        );
        let mut cut = packed(&format!("x,study_id\n{}", "1,2\n".repeat(9999)));
        cut.truncate(cut.len() / 2);
        assert!(table("a.csv.gz", &cut).is_err());
    }

    #[test]
    fn an_unclosed_quote_is_an_error_with_row_and_line() {
        let rows = |text: &str| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.csv");
            fs::write(&path, text).unwrap();
            let mut table = Table::open(&path).unwrap();
            let mut rows = 0;
            while table.next_row()?.is_some() {
                rows += 1;
            }
            Ok::<_, TableError>(rows)
        };
        for lines in ["x,y\n1,2\n3,\"4\n5,6\n", "x,y\r\n1,2\r\n3,\"4\r\n5,6\r\n"] {
            let error = rows(lines).unwrap_err();
            let TableError::UnclosedQuote { row, line, .. } = error else {
                panic!("{error}");
            };
            assert_eq!((row, line), (2, 3));
        }
        assert_eq!(rows("x,y\n1,\"2\n\"\"3\"\n").unwrap(), 1);
        assert_eq!(rows("x,y\n1,2\"\n3,4\n").unwrap(), 2);
    }

    #[test]
    fn the_newest_table_is_found_and_a_plain_one_preferred() {
        let folder = tempfile::tempdir().unwrap();
        let newest = || find(folder.path(), "mimic-cxr-", "-split").unwrap();
        assert_eq!(newest(), None);
        for (name, expected) in [
            (
                "mimic-cxr-2.0.0-split.csv.gz",
                "mimic-cxr-2.0.0-split.csv.gz",
            ),
            ("mimic-cxr-2.0.0-split.csv", "mimic-cxr-2.0.0-split.csv"),
            (
                "mimic-cxr-2.1.0-split.csv.gz",
                "mimic-cxr-2.1.0-split.csv.gz",
            ),
            ("mimic-cxr-9-metadata.csv", "mimic-cxr-2.1.0-split.csv.gz"),
        ] {
            fs::write(folder.path().join(name), "").unwrap();
            assert_eq!(newest(), Some(folder.path().join(expected)));
        }
    }
}
