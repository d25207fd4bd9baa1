//! The opening of a GPU, or why there is none.
//!
//! Burn opens a device at its first use, on a thread of the device, and panics without driver or card.

use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use burn::tensor::Device;
use convirt_data::beginning;

/// Opens a device.
///
/// # Errors
///
/// What Burn says of a device that cannot be opened, in a line.
pub(super) fn open(device: &Device) -> Result<(), String> {
    first_panic(|| {
        device.identity();
    })
}

/// Runs a function, and catches panics, its own and those of devices' threads meanwhile. Returns the
/// first one's message: the others are its consequences.
fn first_panic(run: impl FnOnce()) -> Result<(), String> {
    /// A process has one hook for all panics.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);

    let caller = thread::current().id();
    let (sender, messages) = mpsc::channel();
    let hook_before = Arc::new(take_hook());
    set_hook({
        let hook_before = Arc::clone(&hook_before);
        Box::new(move |info| {
            let current = thread::current();
            // CubeCL's names of devices' threads.
            let is_device = current.name().is_some_and(|name| name.starts_with("DS"));
            if current.id() == caller || is_device {
                let _ = sender.send(message(info));
            } else {
                hook_before(info);
            }
        })
    });
    let result = catch_unwind(AssertUnwindSafe(run));
    drop(take_hook());
    set_hook(Arc::into_inner(hook_before).expect("the other hook is dropped"));
    result.map_err(|_| messages.try_recv().unwrap_or_default())
}

/// The beginning of a panic's message: some list all names that they have tried.
fn message(info: &PanicHookInfo) -> String {
    const LONGEST: usize = 240;
    let text = info.payload_as_str().unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    beginning(line, LONGEST).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_panic_is_told_whichever_thread_it_is_on() {
        let device = || thread::Builder::new().name("DSD-0-0".to_string());
        let error = first_panic(|| {
            let opening = device().spawn(|| panic!("no driver\nsecond line")).unwrap();
            opening.join().expect("it is open");
        });
        assert_eq!(error.unwrap_err(), "no driver");
        let error = first_panic(|| panic!("{}", "ä".repeat(300)));
        assert_eq!(error.unwrap_err().chars().count(), 241);
        assert_eq!(first_panic(|| ()), Ok(()));
    }
}
