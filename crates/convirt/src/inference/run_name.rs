//! The names by which a run can be given: a path, a folder's name, its beginning, or `latest`.

use std::fs;
use std::path::{Component, Path, PathBuf};

use convirt_data::truncated_list;

/// Name of the run that was started last.
const LATEST: &str = "latest";

/// An error of finding a run by its name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunNameError {
    /// The run does not exist.
    #[error("no run `{run}`, neither as a path nor in {looked_in}; found {found}", run = run.display(), looked_in = looked_in.display(), found = truncated_list(found))]
    NoRun {
        /// Name or path of the run.
        run: PathBuf,
        /// Folder of runs that was searched.
        looked_in: PathBuf,
        /// Names of the runs in that folder.
        found: Vec<String>,
    },

    /// Several runs begin with the name.
    #[error("`{name}` is the beginning of {count} runs in {looked_in}: {found}; give more of the name", count = found.len(), looked_in = looked_in.display(), found = truncated_list(found))]
    AmbiguousRun {
        /// The beginning of their names.
        name: String,
        /// Folder of runs that was searched.
        looked_in: PathBuf,
        /// Names of the runs that begin with it.
        found: Vec<String>,
    },
}

impl RunNameError {
    /// Returns the error of a name that means no run in the folder `runs`, with those there are.
    pub(crate) fn no_run(runs: &Path, name: &Path) -> Self {
        Self::NoRun {
            run: name.to_path_buf(),
            looked_in: runs.to_path_buf(),
            found: runs_in(runs),
        }
    }
}

/// Finds the run that `name` means: a path that exists, the name of a run in the folder `runs`, the
/// beginning of one run's name, or `latest`. Returns `None` if there is none.
///
/// # Errors
///
/// [`RunNameError::AmbiguousRun`] if several runs begin with the name.
pub(crate) fn find_run(runs: &Path, name: &Path) -> Result<Option<PathBuf>, RunNameError> {
    if name.exists() {
        return Ok(Some(name.to_path_buf()));
    }
    let in_runs = runs.join(name);
    if in_runs.exists() {
        return Ok(Some(in_runs));
    }
    let mut components = name.components();
    let (Some(Component::Normal(start)), None) = (components.next(), components.next()) else {
        return Ok(None);
    };
    let Some(start) = start.to_str().filter(|start| !start.is_empty()) else {
        return Ok(None);
    };
    let mut found = runs_in(runs);
    if start == LATEST {
        return Ok(found.pop().map(|run| runs.join(run)));
    }
    found.retain(|run| run.starts_with(start));
    match &found[..] {
        [] => Ok(None),
        [run] => Ok(Some(runs.join(run))),
        _ => Err(RunNameError::AmbiguousRun {
            name: start.to_string(),
            looked_in: runs.to_path_buf(),
            found,
        }),
    }
}

/// Finds a run like [`find_run`]; `is_run` says whether a path is one.
///
/// # Errors
///
/// [`RunNameError::NoRun`] if there is none; those of [`find_run`].
pub(crate) fn require_run(
    runs: &Path,
    name: &Path,
    is_run: impl Fn(&Path) -> bool,
) -> Result<PathBuf, RunNameError> {
    let path = find_run(runs, name)?.filter(|path| is_run(path));
    // A folder in the working directory may have the name of a run.
    let path = path.or_else(|| Some(runs.join(name)).filter(|path| is_run(path)));
    path.ok_or_else(|| RunNameError::no_run(runs, name))
}

/// Returns the names of the runs in a folder in the order of their starts, with which they begin.
pub(crate) fn runs_in(runs: &Path) -> Vec<String> {
    let entries = fs::read_dir(runs).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().join("config.yaml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(names: &[&str]) -> tempfile::TempDir {
        let runs = tempfile::tempdir().unwrap();
        for name in names {
            fs::create_dir(runs.path().join(name)).unwrap();
            fs::write(runs.path().join(name).join("config.yaml"), "").unwrap();
        }
        runs
    }

    #[test]
    fn a_run_is_found_by_path_name_beginning_or_latest() {
        let runs = runs(&[
            "2026-01-16_02-27-36_a",
            "2026-01-17_08-00-00_b",
            "2026-01-17_09-00-00_a",
        ]);
        // The newest folder is not a run.
        fs::create_dir(runs.path().join("2026-02-01_other")).unwrap();
        let find = |name: &str| {
            let found = find_run(runs.path(), Path::new(name)).map_err(|it| it.to_string())?;
            Ok(found.map(|run| run.file_name().unwrap().to_str().unwrap().to_string()))
        };
        let run = Ok(Some("2026-01-17_09-00-00_a".to_string()));
        let path = runs.path().join("2026-01-17_09-00-00_a");
        for name in [
            "2026-01-17_09-00-00_a",
            "2026-01-17_09",
            "latest",
            path.to_str().unwrap(),
        ] {
            assert_eq!(find(name), run, "{name}");
        }
        assert_eq!(find("2025"), Ok(None));
        assert_eq!(find("nowhere/2026"), Ok(None));
        let message: String = find("2026-01-17").unwrap_err();
        assert!(
            message.contains("2 runs") && message.contains("_b"),
            "{message}"
        );
    }

    #[test]
    fn a_missing_run_is_an_error_that_lists_the_others() {
        let runs = runs(&["2026-01-16_02-27-36_a"]);
        let error = require_run(runs.path(), Path::new("b"), Path::exists).unwrap_err();
        assert!(
            error.to_string().contains("2026-01-16_02-27-36_a"),
            "{error}"
        );
    }
}
