//! What the libraries and the program say beside the results.

use std::sync::atomic::{AtomicBool, Ordering};

use convirt::logging::PROGRESS_TARGET;
use log::{Level, LevelFilter, Log, Metadata, Record, set_logger, set_max_level};

use super::terminal::{print, tell};

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Results and errors.
    Quiet,
    /// Warnings, notes and progress, too.
    Normal,
    /// All that any library logs down to the level debug.
    Verbose,
}

/// The program's own logger: each message is a line on standard error, but for the progress of a
/// training, which stands among its results.
struct Lines;

/// Whether the progress of a training goes to standard error as well.
static IS_OUTPUT_KEPT: AtomicBool = AtomicBool::new(false);

/// Begins to show what is logged.
pub fn log(verbosity: Verbosity) {
    // Fails when there is a logger already; this is the only one.
    let _ = set_logger(&Lines);
    set_max_level(match verbosity {
        Verbosity::Quiet => LevelFilter::Error,
        Verbosity::Normal => LevelFilter::Info,
        Verbosity::Verbose => LevelFilter::Debug,
    });
}

/// Sends all that is logged to standard error from now on.
pub fn keep_standard_output_for_results() {
    IS_OUTPUT_KEPT.store(true, Ordering::Relaxed);
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Other libraries' warnings are not about what the user does.
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
                if IS_OUTPUT_KEPT.load(Ordering::Relaxed) {
                    tell(text)
                } else {
                    print(text)
                }
            }
            Level::Info => tell(text),
            Level::Warn => tell(format_args!("warning: {text}")),
            Level::Error => tell(format_args!("error: {text}")),
            Level::Debug | Level::Trace => tell(format_args!("{}: {text}", record.target())),
        }
    }

    fn flush(&self) {}
}
