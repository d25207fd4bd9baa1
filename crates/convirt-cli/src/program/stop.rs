//! How a command that embeds is stopped.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use log::info;

static STOP: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C a request to stop between two batches, so that half a file is not left behind; a
/// second one ends the program at once.
pub fn stop_on_ctrl_c() -> Result<()> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })?;
    Ok(())
}

/// Whether Ctrl-C was pressed; says then that nothing came of the work.
pub fn is_stop_asked() -> bool {
    let is_asked = STOP.load(Ordering::Relaxed);
    if is_asked {
        info!("stopped; nothing was written");
    }
    is_asked
}
