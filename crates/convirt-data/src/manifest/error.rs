//! Why a manifest cannot be used.

use std::path::PathBuf;

use super::study::{Split, UnknownSplit};
use super::table::error::TableError;
use crate::files::{few, printable, shown};
use crate::setting::SettingError;
use crate::skips::TooManyBadRows;

/// Why a manifest cannot be used.
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

    /// The CSV has no column of the name asked for.
    #[error(
        "{}: no column `{column}` (`{setting}`){}; found {}",
        shown(path),
        suggest(nearest),
        few(found)
    )]
    MissingColumn {
        /// The CSV.
        path: PathBuf,
        /// The setting that asks for it.
        setting: &'static str,
        /// The name asked for.
        column: String,
        /// The column that may have been meant.
        nearest: Option<Box<str>>,
        /// The columns there are.
        found: Vec<String>,
    },

    /// Several columns have the name asked for.
    #[error(
        "{}: columns {} are all called `{column}` (`{setting}`); give the position instead",
        shown(path),
        few(positions)
    )]
    AmbiguousColumn {
        /// The CSV.
        path: PathBuf,
        /// The setting that asks for it.
        setting: &'static str,
        /// The name asked for.
        column: String,
        /// Where it stands, from 0.
        positions: Vec<usize>,
    },

    /// The CSV has fewer columns than the position asked for.
    #[error(
        "{}: no column {position} (`{setting}`), counted from 0; found the {} columns {}",
        shown(path), found.len(), few(found)
    )]
    ColumnOutOfRange {
        /// The CSV.
        path: PathBuf,
        /// The setting that asks for it.
        setting: &'static str,
        /// The position asked for, from 0.
        position: usize,
        /// The columns there are.
        found: Vec<String>,
    },

    /// A cell of the split column names no side of a split.
    #[error("{}: row {row}: {cause}", shown(path))]
    SplitCell {
        /// The CSV.
        path: PathBuf,
        /// The row, counted from 1 after the header.
        row: usize,
        /// The word, and those that are understood.
        cause: UnknownSplit,
    },

    /// The CSV has a header and no rows, or none that can be used.
    #[error("{}: none of the {rows} rows can be used. {summary}", shown(path))]
    NoStudies {
        /// The CSV.
        path: PathBuf,
        /// Rows of the CSV.
        rows: usize,
        /// The rows left out, by reason.
        summary: String,
    },

    /// Some rows name their side of the split and this one does not.
    #[error("row {row} ({}): no split, while other rows have one", shown(image))]
    RowWithoutSplit {
        /// The row, counted from 1 after the header.
        row: usize,
        /// Its image.
        image: PathBuf,
    },

    /// The split column puts one group on two sides, which leaks it.
    #[error(
        "{count} groups are on more than one side of the split column, which leaks them into the \
         evaluation; the first: {}", printable(examples.join("; "))
    )]
    LeakedGroups {
        /// How many.
        count: usize,
        /// The first few groups, each with a row on either side.
        examples: Vec<String>,
    },

    /// The split column puts rows of one image on two sides, which leaks it.
    #[error(
        "{count} images are on more than one side of the split column, which leaks them into the \
         evaluation; the first: {}", examples.join("; ")
    )]
    LeakedImages {
        /// How many.
        count: usize,
        /// The first few images, each with a row on either side.
        examples: Vec<String>,
    },

    /// The split leaves a side empty that is needed.
    #[error("the split column marks no row as {split}")]
    EmptySplit {
        /// The empty side.
        split: Split,
    },

    /// There is nothing to divide.
    #[error(
        "{pairs} pairs in {groups} groups cannot be divided into training and validation: at \
         least two groups are needed (`{setting}` says what a group is)"
    )]
    TooFewGroups {
        /// Groups there are.
        groups: usize,
        /// Pairs there are.
        pairs: usize,
        /// The setting that names the column of groups.
        setting: &'static str,
    },

    /// All texts to train on are equal.
    #[error(
        "all {texts} texts are equal: there is nothing to tell images apart by; is \
         `{setting}` the column of texts?"
    )]
    EqualTexts {
        /// How many.
        texts: usize,
        /// The setting that names the column of texts.
        setting: &'static str,
    },

    /// The column of classes has the same one everywhere.
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

    /// A cell of the column of classes seems to list several findings.
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
        /// What seems to separate them.
        separator: &'static str,
    },

    /// The column of classes does not have the one that is to be positive.
    #[error(
        "{}: column `{column}` has no class `{class}`; found {}",
        shown(path),
        few(found)
    )]
    UnknownClass {
        /// The CSV.
        path: PathBuf,
        /// The column.
        column: String,
        /// The class asked for.
        class: String,
        /// The classes there are.
        found: Vec<String>,
    },

    /// A label is the same for all images, as far as it is known.
    #[error(
        "not one of {images} images is known to be {} for `{label}`: there is nothing to tell \
         apart; leave the label out", outcome(*holds), label = printable(label)
    )]
    OneSided {
        /// The label.
        label: String,
        /// Which outcome is missing.
        holds: bool,
        /// Images there are.
        images: usize,
    },

    /// A fraction of the training data has no example of a label's outcome.
    #[error(
        "a fraction of {fraction} keeps none of the {groups} groups in which `{label}` is {}; the \
         smallest that keeps one is {}", outcome(*holds), rounded_up(0.5 / *groups as f64), label = printable(label)
    )]
    FractionTooSmall {
        /// The fraction, of 1.
        fraction: f64,
        /// The label.
        label: String,
        /// Which outcome is missing.
        holds: bool,
        /// Groups with that outcome.
        groups: usize,
    },

    /// An outcome of a label is in too few groups to be on both sides of a division.
    #[error(
        "`{label}` is {} in {groups} {} only, too few to have some to learn from and some held \
         out", outcome(*holds), if *groups == 1 { "group" } else { "groups" }, label = printable(label)
    )]
    TooFewWithLabel {
        /// The label.
        label: String,
        /// Which outcome.
        holds: bool,
        /// Groups with that outcome.
        groups: usize,
    },
}

