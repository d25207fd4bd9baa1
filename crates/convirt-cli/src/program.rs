//! How the program begins, speaks and ends.

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
pub use log::{Verbosity, keep_standard_output_for_results, log};
pub use stages::ProgressBars;
pub use stop::{is_stop_asked, stop_on_ctrl_c};
pub use terminal::{print, print_exactly, tell};

/// Exit codes besides that of success, 0.
const FAILED: u8 = 1;
const MISUSED: u8 = 2;
const INTERRUPTED: u8 = 130;

/// How a job came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is done.
    Done,
    /// By Ctrl-C or SIGTERM.
    Interrupted,
}

/// What was asked for cannot be done, whatever the files hold.
#[derive(Debug)]
pub struct Misuse(pub String);

/// Does a job and tells how it ended: an error once, and the exit code.
pub fn run(job: impl FnOnce() -> Result<Ending>) -> ExitCode {
    let ended = job().and_then(|ending| {
        terminal::check_written()?;
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
            if is_misuse(&error) { MISUSED } else { FAILED }
        }
    };
    ExitCode::from(code)
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
