//! The log messages of the library. It prints nothing itself: lines go to the program's logger,
//! without control characters.

use std::fmt::Display;

use convirt_data::printable_lines;
use indicatif::ProgressBar;
use log::{Level, info, log_enabled, warn};

/// Target of the log records about progress, of level info, so that a program can show them
/// differently from other messages.
pub const PROGRESS_TARGET: &str = "convirt::progress";

/// Logs the progress of a task.
pub(crate) fn progress(line: impl Display) {
    info!(target: PROGRESS_TARGET, "{}", printable_lines(line));
}

/// Logs a message.
pub(crate) fn note(line: impl Display) {
    info!("{}", printable_lines(line));
}

/// Logs a warning: something that may affect the result.
pub(crate) fn warning(line: impl Display) {
    warn!("{}", printable_lines(line));
}

/// Returns whether the logger shows progress.
pub(crate) fn shows_progress() -> bool {
    log_enabled!(target: PROGRESS_TARGET, Level::Info)
}

/// Returns a progress bar, hidden if the logger does not show progress.
pub(crate) fn progress_bar(steps: u64) -> ProgressBar {
    if shows_progress() {
        ProgressBar::new(steps)
    } else {
        ProgressBar::hidden()
    }
}
