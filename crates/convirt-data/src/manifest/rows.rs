//! Rows of a CSV made into studies.

use std::path::{Path, PathBuf};

use csv::ByteRecord;

use super::ManifestConfig;
use crate::probe::{Fault, probe_image, read_text};
use crate::row::{NamedColumn, Unusable, cell, check_header, check_length, filled, side};
use crate::{Column, DataError, Report, Skip, SkipReason, Study};

/// Makes studies of rows.
pub(super) struct RowReader<'a> {
    config: &'a ManifestConfig,
    columns: usize,
    image: NamedColumn,
    text: Option<NamedColumn>,
    group: Option<NamedColumn>,
    split: Option<NamedColumn>,
    image_root: &'a Path,
    text_root: &'a Path,
}

impl<'a> RowReader<'a> {
    /// Finds the columns that the configuration names.
    pub(super) fn new(config: &'a ManifestConfig, header: &[String]) -> Result<Self, DataError> {
        let csv = config.csv_file.as_path();
        let folder = csv.parent().unwrap_or(Path::new(""));
        let find = |column: &Column, key| NamedColumn::find(column, header, csv, key);
        let text = config.text.as_ref();
        let group = config.group.as_ref();
        let split = config.split.as_ref();
        Ok(Self {
            config,
            columns: header.len(),
            image: find(&config.image, "dataset.img_path_col")?,
            text: text
                .map(|column| find(column, "dataset.text_col"))
                .transpose()?,
            group: group
                .map(|column| find(column, "dataset.group_col"))
                .transpose()?,
            split: split
                .map(|column| find(column, "dataset.split_col"))
                .transpose()?,
            image_root: config.img_root_dir.as_deref().unwrap_or(folder),
            text_root: config.text_root_dir.as_deref().unwrap_or(folder),
        })
    }

    /// Refuses a table whose header is a pair.
    pub(super) fn check_header(&self, header: &[String]) -> Result<(), DataError> {
        let ManifestConfig {
            csv_file, image, ..
        } = self.config;
        check_header(
            header,
            csv_file,
            image,
            self.image.position,
            self.image_root,
        )
    }

    /// Makes the study of `record`, the row of this number.
    pub(super) fn study(&self, row: usize, record: &ByteRecord) -> Result<Study, Unusable> {
        let csv = self.config.csv_file.as_path();
        let skip = |file: &Path, (reason, detail): Fault| {
            Unusable::Row(Skip {
                file: file.into(),
                row,
                reason,
                detail,
            })
        };
        let in_csv = |fault| skip(csv, fault);

        check_length(record, self.columns).map_err(in_csv)?;
        let image = filled(record, &self.image).map_err(in_csv)?;
        let text = match &self.text {
            Some(column) => Some(filled(record, column).map_err(in_csv)?),
            None => None,
        };
        let group = match &self.group {
            Some(column) => {
                let group = filled(record, column).map_err(in_csv)?;
                Some(group.trim().to_owned())
            }
            None => None,
        };
        let split = match &self.split {
            Some(column) => cell(record, column).map_err(in_csv)?,
            None => String::new(),
        };
        let split = side(csv, row, &split).map_err(Unusable::Table)?;

        let image = self.image_root.join(image.trim());
        probe_image(&image).map_err(|fault| skip(&image, fault))?;
        let report = match text {
            Some(text) => self
                .report(text)
                .map_err(|(file, fault)| skip(&file, fault))?,
            None => Report::default(),
        };
        Ok(Study {
            row,
            group: group.unwrap_or_else(|| self.group_of(&image, &report)),
            image,
            report,
            split,
        })
    }

    /// The report of a text cell, or its fault and the file at fault.
    fn report(&self, text: String) -> Result<Report, (PathBuf, Fault)> {
        let (file, text) = if self.config.text_from_files {
            let path = self.text_root.join(text.trim());
            match read_text(&path) {
                Ok(text) => (path, text),
                Err(fault) => return Err((path, fault)),
            }
        } else {
            (self.config.csv_file.clone(), text)
        };
        let report = Report::new(text, self.config.min_words);
        if report.sentences.is_empty() {
            let detail = format!("no sentence of {} words", self.config.min_words);
            return Err((file, (SkipReason::TooShort, detail)));
        }
        Ok(report)
    }

    /// What a pair belongs to when no column says so.
    fn group_of(&self, image: &Path, report: &Report) -> String {
        if self.split.is_some() || self.text.is_none() {
            return image.display().to_string();
        }
        let words: Vec<_> = report.text.split_whitespace().collect();
        words.join(" ")
    }
}
