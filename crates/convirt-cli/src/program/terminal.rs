//! Printing lines on standard output and standard error, without characters that control a
//! terminal.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write, stderr, stdout};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use convirt::data::printable_lines;

/// The last error of standard output.
static UNWRITTEN: Mutex<Option<io::Error>> = Mutex::new(None);

/// Prints a line of results. A reader that closes the output early is no error; any other problem
/// is an error at the end of the command.
pub fn print(line: impl Display) {
    write_line(printable_lines(line));
}

fn write_line(line: impl Display) {
    let mut unwritten = UNWRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    match writeln!(stdout(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => *unwritten = Some(error),
        _ => {}
    }
}

/// Prints text without changes, for another program to read.
pub fn print_exactly(text: &str) {
    write_line(text);
}

/// Prints a line on standard error, and ignores errors.
pub fn print_error(line: impl Display) {
    let _ = writeln!(stderr(), "{}", printable_lines(line));
}

/// Checks that all results have been written.
pub fn check_written() -> Result<()> {
    let _ = stdout().flush();
    let mut unwritten = UNWRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    let unwritten = unwritten.take().map_or(Ok(()), Err);
    unwritten.context("standard output: not all results could be written")
}
