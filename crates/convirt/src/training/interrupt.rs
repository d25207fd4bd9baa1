//! Ctrl-C and SIGTERM as requests to stop after the current step.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once};

use burn::train::Interrupter;

use crate::messages::{note, warning};

static CURRENT: Mutex<Option<Interrupter>> = Mutex::new(None);
static HANDLER: Once = Once::new();
static IGNORED: AtomicBool = AtomicBool::new(false);

/// A signal handler of a training. While it exists, the first Ctrl-C (or SIGTERM) stops the
/// training after the current step, and the second one ends the process at once.
pub(crate) struct StopOnSignal;

impl StopOnSignal {
    /// Installs the handler for a training.
    pub fn new(interrupter: &Interrupter) -> Self {
        *current() = Some(interrupter.clone());
        Self::install();
        Self
    }

    /// Lets this process ignore signals from now on: the leader of its training gets them too, and
    /// ends it.
    pub fn ignore() {
        IGNORED.store(true, Ordering::SeqCst);
        Self::install();
    }

    fn install() {
        HANDLER.call_once(|| {
            if let Err(error) = ctrlc::set_handler(on_signal) {
                warning(format_args!(
                    "Ctrl-C will end the training without a checkpoint: {error}"
                ));
            }
        });
    }
}

impl Drop for StopOnSignal {
    fn drop(&mut self) {
        *current() = None;
    }
}

fn on_signal() {
    if IGNORED.load(Ordering::SeqCst) {
        return;
    }
    match current().take() {
        Some(interrupter) => {
            note("\nstopping after this step; press Ctrl-C again to stop at once");
            interrupter.stop(Some("interrupted"));
        }
        None => std::process::exit(130),
    }
}

fn current() -> std::sync::MutexGuard<'static, Option<Interrupter>> {
    CURRENT
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
