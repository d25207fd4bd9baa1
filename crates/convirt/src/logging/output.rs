//! Lines on the terminal that no work depends on: a closed or full output ends nothing.

use std::fmt::Display;
use std::io::{Write, stderr, stdout};

use convirt_data::printable_lines;

/// Tells on standard output how far a work is, if anybody reads it.
pub(crate) fn progress(line: impl Display) {
    let _ = writeln!(stdout(), "{}", printable_lines(line));
}

/// Tells the user on standard error, if anybody reads it.
pub(crate) fn note(line: impl Display) {
    let _ = writeln!(stderr(), "{}", printable_lines(line));
}
