//! A warning for the first of many errors.

use std::fmt::Display;

use crate::messages::warning;

/// Warns of the first error in writing a record; a full disk would repeat it at each step.
#[derive(Debug, Default)]
pub(super) struct FirstError {
    is_told: bool,
}

impl FirstError {
    /// Warns that `what` cannot be written, if this is the first error.
    pub fn warn<E: Display>(&mut self, what: impl Display, written: Result<(), E>) {
        if let Err(error) = written
            && !self.is_told
        {
            self.is_told = true;
            warning(format_args!("{what} cannot be written: {error}"));
        }
    }
}
