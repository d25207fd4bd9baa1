//! The lock of a run's folder: one process trains a run at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, Write};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use convirt_data::{FileError, read_regular_text};

use super::error::RunError;
use crate::error::Error;
use crate::readable::duration;

/// Name of the file in a run's folder.
const FILE: &str = "lock";

/// Maximum number of bytes of the file.
const MAX_BYTES: u64 = 1 << 10;

/// Time between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Time without a sign of life after which a process on another machine counts as ended.
const STALE: Duration = Duration::from_secs(120);

/// A lock on a run's folder: while it exists, no other process can train the run.
///
/// The operating system releases it when the process ends, also after a crash. Where files cannot
/// be locked, or another machine does not see the lock, as on some network file systems, the holder's
/// name in the file decides, and the time of its last sign of life.
#[derive(Debug)]
pub(crate) struct RunLock {
    file: File,
    /// Ends the heartbeat when it is dropped.
    stop: Option<Sender<()>>,
    heartbeat: Option<JoinHandle<()>>,
}

/// The process that a lock file names.
#[derive(Debug, PartialEq, Eq)]
struct Holder {
    process: u32,
    host: String,
}

impl RunLock {
    /// Locks the folder of a run for this process.
    ///
    /// # Errors
    ///
    /// - [`RunError::RunInUse`] if another process holds the lock
    /// - [`FileError::Write`] if the lock file cannot be written
    pub fn acquire(run: &Path) -> Result<Self, Error> {
        let path = run.join(FILE);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(FileError::write(&path))?;
        let in_use = |holder: String| RunError::RunInUse {
            run: run.to_path_buf(),
            holder,
        };
        let named = || read_regular_text(&path, MAX_BYTES).unwrap_or_default();
        let is_locked = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => return Err(in_use(named()).into()),
            Err(TryLockError::Error(cause)) if is_unsupported(&cause) => false,
            Err(TryLockError::Error(cause)) => return Err(FileError::write(&path)(cause).into()),
        };
        let silence = file.metadata().and_then(|it| it.modified()).ok();
        let silence = silence.and_then(|time| time.elapsed().ok());
        let holder = Holder::parse(&named());
        if let Some(holder) = holder.filter(|it| it.may_live(is_locked, silence)) {
            let seen = duration(silence.unwrap_or_default().as_secs_f64());
            return Err(in_use(format!("{holder}, seen {seen} ago")).into());
        }
        Self::hold(file, &path)
    }

    /// Names this process in the file and starts its heartbeat.
    fn hold(mut file: File, path: &Path) -> Result<Self, Error> {
        let holder = Holder::current().to_string();
        let write = move |file: &mut File| -> io::Result<()> {
            file.rewind()?;
            file.write_all(holder.as_bytes())?;
            file.set_len(holder.len() as u64)
        };
        write(&mut file).map_err(FileError::write(path))?;
        let mut again = file.try_clone().map_err(FileError::write(path))?;
        let (stop, stopped) = channel();
        let heartbeat = thread::spawn(move || {
            while stopped.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                // A checkpoint will meet the same error.
                let _ = write(&mut again);
            }
        });
        Ok(Self {
            file,
            stop: Some(stop),
            heartbeat: Some(heartbeat),
        })
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(heartbeat) = self.heartbeat.take() {
            let _ = heartbeat.join();
        }
        // An empty file says that its last holder ended as it should.
        let _ = self.file.set_len(0);
    }
}

impl Holder {
    fn current() -> Self {
        Self {
            process: std::process::id(),
            host: host(),
        }
    }

    /// Reads `process <id> on <host>`.
    fn parse(text: &str) -> Option<Self> {
        let (process, host) = text.strip_prefix("process ")?.split_once(" on ")?;
        Some(Self {
            process: process.parse().ok()?,
            host: host.to_string(),
        })
    }

    /// Returns whether the process may still be training, although its lock was not met. Whoever
    /// got the lock of the operating system knows that no process of this machine has it.
    fn may_live(&self, is_locked: bool, silence: Option<Duration>) -> bool {
        if self.host != host() {
            return silence.is_some_and(|silence| silence < STALE);
        }
        !is_locked && self.process != std::process::id() && lives(self.process)
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} on {}", self.process, self.host)
    }
}

/// Returns whether a file system has no locks at all.
fn is_unsupported(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(rustix::io::Errno::NOLCK.raw_os_error()) {
        return true;
    }
    error.kind() == io::ErrorKind::Unsupported
}

/// Returns the name of this machine in the network.
#[cfg(unix)]
fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

/// Returns whether a process of this machine lives. One of another user does.
#[cfg(unix)]
fn lives(process: u32) -> bool {
    let process = i32::try_from(process).ok();
    let Some(process) = process.and_then(rustix::process::Pid::from_raw) else {
        return false;
    };
    rustix::process::test_kill_process(process) != Err(rustix::io::Errno::SRCH)
}

#[cfg(not(unix))]
fn lives(_process: u32) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_one_lock_on_a_run_exists_at_a_time() {
        let run = tempfile::tempdir().unwrap();
        let lock = RunLock::acquire(run.path()).unwrap();
        let error = RunLock::acquire(run.path()).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        assert!(error.contains(&host()), "{error}");
        drop(lock);
        assert_eq!(fs::read_to_string(run.path().join(FILE)).unwrap(), "");
        RunLock::acquire(run.path()).unwrap();
    }

    #[test]
    fn the_lock_of_a_dead_process_is_taken_over() {
        let run = tempfile::tempdir().unwrap();
        let path = run.path().join(FILE);
        fs::write(&path, format!("process 4194304 on {}", host())).unwrap();
        RunLock::acquire(run.path()).unwrap();
        // Without locks of the operating system, the process table decides.
        let dead = Holder {
            process: i32::MAX as u32,
            host: host(),
        };
        assert!(!dead.may_live(false, Some(Duration::ZERO)));
        let first = Holder {
            process: 1,
            host: host(),
        };
        assert!(first.may_live(false, None) && !first.may_live(true, None));
    }

    #[test]
    fn another_machine_holds_its_lock_until_it_is_silent() {
        let run = tempfile::tempdir().unwrap();
        let path = run.path().join(FILE);
        fs::write(&path, "process 7 on elsewhere").unwrap();
        let error = RunLock::acquire(run.path()).unwrap_err().to_string();
        assert!(error.contains("process 7 on elsewhere"), "{error}");
        let file = File::options().write(true).open(&path).unwrap();
        let long_ago = std::time::SystemTime::now() - 2 * STALE;
        file.set_modified(long_ago).unwrap();
        RunLock::acquire(run.path()).unwrap();
    }
}
