//! How every program begins, prints and ends.

use std::env;
use std::fmt::{self, Display};
use std::io::{self, ErrorKind, Write, stderr, stdout};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use convirt::data::{DataError, printable_lines};
use convirt::phantom::PhantomError;
use convirt::{ConfigError, Error};

/// Exit codes besides that of success, 0.
const FAILED: u8 = 1;
const MISUSED: u8 = 2;
const INTERRUPTED: u8 = 130;

/// How a job came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Done,
    /// By Ctrl-C or SIGTERM.
    #[allow(
        dead_code,
        reason = "some programs have nothing to keep, and end at once"
    )]
    Interrupted,
}

/// What was asked for cannot be done, whatever the files hold.
#[derive(Debug)]
#[allow(
    dead_code,
    reason = "some programs have no options that clap cannot check"
)]
pub struct Misuse(pub String);

/// What standard output did not take.
static UNWRITTEN: Mutex<Option<io::Error>> = Mutex::new(None);

/// Does a job and tells how it ended: an error once, and the exit code.
pub fn run(job: impl FnOnce() -> Result<Ending>) -> ExitCode {
    let ended = job().and_then(|ending| {
        let _ = stdout().flush();
        let mut unwritten = UNWRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
        let unwritten = unwritten.take().map_or(Ok(()), Err);
        unwritten.context("standard output: not all results could be written")?;
        Ok(ending)
    });
    let code = match ended {
        Ok(Ending::Done) => return ExitCode::SUCCESS,
        Ok(Ending::Interrupted) => INTERRUPTED,
        Err(error) => {
            tell(format_args!("Error: {}", message(&error)));
            if env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
                tell(error.backtrace());
            }
            match is_misuse(&error) {
                true => MISUSED,
                false => FAILED,
            }
        }
    };
    ExitCode::from(code)
}

/// Prints a line of results, without what would act on a terminal. Whoever has read enough may close the output; what it cannot take for
/// another reason is an error when the job is done.
pub fn print(line: impl Display) {
    let mut unwritten = UNWRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    match writeln!(stdout(), "{}", printable_lines(line)) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => *unwritten = Some(error),
        _ => {}
    }
}

/// Prints a line for the user beside the results, as [`print`] does, if anybody listens.
pub fn tell(line: impl Display) {
    let _ = writeln!(stderr(), "{}", printable_lines(line));
}

/// An error with its causes, each said once.
fn message(error: &anyhow::Error) -> String {
    let mut message = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !message.contains(&cause) {
            let colon = if message.is_empty() { "" } else { ": " };
            message += &format!("{colon}{cause}");
        }
    }
    message
}

/// Whether what the user asked for is wrong, rather than what came of it.
fn is_misuse(error: &anyhow::Error) -> bool {
    let is_setting = |error: &DataError| {
        matches!(
            error,
            DataError::OutOfRange { .. } | DataError::UnknownWord { .. }
        )
    };
    error.chain().any(|cause| {
        let is_of_convirt = cause.downcast_ref().is_some_and(|error| match error {
            Error::Data(error) => is_setting(error),
            Error::Phantom(PhantomError::OutOfRange { .. }) => true,
            Error::Config(_)
            | Error::UnknownDevice { .. }
            | Error::EmbeddingFormat { .. }
            | Error::FixedOnResume { .. }
            | Error::NothingAsked { .. }
            | Error::PixelsSide { .. }
            | Error::UnusedPrefix { .. } => true,
            _ => false,
        });
        let is_of_data = cause.downcast_ref().is_some_and(is_setting);
        is_of_convirt || is_of_data || cause.is::<ConfigError>() || cause.is::<Misuse>()
    })
}

impl Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}
