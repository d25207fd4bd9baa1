//! The folder of a run.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use convirt_data::{FileError, NewFile, read_regular_text};
use jiff::Zoned;

use super::error::RunError;
use crate::config::Config;
use crate::config::yaml::MAX_BYTES;
use crate::error::Error;
use crate::inference::require_run;

/// Maximum number of bytes of the lock file.
const MAX_LOCK_BYTES: u64 = 1 << 10;

/// Name of the summary in the folder.
pub(crate) const SUMMARY: &str = "summary.json";

/// Name of the report page in the folder.
pub(crate) const REPORT: &str = "report.html";

/// The folder of a run, `runs/<timestamp>_<name>/`, with all its files.
///
/// | file | content |
/// |---|---|
/// | `config.yaml` | the configuration in force, every key |
/// | `config-from-step-*.yaml` | each configuration with its first step, if a resumption changed it |
/// | `train.log` | what the screen showed |
/// | `metrics.jsonl` | a JSON object for each step and each evaluation |
/// | `events.out.tfevents.*` | the same for TensorBoard, with held-out pairs |
/// | `train/`, `valid/` | Burn's metric logs |
/// | `checkpoint/` | the last two checkpoints, for resuming |
/// | `model/` | the best model by validation loss: safetensors, tokenizer, description |
/// | `data.json` | number and hash of the pairs at the start of the run |
/// | `split.csv` | the side of the split of each row, with a hash of its image |
/// | `lock` | lock of the process that is training the run |
/// | `summary.json` | the [`Summary`](crate::Summary) |
/// | `report.html` | the report page: curves, held-out pairs, heat maps |
///
/// # Examples
///
/// ```
/// use convirt::RunDir;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let runs = folder.path().join("runs");
/// let run = RunDir::create(&runs, "phantom")?;
/// assert!(run.name().ends_with("_phantom"));
/// assert_eq!(run.summary(), run.path().join("summary.json"));
///
/// // A folder with a `config.yaml` is a run, which opens by its name or path.
/// std::fs::write(run.config(), "dataset: {csv_file: pairs.csv}\n")?;
/// assert_eq!(RunDir::open(&runs, run.name().as_ref())?, run);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

/// A lock on a run's folder: while it exists, no other process can train the run.
#[derive(Debug)]
pub(crate) struct RunLock {
    _file: File,
}

impl RunDir {
    /// Locks the run for this process. The operating system releases the lock when the process
    /// ends, also after a crash.
    ///
    /// # Errors
    ///
    /// - [`RunError::RunInUse`] if another process holds the lock
    /// - [`FileError::Write`] if the lock file cannot be written
    pub(crate) fn lock(&self) -> Result<RunLock, Error> {
        let path = self.path.join("lock");
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(FileError::write(&path))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Error::from(RunError::RunInUse {
                run: self.path.clone(),
                holder: read_regular_text(&path, MAX_LOCK_BYTES).unwrap_or_default(),
            }),
            TryLockError::Error(cause) => FileError::write(&path)(cause).into(),
        })?;
        let holder = format!("process {}", std::process::id());
        let written = file
            .set_len(0)
            .and_then(|()| file.write_all(holder.as_bytes()));
        written.map_err(FileError::write(&path))?;
        Ok(RunLock { _file: file })
    }

    /// Creates the folder `<runs>/<timestamp>_<name>`, with the local time to the second.
    ///
    /// # Errors
    ///
    /// [`FileError::Write`] if the folder cannot be created.
    pub fn create(runs: &Path, name: &str) -> Result<Self, Error> {
        fs::create_dir_all(runs).map_err(FileError::write(runs))?;
        let time = Zoned::now().strftime("%Y-%m-%d_%H-%M-%S").to_string();
        let mut path = runs.join(format!("{time}_{name}"));
        let mut attempt = 1;
        loop {
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                // A second run within the same second.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    attempt += 1;
                    path = runs.join(format!("{time}_{name}-{attempt}"));
                }
                Err(error) => return Err(FileError::write(&path)(error).into()),
            }
        }
    }

    /// Opens an existing run, a folder with a `config.yaml`, by its path, or in the folder `runs`
    /// by its name, a beginning of the name that no other run has, or `latest`.
    ///
    /// # Errors
    ///
    /// [`RunNameError`](crate::inference::RunNameError) if there is no such run, or more than one.
    pub fn open(runs: &Path, run: &Path) -> Result<Self, Error> {
        let path = require_run(runs, run, |path| path.join("config.yaml").is_file())?;
        Ok(Self { path })
    }

    /// Replaces `config.yaml` by the configuration that holds from `step` on. All configurations of
    /// the run are kept as `config-from-step-<step>.yaml`.
    pub(crate) fn replace_configuration(&self, step: usize, config: &Config) -> Result<(), Error> {
        let from_step = |step: usize| self.path.join(format!("config-from-step-{step}.yaml"));
        let write = |path: &Path, text: &[u8]| {
            NewFile::write_whole(path, text).map_err(FileError::write(path))
        };
        let first = from_step(0);
        if !first.exists() {
            let path = self.config();
            let earlier = read_regular_text(&path, MAX_BYTES as u64);
            let earlier = earlier.map_err(FileError::read(&path))?;
            write(&first, earlier.as_bytes())?;
        }
        let text = config.to_yaml();
        write(&from_step(step), text.as_bytes())?;
        write(&self.config(), text.as_bytes())?;
        Ok(())
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the name of the run, which is its folder's name.
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        name.to_string_lossy().into_owned()
    }

    /// Returns the path of the configuration.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.yaml")
    }

    /// Returns the path of the checkpoints' folder.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoint")
    }

    /// Returns the path of the best model's folder.
    pub fn model(&self) -> PathBuf {
        self.path.join("model")
    }

    /// Returns the path of the report page.
    pub fn report(&self) -> PathBuf {
        self.path.join(REPORT)
    }

    /// Returns the path of the summary.
    pub fn summary(&self) -> PathBuf {
        self.path.join(SUMMARY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_within_one_second_have_different_folders() {
        let runs = tempfile::tempdir().unwrap();
        let first = RunDir::create(runs.path(), "a").unwrap();
        let second = RunDir::create(runs.path(), "a").unwrap();
        assert_ne!(first, second);
    }

    #[test]
    fn only_one_lock_on_a_run_exists_at_a_time() {
        let runs = tempfile::tempdir().unwrap();
        let run = RunDir::create(runs.path(), "a").unwrap();
        let lock = run.lock().unwrap();
        let error = run.lock().unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(lock);
        run.lock().unwrap();
    }
}
