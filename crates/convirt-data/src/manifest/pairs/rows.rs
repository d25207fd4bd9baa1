//! Reading of studies from the rows of a CSV.

use std::path::{Path, PathBuf};

use csv::ByteRecord;

use super::ManifestConfig;
use crate::files::{Roots, path_text};
use crate::image::{Fault, probe_image, read_text};
use crate::manifest::column::Column;
use crate::manifest::error::ManifestError;
use crate::manifest::row::{
    NamedColumn, Unusable, cell, check_header, check_length, file, filled, root, side, unusable,
};
use crate::manifest::study::{Report, Study};
use crate::skips::SkipReason;

/// Reads studies from rows.
pub(crate) struct RowReader<'a> {
    config: &'a ManifestConfig,
    columns: usize,
    image: NamedColumn,
    text: Option<NamedColumn>,
    group: Option<NamedColumn>,
    split: Option<NamedColumn>,
    image_root: &'a Path,
    text_root: &'a Path,
    roots: Roots,
}

/// The cells of a row that belong to a pair.
pub(crate) struct Cells {
    /// Path of the image file.
    pub(crate) image: PathBuf,
    /// The text, if there is a text column and it contains texts.
    text: Option<String>,
    /// Path of the text file, if the text column contains paths.
    text_file: Option<PathBuf>,
    /// The group, if there is a group column.
    group: Option<String>,
    /// The cell of the split column; empty without one.
    pub(crate) split: String,
}

impl<'a> RowReader<'a> {
    /// Finds the columns that the configuration names.
    pub(crate) fn new(
        config: &'a ManifestConfig,
        header: &[String],
    ) -> Result<Self, ManifestError> {
        let csv = config.csv_file.as_path();
        let find = |column: &Column, key| NamedColumn::find(column, header, csv, key);
        let text = config.text.as_ref();
        let group = config.group.as_ref();
        let split = config.split.as_ref();
        let image_root = root(config.img_root_dir.as_deref(), csv);
        let text_root = root(config.text_root_dir.as_deref(), csv);
        let roots = [root(None, csv), image_root, text_root];
        Ok(Self {
            config,
            columns: header.len(),
            image: find(&config.image, "image_col")?,
            text: text.map(|column| find(column, "text_col")).transpose()?,
            group: group.map(|column| find(column, "group_col")).transpose()?,
            split: split.map(|column| find(column, "split_col")).transpose()?,
            image_root,
            text_root,
            roots: Roots::new(roots, config.allow_outside_roots),
        })
    }

    /// Rejects a table whose first row is a pair instead of a header.
    pub(crate) fn check_header(&self, header: &[String]) -> Result<(), ManifestError> {
        let ManifestConfig {
            csv_file, image, ..
        } = self.config;
        check_header(
            header,
            csv_file,
            image,
            self.image.position,
            self.image_root,
            &self.roots,
        )
    }

    /// Reads the study of `record`, which is row number `row`.
    pub(super) fn study(&self, row: usize, record: &ByteRecord) -> Result<Study, Unusable> {
        let csv = self.config.csv_file.as_path();
        let skip = |file: &Path, fault| unusable(csv, row, file, fault);
        let cells = self.cells(record).map_err(|fault| skip(csv, fault))?;
        let split = side(csv, row, &cells.split).map_err(Unusable::Table)?;
        let limits = &self.config.limits;
        let header =
            probe_image(&cells.image, limits).map_err(|fault| skip(&cells.image, fault))?;
        let in_text = |fault| skip(&self.text_file(&cells), fault);
        let report = match self.text(&cells).map_err(in_text)? {
            Some(text) => Report::new(text, self.config.min_words),
            None => Report::default(),
        };
        if self.text.is_some() && report.sentences.is_empty() {
            return Err(in_text(too_short(self.config.min_words)));
        }
        Ok(Study {
            row,
            group: self.group_of(&cells),
            image: cells.image,
            image_size: header.size,
            image_content: header.content,
            report,
            split,
        })
    }

    /// Returns the cells of `record` that belong to a pair; none of them may be empty.
    pub(crate) fn cells(&self, record: &ByteRecord) -> Result<Cells, Fault> {
        check_length(record, self.columns)?;
        let image = file(record, &self.image, self.image_root, &self.roots)?;
        let (mut text, mut text_file) = (None, None);
        match &self.text {
            Some(column) if self.config.text_from_files => {
                text_file = Some(file(record, column, self.text_root, &self.roots)?);
            }
            Some(column) => text = Some(filled(record, column)?),
            None => {}
        }
        let group = match &self.group {
            Some(column) => Some(filled(record, column)?.trim().to_owned()),
            None => None,
        };
        let split = match &self.split {
            Some(column) => cell(record, column)?,
            None => String::new(),
        };
        Ok(Cells {
            image,
            text,
            text_file,
            group,
            split,
        })
    }

    /// Returns the text of a pair, read from its file if necessary; `None` without a text column.
    pub(crate) fn text(&self, cells: &Cells) -> Result<Option<String>, Fault> {
        match &cells.text_file {
            Some(file) => read_text(file).map(Some),
            None => Ok(cells.text.clone()),
        }
    }

    /// Returns the file that contains the text of a pair: a text file or the CSV.
    pub(crate) fn text_file(&self, cells: &Cells) -> PathBuf {
        let file = cells.text_file.as_ref();
        file.unwrap_or(&self.config.csv_file).clone()
    }

    /// Returns the position of the text column, if there is one.
    pub(crate) fn text_column(&self) -> Option<usize> {
        self.text.as_ref().map(|column| column.position)
    }

    /// Returns the group of a pair; without a group column, its image.
    pub(crate) fn group_of(&self, cells: &Cells) -> String {
        let group = cells.group.clone();
        group.unwrap_or_else(|| path_text(&cells.image).into_owned())
    }

    /// Returns whether equal texts form a group where validation is drawn: there are texts, and no
    /// group column.
    pub(crate) fn groups_texts(&self) -> bool {
        self.group.is_none() && self.text.is_some()
    }
}

/// Returns the group of all pairs with a text, in which whitespace does not count.
pub(crate) fn text_group(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ")
}

/// Returns the fault for a text without a sentence of `min_words` words.
pub(crate) fn too_short(min_words: usize) -> Fault {
    let detail = format!("no sentence of {min_words} words");
    (SkipReason::TooShort, detail)
}
