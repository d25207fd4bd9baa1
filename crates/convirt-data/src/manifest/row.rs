//! Rows of a CSV and their cells: what every manifest reads alike.

use std::path::Path;

use csv::ByteRecord;
use rayon::prelude::*;

use super::column::Column;
use super::study::Split;
use super::table::{Table, line};
use crate::image::{Fault, utf_8};
use crate::manifest::error::ManifestError;
use crate::skips::{Skip, SkipReason, Skips};

/// Rows looked at between two checks of the share of bad ones.
const ROWS_AT_ONCE: usize = 1024;

/// Why a row cannot be used.
pub(crate) enum Unusable {
    Row(Skip),
    Table(ManifestError),
}

/// A column that a CSV has.
pub(crate) struct NamedColumn {
    pub(crate) position: usize,
    pub(crate) name: String,
}

impl NamedColumn {
    /// Finds a column of `csv`; `setting` asks for it.
    pub(crate) fn find(
        column: &Column,
        header: &[String],
        csv: &Path,
        setting: &'static str,
    ) -> Result<Self, ManifestError> {
        let position = column.position(header, csv, setting)?;
        let name = header[position].clone();
        Ok(Self { position, name })
    }
}

/// Reads the rows of `table` on all cores, in order; those that cannot be used go to `skips`.
pub(crate) fn usable_rows<T: Send>(
    table: &Table,
    skips: &Skips,
    read: impl Fn(usize, &ByteRecord) -> Result<T, Unusable> + Sync,
) -> Result<Vec<T>, ManifestError> {
    let mut usable = Vec::new();
    for (chunk, rows) in table.rows.chunks(ROWS_AT_ONCE).enumerate() {
        let first_row = chunk * ROWS_AT_ONCE + 1;
        let made: Vec<_> = rows
            .par_iter()
            .enumerate()
            .map(|(i, record)| read(first_row + i, record))
            .collect();
        let mut verdict = Ok(());
        for row in made {
            match row {
                Ok(row) => usable.push(row),
                Err(Unusable::Row(skip)) => verdict = skips.record(skip),
                Err(Unusable::Table(error)) => return Err(error),
            }
        }
        verdict?;
    }
    if usable.is_empty() {
        return Err(ManifestError::NoStudies {
            path: skips.manifest().into(),
            rows: table.rows.len(),
            summary: skips.to_string(),
        });
    }
    Ok(usable)
}

/// Refuses a table whose header is data: that row would be lost without a word.
pub(crate) fn check_header(
    header: &[String],
    csv: &Path,
    image: &Column,
    position: usize,
    image_root: &Path,
) -> Result<(), ManifestError> {
    let cell = header[position].trim();
    let is_named = matches!(image, Column::Name(_));
    if is_named || cell.is_empty() || !image_root.join(cell).is_file() {
        return Ok(());
    }
    Err(ManifestError::DataInHeader {
        path: csv.into(),
        cell: cell.into(),
    })
}

/// Checks that a row has as many cells as the header.
pub(crate) fn check_length(record: &ByteRecord, columns: usize) -> Result<(), Fault> {
    if record.len() == columns {
        return Ok(());
    }
    let cells = record.len();
    let line_ends = record.iter().flatten().filter(|&&byte| byte == b'\n');
    let first = line(record);
    let lines = match line_ends.count() as u64 {
        0 => format!("line {first}"),
        more => format!("lines {first} to {}, is a quote amiss?", first + more),
    };
    let detail = format!("{cells} cells where the header has {columns}, {lines}");
    Err((SkipReason::RaggedRow, detail))
}

/// Returns a cell, whatever is in it.
pub(crate) fn cell(record: &ByteRecord, column: &NamedColumn) -> Result<String, Fault> {
    utf_8(&record[column.position]).map_err(|byte| {
        let (name, line) = (&column.name, line(record));
        let detail = format!("column `{name}`, byte {byte} of the cell, line {line}");
        (SkipReason::NotUtf8, detail)
    })
}

/// Returns a cell that may not be empty.
pub(crate) fn filled(record: &ByteRecord, column: &NamedColumn) -> Result<String, Fault> {
    let text = cell(record, column)?;
    if text.trim().is_empty() {
        let detail = format!("column `{}`, line {}", column.name, line(record));
        return Err((SkipReason::EmptyCell, detail));
    }
    Ok(text)
}

/// Reads the word of a split column; none is no side.
pub(crate) fn side(csv: &Path, row: usize, word: &str) -> Result<Option<Split>, ManifestError> {
    if word.trim().is_empty() {
        return Ok(None);
    }
    word.parse()
        .map(Some)
        .map_err(|cause| ManifestError::SplitCell {
            path: csv.into(),
            row,
            cause,
        })
}
