//! The errors of converting a node to a type.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use crate::config::{Location, Place};

/// An error while a node is converted to the requested type.
#[derive(Debug)]
pub(super) struct ReadError {
    /// The location, once it is known.
    pub at: Option<Location>,
    /// What is wrong.
    pub problem: Problem,
}

/// The cause of a [`ReadError`].
#[derive(Debug)]
pub(super) enum Problem {
    /// The type has no such key.
    UnknownKey {
        key: String,
        known: &'static [&'static str],
    },
    /// The value has another form than expected.
    Unexpected { expected: String, found: String },
    /// Any other problem, as a message.
    Other(String),
}

impl ReadError {
    /// Sets the location of the error, unless an inner node has already set it.
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

/// Joins names as in `a, b or c`.
pub(super) fn alternatives(names: &[&str]) -> String {
    match names {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        names => names.concat(),
    }
}
