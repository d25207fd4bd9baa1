//! Reading of rows and cells, shared by all manifests.

use std::path::{Path, PathBuf};

use csv::ByteRecord;
use rayon::prelude::*;

use super::column::Column;
use super::study::Split;
use super::table::{Table, line};
use crate::files::{DataFile, Roots};
use crate::image::{Fault, utf_8};
use crate::manifest::error::ManifestError;
use crate::skips::{Skip, SkipReason, Skips};

/// Rows read in parallel before the fraction of bad rows is checked.
const CHUNK_ROWS: usize = 1024;

/// Why a row cannot be used.
pub(crate) enum Unusable {
    Row(Skip),
    Table(ManifestError),
}

/// A column that exists in the CSV.
pub(crate) struct NamedColumn {
    pub(crate) position: usize,
    pub(crate) name: String,
}

impl NamedColumn {
    /// Finds a column of `csv`; `setting` is the setting that chose it.
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

/// Reads the rows of `table` on all cores, in order; unusable rows are added to `skips`.
pub(crate) fn usable_rows<T: Send>(
    table: &Table,
    skips: &Skips,
    read: impl Fn(usize, &ByteRecord) -> Result<T, Unusable> + Sync,
) -> Result<Vec<T>, ManifestError> {
    let mut usable = Vec::new();
    for (chunk, rows) in table.rows.chunks(CHUNK_ROWS).enumerate() {
        let first_row = chunk * CHUNK_ROWS + 1;
        let made: Vec<_> = rows
            .par_iter()
            .enumerate()
            .map(|(i, record)| read(first_row + i, record))
            .collect();
        let mut result = Ok(());
        for row in made {
            match row {
                Ok(row) => usable.push(row),
                Err(Unusable::Row(skip)) => result = skips.record(skip),
                Err(Unusable::Table(error)) => return Err(error),
            }
        }
        result?;
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

/// Returns the folder that relative paths of `csv` start from: the given one or that of the CSV.
pub(crate) fn root<'a>(given: Option<&'a Path>, csv: &'a Path) -> &'a Path {
    given.unwrap_or_else(|| csv.parent().unwrap_or(Path::new("")))
}

/// Returns the error of a row with a fault in `file`: the row is left out, but a path that leads
/// outside of the roots stops the reading.
pub(crate) fn unusable(csv: &Path, row: usize, file: &Path, (reason, detail): Fault) -> Unusable {
    if reason == SkipReason::OutsideRoots {
        return Unusable::Table(ManifestError::OutsideRoots {
            path: csv.into(),
            row,
            cell: detail,
            setting: "allow_outside_roots",
        });
    }
    Unusable::Row(Skip {
        file: file.into(),
        row,
        reason,
        detail,
    })
}

/// Rejects a table whose first row is data instead of a header: that row would be lost silently.
pub(crate) fn check_header(
    header: &[String],
    csv: &Path,
    image: &Column,
    position: usize,
    image_root: &Path,
    roots: &Roots,
) -> Result<(), ManifestError> {
    let cell = header[position].trim();
    if matches!(image, Column::Name(_)) || cell.is_empty() {
        return Ok(());
    }
    let file = roots.locate(image_root, cell);
    if !file.is_some_and(|file| DataFile::exists(&file)) {
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

/// Returns a cell, which may be empty.
pub(crate) fn cell(record: &ByteRecord, column: &NamedColumn) -> Result<String, Fault> {
    utf_8(&record[column.position]).map_err(|byte| {
        let (name, line) = (&column.name, line(record));
        let detail = format!("column `{name}`, byte {byte} of the cell, line {line}");
        (SkipReason::NotUtf8, detail)
    })
}

/// Returns a cell; an empty one is a fault.
pub(crate) fn filled(record: &ByteRecord, column: &NamedColumn) -> Result<String, Fault> {
    let text = cell(record, column)?;
    if text.trim().is_empty() {
        let detail = format!("column `{}`, line {}", column.name, line(record));
        return Err((SkipReason::EmptyCell, detail));
    }
    Ok(text)
}

/// Returns the path that a cell gives relative to `base`; one that leads outside is a fault.
pub(crate) fn file(
    record: &ByteRecord,
    column: &NamedColumn,
    base: &Path,
    roots: &Roots,
) -> Result<PathBuf, Fault> {
    let text = filled(record, column)?;
    let path = roots.locate(base, text.trim());
    path.ok_or_else(|| (SkipReason::OutsideRoots, text.trim().to_owned()))
}

/// Reads a cell of the split column; an empty cell has no side.
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
