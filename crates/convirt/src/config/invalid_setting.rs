//! Checks of single settings, with errors that name the valid values.

use std::fmt::Display;
use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::path::PathBuf;

use super::{ConfigError, Location};

/// A setting that is not valid, and why.
#[derive(Debug)]
pub(super) struct InvalidSetting {
    key: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Range { expected: String, found: String },
    Contradiction(String),
    MissingFile(PathBuf),
}

/// The result of a check.
pub(super) type Check = Result<(), InvalidSetting>;

impl InvalidSetting {
    /// Creates the error for a value that is outside its range.
    pub fn out_of_range(key: &str, expected: impl Into<String>, found: impl Display) -> Self {
        let kind = Kind::Range {
            expected: expected.into(),
            found: found.to_string(),
        };
        let key = key.to_string();
        Self { key, kind }
    }

    /// Puts `section` before the key.
    pub fn in_section(self, section: &str) -> Self {
        let key = format!("{section}.{}", self.key);
        Self { key, ..self }
    }

    /// Creates the error for users; `locate` finds the key in the file.
    pub fn at(self, locate: impl Fn(&str) -> Location) -> ConfigError {
        let at = locate(&self.key);
        match self.kind {
            Kind::Range { expected, found } => ConfigError::Unexpected {
                at,
                expected,
                found,
            },
            Kind::Contradiction(problem) => ConfigError::Contradiction { at, problem },
            Kind::MissingFile(path) => ConfigError::MissingFile { at, path },
        }
    }
}

/// Rejects a setting that contradicts another one or is missing.
pub(super) fn contradiction(key: &str, problem: impl Into<String>) -> Check {
    let kind = Kind::Contradiction(problem.into());
    let key = key.to_string();
    Err(InvalidSetting { key, kind })
}

/// Rejects a path that does not exist.
pub(super) fn missing_file(key: &str, path: PathBuf) -> Check {
    let kind = Kind::MissingFile(path);
    let key = key.to_string();
    Err(InvalidSetting { key, kind })
}

/// Checks that `is_valid`; `expected` describes valid values.
pub(super) fn expect(key: &str, is_valid: bool, expected: &str, found: impl Display) -> Check {
    if is_valid {
        Ok(())
    } else {
        Err(InvalidSetting::out_of_range(key, expected, found))
    }
}

/// Checks a whole number, if there is one; the error names the bound that it exceeds.
pub(super) fn whole(
    key: &str,
    number: impl Into<Option<usize>>,
    range: impl RangeBounds<usize>,
) -> Check {
    let Some(number) = number.into().filter(|number| !range.contains(number)) else {
        return Ok(());
    };
    let expected = match (range.start_bound(), range.end_bound()) {
        (Bound::Included(low), _) if number < *low => format!("at least {low}"),
        (_, Bound::Included(high)) => format!("at most {high}"),
        _ => unreachable!("ranges of whole numbers include their ends"),
    };
    Err(InvalidSetting::out_of_range(key, expected, number))
}

/// Checks a whole number of `unit`.
pub(super) fn whole_of(key: &str, unit: &str, number: u32, range: RangeInclusive<u32>) -> Check {
    let expected = format!("{} to {} {unit}", range.start(), range.end());
    expect(key, range.contains(&number), &expected, number)
}

/// Checks a number, if there is one. It must be finite even if the range has no end.
pub(super) fn number(
    key: &str,
    number: impl Into<Option<f64>>,
    range: impl RangeBounds<f64>,
) -> Check {
    match number.into() {
        Some(number) if !(number.is_finite() && range.contains(&number)) => Err(
            InvalidSetting::out_of_range(key, describe(&range, number), number),
        ),
        _ => Ok(()),
    }
}

/// Checks a size on disk, in GiB. The maximum is about a petabyte.
pub(super) fn gibibytes(key: &str, size: f64) -> Check {
    number(key, size, ABOVE_ZERO)?;
    expect(key, size <= 1e6, "at most 1000000 GiB", size)
}

/// All numbers above 0.
pub(super) const ABOVE_ZERO: (Bound<f64>, Bound<f64>) = (Bound::Excluded(0.0), Bound::Unbounded);

/// The numbers between 0 and 1, both excluded.
pub(super) const BETWEEN_0_AND_1: (Bound<f64>, Bound<f64>) =
    (Bound::Excluded(0.0), Bound::Excluded(1.0));

/// Describes a range that does not contain `number`.
fn describe(range: &impl RangeBounds<f64>, number: f64) -> String {
    match (range.start_bound(), range.end_bound()) {
        // For a number of the wrong sign, the exact lower bound says less than the sign.
        (Bound::Included(low), _) if *low > 0.0 && number <= 0.0 => "a number above 0".into(),
        (Bound::Included(low), Bound::Included(high)) => format!("a number from {low} to {high}"),
        (Bound::Included(low), Bound::Excluded(high)) => {
            format!("a number from {low} to below {high}")
        }
        (Bound::Included(low), Bound::Unbounded) => format!("a number from {low}"),
        (Bound::Excluded(low), Bound::Included(high)) => {
            format!("a number above {low} and at most {high}")
        }
        (Bound::Excluded(low), Bound::Excluded(high)) => {
            format!("a number between {low} and {high}")
        }
        (Bound::Excluded(low), Bound::Unbounded) => format!("a number above {low}"),
        (Bound::Unbounded, _) => unreachable!("every range of numbers has a lower end"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(check: Check) -> String {
        match check {
            Ok(()) => "valid".to_string(),
            Err(InvalidSetting {
                kind: Kind::Range { expected, found },
                ..
            }) => format!("expected {expected}, found {found}"),
            Err(invalid) => panic!("{invalid:?}"),
        }
    }

    #[test]
    fn a_range_is_put_into_words() {
        for (check, expected) in [
            (whole("a", 3, 3..=5), "valid"),
            (whole("a", None, 3..=5), "valid"),
            (whole("a", 2, 3..=5), "expected at least 3, found 2"),
            (whole("a", 6, 3..=5), "expected at most 5, found 6"),
            (whole("a", 0, 1..), "expected at least 1, found 0"),
            (number("a", 1.0, 0.0..=1.0), "valid"),
            (number("a", None, 0.0..=1.0), "valid"),
            (
                number("a", 2.0, 0.0..=1.0),
                "expected a number from 0 to 1, found 2",
            ),
            (
                number("a", 1.0, 0.0..1.0),
                "expected a number from 0 to below 1, found 1",
            ),
            (
                number("a", f64::INFINITY, 0.0..),
                "expected a number from 0, found inf",
            ),
            (
                number("a", f64::NAN, ABOVE_ZERO),
                "expected a number above 0, found NaN",
            ),
            (
                number("a", 1.0, BETWEEN_0_AND_1),
                "expected a number between 0 and 1, found 1",
            ),
            (
                number("a", -1.0, 0.5..=2.0),
                "expected a number above 0, found -1",
            ),
            (
                whole_of("a", "pixels", 3, 4..=5),
                "expected 4 to 5 pixels, found 3",
            ),
        ] {
            assert_eq!(words(check), expected);
        }
    }

    #[test]
    fn keys_begin_with_their_sections() {
        let invalid = whole("c", 0, 1..)
            .unwrap_err()
            .in_section("b")
            .in_section("a");
        assert_eq!(invalid.key, "a.b.c");
    }
}
