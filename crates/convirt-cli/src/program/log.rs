//! The logger of the program.

use std::sync::atomic::{AtomicBool, Ordering};

use convirt::logging::PROGRESS_TARGET;
use log::{Level, LevelFilter, Log, Metadata, Record, set_logger, set_max_level};

use super::terminal::{print, print_error};

/// How much is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Results and errors.
    Quiet,
    /// Also warnings, notes and progress.
    Normal,
    /// Everything that any library logs, down to the level debug.
    Verbose,
}

/// A logger that prints each message as a line on standard error. Only the progress of a training
/// goes to standard output.
struct LineLogger;

/// Whether the progress of a training goes to standard error as well.
static IS_OUTPUT_RESERVED: AtomicBool = AtomicBool::new(false);

/// Starts to print log messages.
pub fn log(verbosity: Verbosity) {
    // This only fails if there is another logger, and there is none.
    let _ = set_logger(&LineLogger);
    set_max_level(match verbosity {
        Verbosity::Quiet => LevelFilter::Error,
        Verbosity::Normal => LevelFilter::Info,
        Verbosity::Verbose => LevelFilter::Debug,
    });
}

/// Sends all log messages to standard error from now on.
pub fn reserve_standard_output() {
    IS_OUTPUT_RESERVED.store(true, Ordering::Relaxed);
}

impl Log for LineLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Warnings of other libraries do not concern the user.
        let is_own = metadata.target().starts_with("convirt");
        let is_verbose = log::max_level() >= LevelFilter::Debug;
        is_own || is_verbose || metadata.level() == Level::Error
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args();
        match record.level() {
            Level::Info if record.target() == PROGRESS_TARGET => {
                if IS_OUTPUT_RESERVED.load(Ordering::Relaxed) {
                    print_error(text)
                } else {
                    print(text)
                }
            }
            Level::Info => print_error(text),
            Level::Warn => print_error(format_args!("warning: {text}")),
            Level::Error => print_error(format_args!("error: {text}")),
            Level::Debug | Level::Trace => print_error(format_args!("{}: {text}", record.target())),
        }
    }

    fn flush(&self) {}
}
