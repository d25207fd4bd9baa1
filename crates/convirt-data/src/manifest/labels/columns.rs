//! Which columns hold labels, and what their cells mean.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::manifest::column::Column;
use crate::setting::SettingError;

/// The columns of labels.
#[derive(Debug, Clone, PartialEq)]
pub enum LabelColumns {
    /// One column with the name of a class in each row.
    Class {
        /// The column.
        column: Column,
        /// Of two classes, the one that counts as positive; the last by name where `None`.
        positive: Option<String>,
    },
    /// One column with the names of all findings of a row, as "Edema|Effusion"; those that a row
    /// does not name are absent.
    List {
        /// The column.
        column: Column,
        /// What separates the names, "|" for instance.
        separator: String,
    },
    /// Columns of 1 (present), 0 (absent), −1 (uncertain) or nothing, as CheXpert's are.
    Findings {
        /// The columns; their names are the findings'.
        columns: Vec<Column>,
        /// What −1 counts as.
        uncertain: UncertainPolicy,
        /// What an empty cell counts as.
        blank: BlankPolicy,
    },
}

/// What an uncertain label, −1, counts as (Irvin et al. 2019, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UncertainPolicy {
    /// Present.
    Ones,
    /// Absent.
    Zeros,
    /// Not known: neither learned from nor tested on.
    Ignore,
}

/// What a label that is left blank counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlankPolicy {
    /// Absent: CheXpert leaves blank what a report does not mention.
    Zeros,
    /// Not known: neither learned from nor tested on.
    Ignore,
}

impl FromStr for UncertainPolicy {
    type Err = SettingError;

    fn from_str(word: &str) -> Result<Self, SettingError> {
        match word {
            "ones" => Ok(Self::Ones),
            "zeros" => Ok(Self::Zeros),
            "ignore" => Ok(Self::Ignore),
            _ => Err(SettingError::UnknownWord {
                setting: "uncertain",
                word: word.into(),
                known: "ones, zeros or ignore",
            }),
        }
    }
}

impl FromStr for BlankPolicy {
    type Err = SettingError;

    fn from_str(word: &str) -> Result<Self, SettingError> {
        match word {
            "zeros" => Ok(Self::Zeros),
            "ignore" => Ok(Self::Ignore),
            _ => Err(SettingError::UnknownWord {
                setting: "blank",
                word: word.into(),
                known: "zeros or ignore",
            }),
        }
    }
}

/// Reads the cell of a finding; `None` when it is no label.
pub(super) fn finding(
    cell: &str,
    uncertain: UncertainPolicy,
    blank: BlankPolicy,
) -> Option<Option<bool>> {
    let cell = cell.trim();
    if cell.is_empty() {
        return Some(match blank {
            BlankPolicy::Zeros => Some(false),
            BlankPolicy::Ignore => None,
        });
    }
    let number: f64 = cell.parse().ok()?;
    if number == -1.0 {
        return Some(match uncertain {
            UncertainPolicy::Ones => Some(true),
            UncertainPolicy::Zeros => Some(false),
            UncertainPolicy::Ignore => None,
        });
    }
    let is_label = number == 0.0 || number == 1.0;
    is_label.then_some(Some(number == 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_by_name_and_other_words_refused() {
        assert_eq!(
            "ones".parse::<UncertainPolicy>().unwrap(),
            UncertainPolicy::Ones
        );
        assert_eq!(
            "ignore".parse::<BlankPolicy>().unwrap(),
            BlankPolicy::Ignore
        );
        let error = "ones".parse::<BlankPolicy>().unwrap_err().to_string();
        assert!(
            error.contains("`ones`") && error.contains("zeros or ignore"),
            "{error}"
        );
    }

    #[test]
    fn only_one_zero_and_minus_one_are_labels() {
        let read = |cell| finding(cell, UncertainPolicy::Ones, BlankPolicy::Ignore);
        for cell in ["1", "1.0", " 1 ", "1e0", "-1.0"] {
            assert_eq!(read(cell), Some(Some(true)), "{cell}");
        }
        assert_eq!(read("-0.0"), Some(Some(false)));
        assert_eq!(read(" "), Some(None));
        for cell in ["2", "0.5", "nan", "yes", "1,0"] {
            assert_eq!(read(cell), None, "{cell}");
        }
    }
}
