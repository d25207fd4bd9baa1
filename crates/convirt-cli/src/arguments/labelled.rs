//! The options for a CSV file of labelled images.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use convirt::data::{BlankPolicy, Column, LabelColumns, LabelledConfig, UncertainPolicy};

use crate::program::Misuse;

#[derive(Args)]
#[command(group(ArgGroup::new("labels").args(["label_col", "label_cols"])))]
pub struct LabelledArguments {
    /// CSV of images and labels, with a header
    #[arg(long, alias = "manifest", value_name = "FILE", requires = "labels")]
    csv: Option<PathBuf>,

    /// Folder that image paths start from; by default, the folder of the CSV
    #[arg(long, value_name = "DIR")]
    image_root: Option<PathBuf>,

    /// Let the CSV name files outside of its own folder and of --image-root
    #[arg(long)]
    allow_outside_roots: bool,

    /// Column of the image path; `image` by default
    #[arg(long, value_name = "NAME")]
    image_col: Option<String>,

    /// Column with the name of a class in each row
    #[arg(long, value_name = "NAME")]
    label_col: Option<String>,

    /// The positive one of two classes; by default, the last in alphabetical order
    #[arg(long, value_name = "CLASS", requires = "label_col")]
    positive: Option<String>,

    /// Separator of findings in a cell of --label-col, such as | in "Edema|Effusion"; without it, a
    /// cell is one class
    #[arg(
        long,
        value_name = "SIGN",
        requires = "label_col",
        conflicts_with = "positive"
    )]
    label_separator: Option<String>,

    /// Columns with 1, 0, -1 (uncertain) or nothing, one for each finding
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    label_cols: Option<Vec<String>>,

    /// What -1 counts as: ones, zeros, or ignore (by default)
    #[arg(long, value_name = "POLICY")]
    uncertain: Option<UncertainPolicy>,

    /// What an empty cell counts as: zeros (not mentioned, as in CheXpert; by default), or ignore
    #[arg(long, value_name = "POLICY")]
    blank: Option<BlankPolicy>,

    /// Column of groups that are never split, such as the patient
    #[arg(long, value_name = "NAME")]
    group_col: Option<String>,

    /// Column with train, valid or test in each row
    #[arg(long, value_name = "NAME")]
    split_col: Option<String>,

    /// Share of bad rows or unreadable images that is accepted, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    pub max_bad_share: f64,
}

impl LabelledArguments {
    /// Returns the configuration of the labelled images; `None` without a CSV.
    pub fn config(self) -> Result<Option<LabelledConfig>, Misuse> {
        self.check()?;
        let Some(csv) = self.csv else {
            return Ok(None);
        };
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
                uncertain: self.uncertain.unwrap_or(UncertainPolicy::Ignore),
                blank: self.blank.unwrap_or(BlankPolicy::Zeros),
            },
        };
        Ok(Some(LabelledConfig {
            img_root_dir: self.image_root,
            allow_outside_roots: self.allow_outside_roots,
            image: Column::Name(self.image_col.unwrap_or_else(|| "image".to_string())),
            group: self.group_col.map(Column::Name),
            split: self.split_col.map(Column::Name),
            max_bad_share: self.max_bad_share,
            ..LabelledConfig::new(csv, labels)
        }))
    }

    /// Checks that every given option has an effect.
    fn check(&self) -> Result<(), Misuse> {
        let has_csv = self.csv.is_some();
        let has_findings = self.label_cols.is_some();
        for (is_given, has_effect, option, required) in [
            (self.image_root.is_some(), has_csv, "--image-root", "--csv"),
            (
                self.allow_outside_roots,
                has_csv,
                "--allow-outside-roots",
                "--csv",
            ),
            (self.image_col.is_some(), has_csv, "--image-col", "--csv"),
            (self.label_col.is_some(), has_csv, "--label-col", "--csv"),
            (has_findings, has_csv, "--label-cols", "--csv"),
            (self.group_col.is_some(), has_csv, "--group-col", "--csv"),
            (self.split_col.is_some(), has_csv, "--split-col", "--csv"),
            (
                self.uncertain.is_some(),
                has_findings,
                "--uncertain",
                "--label-cols",
            ),
            (
                self.blank.is_some(),
                has_findings,
                "--blank",
                "--label-cols",
            ),
        ] {
            if is_given && !has_effect {
                let problem = format!("{option} has an effect with {required} only");
                return Err(Misuse(problem));
            }
        }
        Ok(())
    }
}
