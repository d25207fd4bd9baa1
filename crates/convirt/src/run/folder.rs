//! The folder of a run.

use std::fs;
use std::path::{Path, PathBuf};

use convirt_data::{FileError, NewFile, read_regular_text};
use jiff::Zoned;

use crate::config::Config;
use crate::config::yaml::MAX_BYTES;
use crate::error::Error;
use crate::inference::require_run;

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
/// | `checkpoint/` | the last checkpoints, for resuming |
/// | `model/` | the best model by validation loss: safetensors, tokenizer, description |
/// | `split.csv` | the side of the split of each row, with a hash of its image |
/// | `lock` | lock of the process that is training the run |
/// | `summary.json` | the [`Summary`](crate::Summary) |
/// | `checksums.json` | checksums of `split.csv` and `summary.json` |
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

impl RunDir {
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

    /// Returns the text of the configuration that the last change left; `None` if there was none.
    pub(crate) fn last_change(&self) -> Option<String> {
        let last = numbers_of_files(&self.path, "config-from-step-", ".yaml").pop()?;
        let path = self.configuration_from(last);
        read_regular_text(&path, MAX_BYTES as u64).ok()
    }

    /// Replaces `config.yaml` by the configuration that holds from `step` on. All configurations of
    /// the run are kept as `config-from-step-<step>.yaml`.
    pub(crate) fn replace_configuration(&self, step: usize, config: &Config) -> Result<(), Error> {
        let write = |path: &Path, text: &[u8]| {
            NewFile::write_whole(path, text).map_err(FileError::write(path))
        };
        let first = self.configuration_from(0);
        if !first.exists() {
            let path = self.config();
            let earlier = read_regular_text(&path, MAX_BYTES as u64);
            let earlier = earlier.map_err(FileError::read(&path))?;
            write(&first, earlier.as_bytes())?;
        }
        let text = config.to_yaml();
        write(&self.configuration_from(step), text.as_bytes())?;
        write(&self.config(), text.as_bytes())?;
        Ok(())
    }

    fn configuration_from(&self, step: usize) -> PathBuf {
        self.path.join(format!("config-from-step-{step}.yaml"))
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

/// Returns the numbers in the names of the files `<prefix><number><suffix>` of a folder, ascending.
pub(crate) fn numbers_of_files(folder: &Path, prefix: &str, suffix: &str) -> Vec<usize> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut numbers: Vec<usize> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let number = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
            number.parse().ok()
        })
        .collect();
    numbers.sort_unstable();
    numbers
}

/// Removes incomplete files that killed processes have left in a folder. Nobody else may be writing
/// there.
pub(crate) fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // Ours; Burn's.
        let is_incomplete = name.contains(".partial-") || name.ends_with(".tmp");
        if is_incomplete && entry.file_type().is_ok_and(|it| it.is_file()) {
            let _ = fs::remove_file(entry.path());
        }
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
}
