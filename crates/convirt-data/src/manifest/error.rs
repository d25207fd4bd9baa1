//! Errors in reading and splitting a manifest.

use std::path::PathBuf;

use super::study::{Split, UnknownSplit};
use super::table::error::TableError;
use crate::files::{printable, shown, truncated_list};
use crate::setting::SettingError;
use crate::skips::TooManyBadRows;

/// An error in reading or splitting a manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] SettingError),

    /// The table cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),

    /// Too many rows are bad input.
    #[error(transparent)]
    TooManyBadRows(#[from] TooManyBadRows),

    /// The CSV begins with data where the header should be.
    #[error(
        "{}: the first row must be a header, but its image cell `{cell}` is an image file; add a \
         header row", shown(path), cell = printable(cell)
    )]
    DataInHeader {
        /// The CSV.
        path: PathBuf,
        /// The cell that names an existing file.
        cell: String,
    },

    /// The CSV has no column of the requested name.
    #[error(
        "{}: no column `{column}` (`{setting}`){}; found {}",
        shown(path),
        suggest(nearest),
        truncated_list(found)
    )]
    MissingColumn {
        /// The CSV.
        path: PathBuf,
        /// The setting that chose the column.
        setting: &'static str,
        /// The requested name.
        column: String,
        /// The column with the most similar name.
        nearest: Option<Box<str>>,
        /// The existing columns.
        found: Vec<String>,
    },

    /// Several columns have the requested name.
    #[error(
        "{}: columns {} are all called `{column}` (`{setting}`); give the position instead",
        shown(path),
        truncated_list(positions)
    )]
    AmbiguousColumn {
        /// The CSV.
        path: PathBuf,
        /// The setting that chose the column.
        setting: &'static str,
        /// The requested name.
        column: String,
        /// Positions of these columns, from 0.
        positions: Vec<usize>,
    },

    /// The requested position is beyond the last column.
    #[error(
        "{}: no column {position} (`{setting}`), counted from 0; found the {} columns {}",
        shown(path), found.len(), truncated_list(found)
    )]
    ColumnOutOfRange {
        /// The CSV.
        path: PathBuf,
        /// The setting that chose the column.
        setting: &'static str,
        /// The requested position, from 0.
        position: usize,
        /// The existing columns.
        found: Vec<String>,
    },

    /// No column holds paths of images.
    #[error(
        "{}: no column holds paths of image files (looked in {}); found the columns {}",
        shown(path),
        shown(root),
        truncated_list(found)
    )]
    NoImageColumn {
        /// The CSV.
        path: PathBuf,
        /// Folder that relative paths start from.
        root: PathBuf,
        /// The existing columns.
        found: Vec<String>,
    },

    /// A column names images, but no such file exists.
    #[error(
        "{}: column `{}` names images, but they are not in {}, such as `{}`; \
         `{setting}`, or --image-root where a command has it, is the folder that their paths \
         start from",
        shown(path),
        printable(column),
        shown(root),
        printable(example)
    )]
    ImagesElsewhere {
        /// The CSV.
        path: PathBuf,
        /// The column.
        column: Box<str>,
        /// Folder that relative paths start from.
        root: PathBuf,
        /// The first cell.
        example: Box<str>,
        /// The setting of that folder.
        setting: &'static str,
    },

    /// No column holds texts or paths of text files.
    #[error(
        "{}: no column holds texts of several words or paths of text files; found the columns {}; \
         `{setting}` names the one of the texts",
        shown(path),
        truncated_list(found)
    )]
    NoTextColumn {
        /// The CSV.
        path: PathBuf,
        /// The existing columns.
        found: Vec<String>,
        /// The setting that chooses the text column.
        setting: &'static str,
    },

    /// The text column is read as paths, but holds texts.
    #[error(
        "{}: column `{}` holds texts, such as `{}`, but `{setting}` says that it holds paths of \
         text files",
        shown(path),
        printable(column),
        printable(example)
    )]
    TextsTakenForPaths {
        /// The CSV.
        path: PathBuf,
        /// The column.
        column: String,
        /// The beginning of its first cell.
        example: String,
        /// The setting.
        setting: &'static str,
    },

    /// The text column is read as texts, but holds paths.
    #[error(
        "{}: column `{}` holds paths of text files, such as `{}`, but `{setting}` says that it \
         holds the texts",
        shown(path),
        printable(column),
        printable(example)
    )]
    PathsTakenForTexts {
        /// The CSV.
        path: PathBuf,
        /// The column.
        column: String,
        /// Its first cell.
        example: String,
        /// The setting.
        setting: &'static str,
    },

    /// A cell of the split column is not the name of a side.
    #[error(
        "{}: row {row}: {cause}; correct the cell, or set `split_col: null` if the column is to be \
         left alone",
        shown(path)
    )]
    SplitCell {
        /// The CSV.
        path: PathBuf,
        /// The row, counted from 1 after the header.
        row: usize,
        /// The unknown word.
        cause: UnknownSplit,
    },

    /// A path leads outside of the folders that the table may read from.
    #[error(
        "{}: row {row}: `{}` leads outside of the folders of the table, its images and its texts; \
         give the folder that it lies in as theirs, or, if the table is to be trusted, allow it \
         with `{setting}` or --allow-outside-roots where a command has it",
        shown(path),
        printable(cell)
    )]
    OutsideRoots {
        /// The CSV.
        path: PathBuf,
        /// The row, counted from 1 after the header.
        row: usize,
        /// The path as the table gives it.
        cell: String,
        /// The setting that allows it.
        setting: &'static str,
    },

    /// The CSV has no usable rows.
    #[error("{}: none of the {rows} rows can be used. {summary}", shown(path))]
    NoStudies {
        /// The CSV.
        path: PathBuf,
        /// Rows of the CSV.
        rows: usize,
        /// The skipped rows, by reason.
        summary: String,
    },

    /// This row has no side of the split, while other rows have one.
    #[error("row {row} ({}): no split, while other rows have one", shown(image))]
    RowWithoutSplit {
        /// The row, counted from 1 after the header.
        row: usize,
        /// Its image.
        image: PathBuf,
    },

    /// The split column puts a group on several sides, which leaks training data into evaluation.
    #[error(
        "{count} groups are on more than one side of the split column, which leaks them into the \
         evaluation; the first: {}", printable(examples.join("; "))
    )]
    LeakedGroups {
        /// Number of them.
        count: usize,
        /// The first few groups, each with a row on each side.
        examples: Vec<String>,
    },

    /// The split column puts an image on several sides, which leaks training data into evaluation.
    #[error(
        "{count} images are on more than one side of the split column, which leaks them into the \
         evaluation; the first: {}", examples.join("; ")
    )]
    LeakedImages {
        /// Number of them.
        count: usize,
        /// The first few images, each with a row on each side.
        examples: Vec<String>,
    },

    /// A required side of the split is empty.
    #[error("the split column marks no row as {split}")]
    EmptySplit {
        /// The empty side.
        split: Split,
    },

    /// There are fewer than two groups to split.
    #[error(
        "{pairs} pairs in {groups} groups cannot be divided into training and validation: at \
         least two groups are needed (`{setting}` says what a group is)"
    )]
    TooFewGroups {
        /// Number of groups.
        groups: usize,
        /// Number of pairs.
        pairs: usize,
        /// The setting that chooses the group column.
        setting: &'static str,
    },

    /// All training texts are equal.
    #[error(
        "all {texts} texts are equal: there is nothing to tell images apart by; is \
         `{setting}` the column of texts?"
    )]
    EqualTexts {
        /// Number of texts.
        texts: usize,
        /// The setting that chooses the text column.
        setting: &'static str,
    },

    /// The class column contains only one class.
    #[error(
        "{}: column `{column}` holds only the class `{class}`; there is nothing to tell apart",
        shown(path), class = printable(class)
    )]
    OneClass {
        /// The CSV.
        path: PathBuf,
        /// The column.
        column: String,
        /// The class.
        class: String,
    },

    /// A cell of the class column seems to list several findings.
    #[error(
        "{}: column `{column}`: `{cell}` seems to list findings that other cells name too; say \
         what separates them (`--label-separator '{separator}'`), or write classes without a \
         `{separator}`",
        shown(path), cell = printable(cell)
    )]
    ListedClasses {
        /// The CSV.
        path: PathBuf,
        /// The column.
        column: String,
        /// The cell.
        cell: String,
        /// The likely separator.
        separator: &'static str,
    },

    /// The class column does not contain the class chosen as positive.
    #[error(
        "{}: column `{column}` has no class `{class}`; found {}",
        shown(path),
        truncated_list(found)
    )]
    UnknownClass {
        /// The CSV.
        path: PathBuf,
        /// The column.
        column: String,
        /// The requested class.
        class: String,
        /// The existing classes.
        found: Vec<String>,
    },

    /// A class is chosen as positive, but the class column has more than two.
    #[error(
        "{}: column `{column}` has {} classes: {}; `{class}` can be the positive one of two only: \
         leave the choice out, or give a column of that finding",
        shown(path),
        found.len(),
        truncated_list(found)
    )]
    PositiveOfSeveral {
        /// The CSV.
        path: PathBuf,
        /// The column.
        column: String,
        /// The requested class.
        class: String,
        /// The existing classes.
        found: Vec<String>,
    },

    /// A label has only one outcome among all images.
    #[error(
        "not one of {images} images is known to be {} for `{label}`: there is nothing to tell \
         apart; leave the label out", outcome(*holds), label = printable(label)
    )]
    OneSided {
        /// The label.
        label: String,
        /// The missing outcome.
        holds: bool,
        /// Number of images.
        images: usize,
    },

    /// The fraction of the training data is too small to contain each outcome of a label.
    #[error(
        "a fraction of {fraction} keeps none of the {groups} groups in which `{label}` is {}; the \
         smallest that keeps one is {}; give larger fractions (--fractions 0.1,1, or 1 alone)",
        outcome(*holds), rounded_up(0.5 / *groups as f64), label = printable(label)
    )]
    FractionTooSmall {
        /// The fraction, from 0 to 1.
        fraction: f64,
        /// The label.
        label: String,
        /// The missing outcome.
        holds: bool,
        /// Groups with that outcome.
        groups: usize,
    },

    /// An outcome of a label occurs in too few groups to be on both sides of a split.
    #[error(
        "`{label}` is {} in {groups} {} only, too few to have some to learn from and some held \
         out", outcome(*holds), if *groups == 1 { "group" } else { "groups" }, label = printable(label)
    )]
    TooFewWithLabel {
        /// The label.
        label: String,
        /// The outcome.
        holds: bool,
        /// Groups with that outcome.
        groups: usize,
    },
}

