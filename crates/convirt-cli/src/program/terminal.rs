//! Lines on standard output and standard error, without what would act on a terminal.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write, stderr, stdout};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use convirt::data::printable_lines;

/// What standard output did not take.
static UNWRITTEN: Mutex<Option<io::Error>> = Mutex::new(None);

/// Prints a line of results. Whoever has read enough may close the output; what it cannot take for
/// another reason is an error when the job is done.
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

/// Prints text that another program reads, as it is.
pub fn print_exactly(text: &str) {
    write_line(text);
}

/// Prints a line on standard error, if anybody listens.
pub fn tell(line: impl Display) {
    let _ = writeln!(stderr(), "{}", printable_lines(line));
}

/// Checks that standard output took all results.
pub fn check_written() -> Result<()> {
    let _ = stdout().flush();
    let mut unwritten = UNWRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    let unwritten = unwritten.take().map_or(Ok(()), Err);
    unwritten.context("standard output: not all results could be written")
}
