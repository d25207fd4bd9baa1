//! The folder of one training run.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use convirt_data::{FileError, read_regular_text};
use jiff::Zoned;

use super::error::RunError;
use crate::error::Error;

/// Bytes of what the process that has a run says of itself.
const MAX_HOLDER: u64 = 1 << 10;

/// Name of the page to look at.
pub(crate) const REPORT: &str = "report.html";

/// `runs/<timestamp>_<name>/`: all that a run leaves behind.
///
/// | file | content |
/// |---|---|
/// | `config.yaml` | the configuration as used, every key |
/// | `events.out.tfevents.*` | TensorBoard scalars |
/// | `train/`, `valid/` | Burn's metric logs |
/// | `checkpoint/` | the last two states, to resume from |
/// | `model/` | the best model by validation loss: safetensors, tokenizer, description |
/// | `data.json` | number and hash of the pairs that the run was begun on |
/// | `lock` | the process that trains it, if one does |
/// | `summary.json` | what the run reached |
/// | `report.html` | curves, held-out pairs, heat maps: the run as a page to look at |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

/// The right to write into a run, which one process has as long as this lives.
#[derive(Debug)]
pub(crate) struct RunLock {
    _file: File,
}

impl RunDir {
    /// Takes the run for this process; the system gives it back when the process ends, however.
    ///
    /// # Errors
    ///
    /// [`RunError::RunInUse`] while another process has it, [`FileError::Write`].
    pub(crate) fn lock(&self) -> Result<RunLock, Error> {
        let path = self.path.join("lock");
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(FileError::write(&path))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Error::from(RunError::RunInUse {
                run: self.path.clone(),
                holder: read_regular_text(&path, MAX_HOLDER).unwrap_or_default(),
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

    /// Creates `<runs>/<timestamp>_<name>`; the time is local, to the second.
    ///
    /// # Errors
    ///
    /// When the folder cannot be created.
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

    /// Opens an earlier run, given by its path or by its name under `runs`.
    ///
    /// # Errors
    ///
    /// When there is no such folder, or it holds no `config.yaml`.
    pub fn open(runs: &Path, run: &Path) -> Result<Self, Error> {
        let path = find(runs, run, |path| path.join("config.yaml").is_file())?;
        Ok(Self { path })
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Name of the run: the folder's.
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        name.to_string_lossy().into_owned()
    }

    /// The configuration as used.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.yaml")
    }

    /// Where states to resume from are kept.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoint")
    }

    /// Where the model is saved.
    pub fn model(&self) -> PathBuf {
        self.path.join("model")
    }

    /// The run as a page to look at.
    pub fn report(&self) -> PathBuf {
        self.path.join(REPORT)
    }

    /// What the run reached.
    pub fn summary(&self) -> PathBuf {
        self.path.join("summary.json")
    }
}

/// What `run` names: a path, or a name in the folder `runs`, whichever `is_it` first.
pub(crate) fn find(
    runs: &Path,
    run: &Path,
    is_it: impl Fn(&PathBuf) -> bool,
) -> Result<PathBuf, RunError> {
    let candidates = [run.to_path_buf(), runs.join(run)];
    candidates
        .into_iter()
        .find(is_it)
        .ok_or_else(|| RunError::NoRun {
            run: run.to_path_buf(),
            looked_in: runs.to_path_buf(),
            found: names_in(runs),
        })
}

fn names_in(runs: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(runs)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().join("config.yaml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_of_one_second_get_folders_of_their_own() {
        let runs = tempfile::tempdir().unwrap();
        let first = RunDir::create(runs.path(), "a").unwrap();
        let second = RunDir::create(runs.path(), "a").unwrap();
        assert_ne!(first, second);
    }

    #[test]
    fn a_run_is_taken_by_one_at_a_time() {
        let runs = tempfile::tempdir().unwrap();
        let run = RunDir::create(runs.path(), "a").unwrap();
        let lock = run.lock().unwrap();
        let error = run.lock().unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(lock);
        run.lock().unwrap();
    }

    #[test]
    fn a_run_opens_by_path_and_by_name_and_a_missing_one_lists_those_there() {
        let runs = tempfile::tempdir().unwrap();
        let run = RunDir::create(runs.path(), "a").unwrap();
        fs::write(run.config(), "").unwrap();
        let by_name = PathBuf::from(run.name());
        assert_eq!(RunDir::open(runs.path(), &by_name).unwrap(), run);
        assert_eq!(RunDir::open(runs.path(), run.path()).unwrap(), run);
        let error = RunDir::open(runs.path(), Path::new("b")).unwrap_err();
        assert!(error.to_string().contains(&run.name()), "{error}");
    }
}