impl ManifestError {
    /// Whether a setting is invalid, and not a file.
    pub fn is_misuse(&self) -> bool {
        matches!(self, Self::Setting(_))
    }

    /// Renames the setting that the error mentions, if any: to the key of a configuration file, for
    /// instance.
    #[must_use]
    pub fn with_setting(mut self, rename: impl Fn(&'static str) -> &'static str) -> Self {
        if let Self::MissingColumn { setting, .. }
        | Self::AmbiguousColumn { setting, .. }
        | Self::ColumnOutOfRange { setting, .. }
        | Self::ImagesElsewhere { setting, .. }
        | Self::NoTextColumn { setting, .. }
        | Self::TextsTakenForPaths { setting, .. }
        | Self::PathsTakenForTexts { setting, .. }
        | Self::TooFewGroups { setting, .. }
        | Self::EqualTexts { setting, .. }
        | Self::OutsideRoots { setting, .. }
        | Self::Setting(
            SettingError::OutOfRange { setting, .. } | SettingError::UnknownWord { setting, .. },
        ) = &mut self
        {
            *setting = rename(setting);
        }
        self
    }
}

fn suggest(nearest: &Option<Box<str>>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| {
        format!(", did you mean `{}`?", printable(name))
    })
}

fn outcome(holds: bool) -> &'static str {
    if holds { "positive" } else { "negative" }
}