impl ManifestError {
    /// Whether a setting is refused: what was asked for is wrong, rather than the files.
    pub fn is_misuse(&self) -> bool {
        matches!(self, Self::Setting(_))
    }

    /// Says the setting that it names, if it names one, by the name that `rename` gives it: by the
    /// key of a configuration file, for instance.
    #[must_use]
    pub fn with_setting(mut self, rename: impl Fn(&'static str) -> &'static str) -> Self {
        if let Self::MissingColumn { setting, .. }
        | Self::AmbiguousColumn { setting, .. }
        | Self::ColumnOutOfRange { setting, .. }
        | Self::TooFewGroups { setting, .. }
        | Self::EqualTexts { setting, .. }
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
    // What is exact but for its last bits stays as it is.
    (number * scale - 1e-9).ceil() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_very_many_columns_makes_no_long_message() {
        let found: Vec<String> = (100_000..300_000).map(|it| it.to_string()).collect();
        let path = PathBuf::from("pairs.csv");
        for error in [
            ManifestError::Table(TableError::NoColumn {
                path: path.clone(),
                column: "image".into(),
                found: found.clone(),
            }),
            ManifestError::MissingColumn {
                path: path.clone(),
                setting: "image_col",
                column: "image".into(),
                nearest: None,
                found: found.clone(),
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
                found: found.clone(),
            },
            ManifestError::UnknownClass {
                path,
                column: "label".into(),
                class: "Edema".into(),
                found,
            },
        ] {
            let message = error.to_string();
            assert!(message.contains("100000") && message.contains("199980 more"));
            assert!(message.len() < 500, "{message}");
        }
    }
}
