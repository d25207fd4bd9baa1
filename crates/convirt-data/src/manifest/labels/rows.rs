//! Reading of labelled images from the rows of a CSV.

use std::path::Path;

use csv::ByteRecord;

use super::columns::finding;
use super::{LabelColumns, LabelledConfig, LabelledImage};
use crate::files::{Roots, path_text};
use crate::image::probe_image;
use crate::manifest::column::Column;
use crate::manifest::error::ManifestError;
use crate::manifest::row::{
    NamedColumn, Unusable, cell, check_header, check_length, file, filled, root, side, unusable,
};
use crate::manifest::table::error::TableError;
use crate::skips::SkipReason;

/// Reads labelled images from rows.
pub(super) struct RowReader<'a> {
    config: &'a LabelledConfig,
    columns: usize,
    image: NamedColumn,
    labels: Vec<NamedColumn>,
    group: Option<NamedColumn>,
    split: Option<NamedColumn>,
    image_root: &'a Path,
    roots: Roots,
}

/// A usable row.
pub(super) struct LabelledRow {
    pub image: LabelledImage,
    /// The cell of the class or list column, unchanged.
    pub class: Option<String>,
}

impl<'a> RowReader<'a> {
    /// Finds the columns that the configuration names.
    pub(super) fn new(
        config: &'a LabelledConfig,
        header: &[String],
    ) -> Result<Self, ManifestError> {
        let csv = config.csv_file.as_path();
        let find = |column: &Column, key| NamedColumn::find(column, header, csv, key);
        let labels = match &config.labels {
            LabelColumns::Class { column, .. } | LabelColumns::List { column, .. } => {
                vec![find(column, "label_col")?]
            }
            LabelColumns::Findings { columns, .. } => columns
                .iter()
                .map(|column| find(column, "label_cols"))
                .collect::<Result<_, _>>()?,
        };
        let optional = |column: &Option<Column>, key| {
            let column = column.as_ref();
            column.map(|column| find(column, key)).transpose()
        };
        let image_root = root(config.img_root_dir.as_deref(), csv);
        let roots = [root(None, csv), image_root];
        Ok(Self {
            config,
            columns: header.len(),
            image: find(&config.image, "image_col")?,
            labels,
            group: optional(&config.group, "group_col")?,
            split: optional(&config.split, "split_col")?,
            image_root,
            roots: Roots::new(roots, config.allow_outside_roots),
        })
    }

    /// Returns the names of the label columns.
    pub(super) fn label_names(&self) -> Vec<String> {
        let names = self.labels.iter().map(|column| column.name.trim());
        names.map(String::from).collect()
    }

    /// Rejects a table whose first row is data instead of a header.
    pub(super) fn check_header(&self, header: &[String]) -> Result<(), ManifestError> {
        let LabelledConfig {
            csv_file, image, ..
        } = self.config;
        let position = self.image.position;
        check_header(
            header,
            csv_file,
            image,
            position,
            self.image_root,
            &self.roots,
        )
    }

    /// Reads the labelled image of `record`, which is row number `row`.
    pub(super) fn row(&self, row: usize, record: &ByteRecord) -> Result<LabelledRow, Unusable> {
        let csv = self.config.csv_file.as_path();
        let skip = |file: &Path, fault| unusable(csv, row, file, fault);
        let in_csv = |fault| skip(csv, fault);

        check_length(record, self.columns).map_err(in_csv)?;
        let image = file(record, &self.image, self.image_root, &self.roots).map_err(in_csv)?;
        let group = match &self.group {
            Some(column) => filled(record, column).map_err(in_csv)?.trim().to_owned(),
            None => path_text(&image).into_owned(),
        };
        let split = match &self.split {
            Some(column) => cell(record, column).map_err(in_csv)?,
            None => String::new(),
        };
        let split = side(csv, row, &split).map_err(Unusable::Table)?;
        let mut class = None;
        let mut targets = Vec::new();
        match self.config.labels {
            LabelColumns::Class { .. } | LabelColumns::List { .. } => {
                let name = filled(record, &self.labels[0]).map_err(in_csv)?;
                class = Some(name.trim().to_owned());
            }
            LabelColumns::Findings {
                uncertain, blank, ..
            } => {
                for column in &self.labels {
                    let cell = cell(record, column).map_err(in_csv)?;
                    let target = finding(&cell, uncertain, blank).ok_or_else(|| {
                        let error = TableError::Cell {
                            path: csv.into(),
                            row,
                            column: column.name.clone(),
                            cell,
                            expected: "1, 0, -1 or nothing",
                        };
                        Unusable::Table(error.into())
                    })?;
                    targets.push(target);
                }
                if targets.iter().all(Option::is_none) {
                    return Err(in_csv((SkipReason::Unlabelled, String::new())));
                }
            }
        }
        let header = probe_image(&image, &self.config.limits);
        let header = header.map_err(|fault| skip(&image, fault))?;
        let image = LabelledImage {
            row,
            image,
            image_content: header.content,
            group,
            split,
            targets,
        };
        Ok(LabelledRow { image, class })
    }
}
