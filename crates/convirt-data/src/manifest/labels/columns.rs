//! The label columns of a CSV and the meaning of their cells.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::manifest::column::Column;
use crate::setting::SettingError;

/// The label columns of a CSV.
#[derive(Debug, Clone, PartialEq)]
pub enum LabelColumns {
    /// One column with the name of a class in each row.
    Class {
        /// The column.
        column: Column,
        /// The positive class, if there are two; `None`: the last by name.
        positive: Option<String>,
    },
    /// One column that lists all findings of an image, such as "Edema|Effusion"; findings that are
    /// not listed are absent.
    List {
        /// The column.
        column: Column,
        /// The separator between names, such as "|".
        separator: String,
    },
    /// One column for each finding, with 1 (present), 0 (absent), −1 (uncertain) or a blank, as in
    /// CheXpert.
    Findings {
        /// The columns, named after the findings.
        columns: Vec<Column>,
        /// How −1 is treated.
        uncertain: UncertainPolicy,
        /// How an empty cell is treated.
        blank: BlankPolicy,
    },
}

/// How an uncertain label, −1, is treated (Irvin et al. 2019, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UncertainPolicy {
    /// Present.
    Ones,
    /// Absent.
    Zeros,
    /// Unknown: neither learned from nor tested on.
    Ignore,
}

/// How a blank label is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlankPolicy {
    /// Absent: in CheXpert, a finding is blank when the report does not mention it.
    Zeros,
    /// Unknown: neither learned from nor tested on.
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

/// Reads the cell of a finding; `None` when the cell is invalid.
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
    fn policies_are_parsed_and_other_words_rejected() {
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
