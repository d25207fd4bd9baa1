//! How a program that embeds is stopped.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};

static STOP: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C a request to stop between two batches, so that half a file is not left behind; a
/// second one ends the program at once.
pub fn on_ctrl_c() -> Result<()> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })?;
    Ok(())
}

/// An error once Ctrl-C was pressed.
pub fn check() -> Result<()> {
    if STOP.load(Ordering::Relaxed) {
        bail!("stopped; nothing was written");
    }
    Ok(())
}