/// A number above 0, rounded up to two figures.
fn rounded_up(number: f64) -> f64 {
    let scale = 10f64.powf(1.0 - number.log10().floor());
    // The small subtraction keeps numbers that are exact except for their last bits.
    (number * scale - 1e-9).ceil() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_very_many_columns_makes_no_long_message() {
        let columns: Vec<String> = (100_000..300_000).map(|it| it.to_string()).collect();
        let path = PathBuf::from("pairs.csv");
        for error in [
            ManifestError::Table(TableError::NoColumn {
                path: path.clone(),
                column: "image".into(),
                found: columns.clone(),
            }),
            ManifestError::MissingColumn {
                path: path.clone(),
                setting: "image_col",
                column: "image".into(),
                nearest: None,
                found: columns.clone(),
            },
            ManifestError::AmbiguousColumn {
                path: path.clone(),
                setting: "image_col",
                column: "image".into(),
                positions: (100_000..300_000).collect(),
            },
            ManifestError::ColumnOutOfRange {
                path: path.clone(),
                setting: "image_col",
                position: 300_000,
                found: columns.clone(),
            },
            ManifestError::UnknownClass {
                path,
                column: "label".into(),
                class: "Edema".into(),
                found: columns,
            },
        ] {
            let message = error.to_string();
            assert!(message.contains("100000") && message.contains("199980 more"));
            assert!(message.len() < 500, "{message}");
        }
    }
}
