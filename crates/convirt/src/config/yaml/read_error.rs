//! Why a node does not read as the type that was asked for.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use crate::config::{Location, Place};

/// Why a node does not read as what was asked for.
#[derive(Debug)]
pub(super) struct ReadError {
    /// Where, as soon as that is known.
    pub at: Option<Location>,
    pub problem: Problem,
}

#[derive(Debug)]
pub(super) enum Problem {
    UnknownKey {
        key: String,
        known: &'static [&'static str],
    },
    Unexpected {
        expected: String,
        found: String,
    },
    Other(String),
}

impl ReadError {
    /// Locates the error, unless something further inside has.
    pub fn or_at(mut self, place: Place, key: String) -> Self {
        self.at.get_or_insert(Location { place, key });
        self
    }
}

impl From<Problem> for ReadError {
    fn from(problem: Problem) -> Self {
        Self { at: None, problem }
    }
}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Problem::Other(message.to_string()).into()
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Problem::Unexpected {
            expected: expected.to_string(),
            found: found.to_string(),
        }
        .into()
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Problem::Unexpected {
            expected: alternatives(expected),
            found: format!("{variant:?}"),
        }
        .into()
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Problem::UnknownKey {
            key: field.to_string(),
            known: expected,
        }
        .into()
    }

    fn missing_field(field: &'static str) -> Self {
        Problem::Other(format!("the key `{field}` is missing")).into()
    }
}

impl std::error::Error for ReadError {}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.problem)
    }
}

/// `a, b or c`.
pub(super) fn alternatives(names: &[&str]) -> String {
    match names {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        names => names.concat(),
    }
}
