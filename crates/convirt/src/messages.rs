//! What the library says while it works. It prints nothing by itself: lines go to the program's
//! logger, without what would act on a terminal.

use std::fmt::Display;

use convirt_data::printable_lines;
use indicatif::ProgressBar;
use log::{Level, info, log_enabled, warn};

/// Target of the log records (of level info) that say how far a training is, for a program that
/// shows them elsewhere than its other messages.
pub const PROGRESS_TARGET: &str = "convirt::progress";

/// Says how far a work is.
pub(crate) fn progress(line: impl Display) {
    info!(target: PROGRESS_TARGET, "{}", printable_lines(line));
}

/// Says what goes on beside the work.
pub(crate) fn note(line: impl Display) {
    info!("{}", printable_lines(line));
}

/// Says what the user should know before trusting the result.
pub(crate) fn warning(line: impl Display) {
    warn!("{}", printable_lines(line));
}

/// Whether somebody wants to know how far a work is.
pub(crate) fn shows_progress() -> bool {
    log_enabled!(target: PROGRESS_TARGET, Level::Info)
}

/// A bar on the terminal, if somebody wants to see it.
pub(crate) fn progress_bar(steps: u64) -> ProgressBar {
    match shows_progress() {
        true => ProgressBar::new(steps),
        false => ProgressBar::hidden(),
    }
}
