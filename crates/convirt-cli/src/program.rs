//! The frame of the program: logging, output on the terminal, exit codes.

mod bar;
mod log;
mod stages;
mod stop;
mod terminal;

use std::env;
use std::fmt::{self, Display};
use std::process::ExitCode;

use anyhow::Result;
use convirt::Error;
use convirt::config::ConfigError;
use convirt::data::{DataError, ManifestError, PrepareError, SettingError};

pub use bar::Bar;
pub use log::{Verbosity, log, reserve_standard_output};
pub use stages::ProgressBars;
pub use stop::{is_stop_requested, stop_on_ctrl_c};
pub use terminal::{print, print_error, print_exactly};

/// Exit codes other than success, which is 0.
const FAILED: u8 = 1;
const MISUSED: u8 = 2;
const INTERRUPTED: u8 = 130;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is complete.
    Done,
    /// It was stopped by Ctrl-C or SIGTERM.
    Interrupted,
}

/// An error in the usage of the program, independent of the content of files.
#[derive(Debug)]
pub struct Misuse(pub String);

/// Runs a command, prints its error if there is one, and returns the exit code.
pub fn run(command: impl FnOnce() -> Result<Ending>) -> ExitCode {
    let result = command().and_then(|ending| {
        terminal::check_written()?;
        Ok(ending)
    });
    let code = match result {
        Ok(Ending::Done) => return ExitCode::SUCCESS,
        Ok(Ending::Interrupted) => INTERRUPTED,
        Err(error) => {
            print_error(format_args!("Error: {}", message(&error)));
            if env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
                print_error(error.backtrace());
            }
            if is_misuse(&error) { MISUSED } else { FAILED }
        }
    };
    ExitCode::from(code)
}

/// Returns the message of an error with its causes, without repeating any.
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

/// Returns whether the error is in the user's request, such as an option or a setting.
fn is_misuse(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<Misuse>()
            || cause.is::<ConfigError>()
            || cause.is::<SettingError>()
            || cause.downcast_ref().is_some_and(Error::is_misuse)
            || cause.downcast_ref().is_some_and(DataError::is_misuse)
            || cause.downcast_ref().is_some_and(ManifestError::is_misuse)
            || cause.downcast_ref().is_some_and(PrepareError::is_misuse)
    })
}

impl Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}
