//! Further tries to read a file, for file systems that fail for a moment.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Files that failed after all tries, one after the other, from which on a file is tried once: the
/// whole file system is gone, and waiting for each file would take hours.
const MAX_FAILURES: usize = 3;

/// Reads files, again after some pauses if that may help.
#[derive(Debug)]
pub(super) struct Retry {
    pauses: Vec<Duration>,
    /// Files that failed since the last that was read.
    failures: AtomicUsize,
}

impl Retry {
    pub(super) fn new(pauses: Vec<Duration>) -> Self {
        Self {
            pauses,
            failures: AtomicUsize::new(0),
        }
    }

    /// Calls `read`, which reads the file at `path`, until it succeeds or the tries are used up.
    pub(super) fn read<R>(
        &self,
        path: &Path,
        mut read: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        let mut result = read();
        for pause in &self.pauses {
            let Err(error) = &result else { break };
            if !may_pass(error, path) || self.failures.load(Ordering::Relaxed) >= MAX_FAILURES {
                break;
            }
            thread::sleep(*pause);
            result = read();
        }
        match &result {
            Ok(_) => self.failures.store(0, Ordering::Relaxed),
            Err(error) if may_pass(error, path) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {}
        }
        result
    }
}

/// Whether an error says more about the file system at the moment than about the file.
fn may_pass(error: &io::Error, path: &Path) -> bool {
    match error.kind() {
        // Deleted, unless its whole folder is.
        io::ErrorKind::NotFound => is_gone(path.parent().unwrap_or(path)),
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::FileTooLarge
        // Named pipes, sockets and devices, and paths that no file can have.
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::InvalidFilename => false,
        _ => true,
    }
}

/// Whether a folder does not exist or is empty, as after its file system was unmounted.
fn is_gone(folder: &Path) -> bool {
    match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Instant;

    use super::*;

    const PAUSE: Duration = Duration::from_millis(1);

    /// What reading gives, and how often it was tried, if the tries end like this.
    fn tried(retry: &Retry, path: &Path, outcomes: &[io::ErrorKind]) -> (bool, usize) {
        let mut outcomes: VecDeque<_> = outcomes.iter().copied().collect();
        let mut tries = 0;
        let result = retry.read(path, || {
            tries += 1;
            outcomes.pop_front().map_or(Ok(()), |kind| Err(kind.into()))
        });
        (result.is_ok(), tries)
    }

    #[test]
    fn errors_that_may_pass_are_tried_again_and_others_not() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.png"), b"").unwrap();
        let path = folder.path().join("b.png");
        let gone = folder.path().join("gone/b.png");
        fs::create_dir(folder.path().join("empty")).unwrap();
        let emptied = folder.path().join("empty/b.png");
        for (path, kind, is_tried_again) in [
            (&path, io::ErrorKind::TimedOut, true),
            (&path, io::ErrorKind::StaleNetworkFileHandle, true),
            (&path, io::ErrorKind::Other, true),
            (&path, io::ErrorKind::NotFound, false),
            (&gone, io::ErrorKind::NotFound, true),
            (&emptied, io::ErrorKind::NotFound, true),
            (&path, io::ErrorKind::PermissionDenied, false),
            (&path, io::ErrorKind::InvalidInput, false),
        ] {
            let retry = Retry::new(vec![PAUSE; 3]);
            let expected = if is_tried_again {
                (true, 3)
            } else {
                (false, 1)
            };
            assert_eq!(tried(&retry, path, &[kind, kind]), expected, "{kind}");
            assert_eq!(tried(&retry, path, &[]), (true, 1));
        }
    }

    /// As the system reports them, rather than by Rust's names.
    #[cfg(target_os = "linux")]
    #[test]
    fn errors_of_disks_and_networks_may_pass() {
        const EIO: i32 = 5;
        const ETIMEDOUT: i32 = 110;
        const EHOSTDOWN: i32 = 112;
        const ESTALE: i32 = 116;
        for code in [EIO, ETIMEDOUT, EHOSTDOWN, ESTALE] {
            let error = io::Error::from_raw_os_error(code);
            assert!(may_pass(&error, Path::new("a.png")), "{error}");
        }
    }

    #[test]
    fn pauses_are_made_and_after_the_last_the_error_is_returned() {
        let kind = io::ErrorKind::TimedOut;
        let retry = Retry::new(vec![Duration::from_millis(20), Duration::from_millis(50)]);
        let start = Instant::now();
        assert_eq!(tried(&retry, Path::new("a"), &[kind; 9]), (false, 3));
        assert!(start.elapsed() >= Duration::from_millis(70));
    }

    #[test]
    fn after_several_failures_files_are_tried_once_until_one_is_read() {
        let kind = io::ErrorKind::TimedOut;
        let retry = Retry::new(vec![PAUSE; 2]);
        let failing = || tried(&retry, Path::new("a"), &[kind; 9]).1;
        assert_eq!([(); 5].map(|()| failing()), [3, 3, 3, 1, 1]);
        assert_eq!(tried(&retry, Path::new("a"), &[]), (true, 1));
        assert_eq!(failing(), 3);
    }
}
