//! Columns of a CSV, by position or by name.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::manifest::error::ManifestError;

/// A column of a CSV, by its position from 0 or by its name in the header.
///
/// ```
/// use convirt_data::Column;
///
/// let columns: [Column; 2] = serde_json::from_str(r#"[0, "report"]"#).unwrap();
/// assert_eq!(columns, [Column::Position(0), Column::Name("report".into())]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a position from 0 or a name")]
pub enum Column {
    /// The position, from 0.
    Position(usize),
    /// The name in the header, matched exactly except for whitespace around it.
    Name(String),
}

impl Column {
    /// Finds the position of the column in `header`, the column names of `csv`.
    ///
    /// `setting` is the name of the setting that chose the column, for the error.
    pub(crate) fn position(
        &self,
        header: &[String],
        csv: &Path,
        setting: &'static str,
    ) -> Result<usize, ManifestError> {
        match self {
            Self::Position(position) if *position < header.len() => Ok(*position),
            Self::Position(position) => Err(ManifestError::ColumnOutOfRange {
                path: csv.into(),
                setting,
                position: *position,
                found: header.into(),
            }),
            Self::Name(name) => position_of(name, header, csv, setting),
        }
    }
}

impl From<&str> for Column {
    fn from(name: &str) -> Self {
        Self::Name(name.to_string())
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Position(position) => write!(f, "{position}"),
            Self::Name(name) => f.pad(name),
        }
    }
}

fn position_of(
    name: &str,
    header: &[String],
    csv: &Path,
    setting: &'static str,
) -> Result<usize, ManifestError> {
    let positions: Vec<usize> = (0..header.len())
        .filter(|&position| header[position].trim() == name.trim())
        .collect();
    match positions[..] {
        [position] => Ok(position),
        [] => Err(ManifestError::MissingColumn {
            path: csv.into(),
            setting,
            column: name.into(),
            nearest: nearest(name, header),
            found: header.into(),
        }),
        _ => Err(ManifestError::AmbiguousColumn {
            path: csv.into(),
            setting,
            column: name.into(),
            positions,
        }),
    }
}

/// Returns the column name with the smallest edit distance to `name`, if that is at most a third
/// of its length.
fn nearest(name: &str, header: &[String]) -> Option<Box<str>> {
    let name = name.trim().to_lowercase();
    header
        .iter()
        .map(|column| {
            let lowercase = column.trim().to_lowercase();
            (strsim::damerau_levenshtein(&name, &lowercase), column)
        })
        .filter(|(distance, _)| *distance <= name.chars().count().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, column)| column.as_str().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(column: Column) -> Result<usize, String> {
        let header = ["", "Image", " report ", "Image"].map(String::from);
        column
            .position(&header, Path::new("pairs.csv"), "text_col")
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_column_is_found_by_position_or_name() {
        assert_eq!(position(Column::Position(3)), Ok(3));
        assert_eq!(position(Column::Name("report".into())), Ok(2));
    }

    #[test]
    fn a_missing_name_is_an_error_with_the_existing_names_and_the_nearest() {
        let message = position(Column::Name("Reports".into())).unwrap_err();
        for fact in [
            "pairs.csv",
            "`Reports`",
            "text_col",
            "did you mean ` report `",
            "Image",
        ] {
            assert!(message.contains(fact), "`{fact}` in {message}");
        }
        let message = position(Column::Name("patient".into())).unwrap_err();
        assert!(!message.contains("did you mean"), "{message}");
    }

    #[test]
    fn a_position_beyond_the_last_is_an_error_with_the_existing_names() {
        let message = position(Column::Position(4)).unwrap_err();
        assert!(message.contains("no column 4 (`text_col`)"), "{message}");
        assert!(message.contains("the 4 columns"), "{message}");
    }

    #[test]
    fn an_ambiguous_name_is_an_error() {
        let message = position(Column::Name("Image".into())).unwrap_err();
        assert!(message.contains("[1, 3]"), "{message}");
    }

    #[test]
    fn configuration_gives_a_number_or_a_name() {
        let columns: Vec<Column> = serde_json::from_str(r#"[2, "text"]"#).unwrap();
        assert_eq!(columns, [Column::Position(2), Column::Name("text".into())]);
    }
}
