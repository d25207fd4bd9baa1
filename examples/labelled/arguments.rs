//! The options that say where labelled images are.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use convirt::data::{BlankPolicy, Column, LabelColumns, LabelledConfig, UncertainPolicy};

#[derive(Args)]
#[command(group(ArgGroup::new("labels").args(["label_col", "label_cols"])))]
pub struct LabelledArguments {
    /// CSV of images and labels, with a header
    #[arg(long, value_name = "FILE", requires = "labels")]
    csv: Option<PathBuf>,

    /// Folder that image paths start from; that of the CSV by default
    #[arg(long, value_name = "DIR", requires = "csv")]
    image_root: Option<PathBuf>,

    /// Column of the image path
    #[arg(long, value_name = "NAME", default_value = "image", requires = "csv")]
    image_col: String,

    /// Column with the name of a class in each row
    #[arg(long, value_name = "NAME", requires = "csv")]
    label_col: Option<String>,

    /// Of two classes, the positive one; the last by name by default
    #[arg(long, value_name = "CLASS", requires = "label_col")]
    positive: Option<String>,

    /// What separates findings in a cell of --label-col, such as | in "Edema|Effusion"; without,
    /// a cell is one class
    #[arg(
        long,
        value_name = "SIGN",
        requires = "label_col",
        conflicts_with = "positive"
    )]
    label_separator: Option<String>,

    /// Columns of 1, 0, -1 (uncertain) or nothing, one a finding
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "csv")]
    label_cols: Option<Vec<String>>,

    /// What -1 counts as: ones, zeros, or ignore
    #[arg(
        long,
        value_name = "POLICY",
        default_value = "ignore",
        requires = "label_cols"
    )]
    uncertain: UncertainPolicy,

    /// What an empty cell counts as: zeros (not mentioned, as in CheXpert), or ignore
    #[arg(
        long,
        value_name = "POLICY",
        default_value = "zeros",
        requires = "label_cols"
    )]
    blank: BlankPolicy,

    /// Column of what is never divided, such as the patient
    #[arg(long, value_name = "NAME", requires = "csv")]
    group_col: Option<String>,

    /// Column of train, valid and test
    #[arg(long, value_name = "NAME", requires = "csv")]
    split_col: Option<String>,

    /// Share of bad rows, or unreadable images, that is borne
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    pub max_bad_share: f64,
}

impl LabelledArguments {
    /// Where the labelled images are; `None` without a CSV.
    pub fn config(self) -> Option<LabelledConfig> {
        let labels = match (self.label_col, self.label_separator) {
            (Some(column), Some(separator)) => LabelColumns::List {
                column: Column::Name(column),
                separator,
            },
            (Some(column), None) => LabelColumns::Class {
                column: Column::Name(column),
                positive: self.positive,
            },
            (None, _) => LabelColumns::Findings {
                columns: self
                    .label_cols
                    .into_iter()
                    .flatten()
                    .map(Column::Name)
                    .collect(),
                uncertain: self.uncertain,
                blank: self.blank,
            },
        };
        Some(LabelledConfig {
            img_root_dir: self.image_root,
            image: Column::Name(self.image_col),
            group: self.group_col.map(Column::Name),
            split: self.split_col.map(Column::Name),
            max_bad_share: self.max_bad_share,
            ..LabelledConfig::new(self.csv?, labels)
        })
    }
}
