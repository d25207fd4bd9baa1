//! Stopping a command by Ctrl-C.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use log::info;

static STOP: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C a request to stop between two batches, so that no incomplete file remains. A second
/// Ctrl-C ends the program at once.
pub fn stop_on_ctrl_c() -> Result<()> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })?;
    Ok(())
}

/// Returns whether Ctrl-C was pressed; if so, logs that nothing was written.
pub fn is_stop_requested() -> bool {
    let is_requested = STOP.load(Ordering::Relaxed);
    if is_requested {
        info!("stopped; nothing was written");
    }
    is_requested
}
