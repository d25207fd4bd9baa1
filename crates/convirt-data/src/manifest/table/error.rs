//! Errors in reading a table.

use std::path::PathBuf;

use crate::files::{FileError, printable, shown, truncated_list};

/// An error in reading a table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The file cannot be read or is not text.
    #[error(transparent)]
    File(#[from] FileError),

    /// The header row contains several possible separators.
    #[error(
        "{}: the header row has {separators}, and the rows do not tell which of them separates cells; \
         put names that hold one in quotes",
        shown(path)
    )]
    AmbiguousSeparator {
        /// The table.
        path: PathBuf,
        /// The possible separators.
        separators: String,
    },

    /// Shards have no sample.
    #[error(
        "{}: no sample in the shards: an image and a .txt or .json of the same name",
        shown(path)
    )]
    NoSamples {
        /// The pattern of the shards.
        path: PathBuf,
    },

    /// The CSV is malformed.
    #[error("{}: cannot be read as CSV: {cause}", shown(path))]
    Csv {
        /// The CSV.
        path: PathBuf,
        /// Where and why.
        cause: csv::Error,
    },

    /// A quote in the CSV is not closed, so that the rest of the file is one cell.
    #[error(
        "{}: row {row} (line {line}): a quote is opened and never closed, so that the rest of \
         the file became one cell",
        shown(path)
    )]
    UnclosedQuote {
        /// The CSV.
        path: PathBuf,
        /// The row, counted from 1 after the header.
        row: usize,
        /// The line of the file where the row begins, from 1.
        line: u64,
    },

    /// A cell of the CSV is too long for a text.
    #[error(
        "{}: row {row} (line {line}), column {column}: {bytes} bytes, more than the {max_bytes} \
         of the longest text; is a quote amiss?",
        shown(path)
    )]
    LongCell {
        /// The CSV.
        path: PathBuf,
        /// The row, counted from 1 after the header; 0 is the header.
        row: usize,
        /// The line of the file where the row begins, from 1.
        line: u64,
        /// Position of the column, from 0.
        column: usize,
        /// Bytes of the cell.
        bytes: usize,
        /// Bytes allowed.
        max_bytes: usize,
    },

    /// A line is too long for a table or a list.
    #[error(
        "{}: line {line} has {bytes} bytes, more than the {max_bytes} of the longest line; is this \
         the right file?",
        shown(path)
    )]
    LongLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Bytes of the line.
        bytes: usize,
        /// Bytes allowed.
        max_bytes: usize,
    },

    /// The CSV is empty and has no header row.
    #[error("{}: empty; a header row is needed", shown(path))]
    NoHeader {
        /// The CSV.
        path: PathBuf,
    },

    /// The header row is not UTF-8.
    #[error(
        "{}: the header row is not UTF-8; save the file as CSV in UTF-8",
        shown(path)
    )]
    HeaderNotUtf8 {
        /// The CSV.
        path: PathBuf,
    },

    /// A column that the format requires is missing.
    #[error(
        "{}: no column `{column}`; found {}",
        shown(path),
        truncated_list(found)
    )]
    NoColumn {
        /// The table.
        path: PathBuf,
        /// The name.
        column: String,
        /// The existing columns.
        found: Vec<String>,
    },

    /// A cell does not follow the format of the table.
    #[error(
        "{}: row {row}, column `{column}`: `{cell}` is not {expected}",
        shown(path), cell = printable(cell)
    )]
    Cell {
        /// The table.
        path: PathBuf,
        /// The row, counted from 1 after the header.
        row: usize,
        /// The column.
        column: String,
        /// Content of the cell.
        cell: String,
        /// What the format expects.
        expected: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_cells_do_not_act_on_a_terminal() {
        let error = TableError::Cell {
            path: "a\u{1b}[2J.csv".into(),
            row: 1,
            column: "Edema".into(),
            cell: "1\nerror: \u{202e}".into(),
            expected: "1, 0, -1 or nothing",
        };
        let message = error.to_string();
        assert!(
            !message.contains(['\u{1b}', '\n', '\u{202e}']),
            "{message:?}"
        );
        assert!(message.starts_with("a\\u{1b}[2J.csv: row 1"), "{message}");
    }
}
