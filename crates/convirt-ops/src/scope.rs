//! Settings of a thread that hold while some work runs.

use std::cell::Cell;
use std::thread::LocalKey;

/// Runs `work` with a value of a thread's setting, and restores the earlier one, also after a panic.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
///
/// use convirt_ops::with_setting;
///
/// thread_local! {
///     static DEPTH: Cell<usize> = const { Cell::new(0) };
/// }
///
/// assert_eq!(with_setting(&DEPTH, 3, || DEPTH.get()), 3);
/// assert_eq!(DEPTH.get(), 0);
/// ```
pub fn with_setting<T: Copy, R>(
    setting: &'static LocalKey<Cell<T>>,
    value: T,
    work: impl FnOnce() -> R,
) -> R {
    struct Restore<T: Copy + 'static>(&'static LocalKey<Cell<T>>, T);
    impl<T: Copy> Drop for Restore<T> {
        fn drop(&mut self) {
            self.0.set(self.1);
        }
    }
    let _restore = Restore(setting, setting.replace(value));
    work()
}
