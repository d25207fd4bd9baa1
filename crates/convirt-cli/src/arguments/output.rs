//! The check of an output before any work is done, and the option `--force`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use convirt::RunDir;
use convirt::config::DEFAULT_RUNS_DIR;
use convirt::data::{FileError, NewFile, folder_of, shards};

use crate::program::Misuse;

/// Whether an existing output is replaced.
#[derive(Args)]
pub struct OverwriteArguments {
    /// Replace an existing --out, unless it is an input
    #[arg(long)]
    force: bool,
}

/// What a command writes, by its path.
#[derive(Clone, Copy)]
pub enum Output<'a> {
    /// A file.
    File(&'a Path),
    /// A folder of files.
    Folder(&'a Path),
}

impl OverwriteArguments {
    /// Checks an output as [`Output::check`] does; with `--force`, an existing one is replaced.
    pub fn check(
        &self,
        output: Output<'_>,
        inputs: impl IntoIterator<Item: AsRef<Path>>,
    ) -> Result<()> {
        output.check(inputs, self.force)
    }
}

impl Output<'_> {
    /// Checks, before any work is done, that the output can be written, that it does not exist yet
    /// unless `may_replace`, and that it is never an input, or a part of one such as a run.
    ///
    /// Inputs that do not exist are no files, but names of models, for example.
    pub fn check(
        self,
        inputs: impl IntoIterator<Item: AsRef<Path>>,
        may_replace: bool,
    ) -> Result<()> {
        let (Output::File(path) | Output::Folder(path)) = self;
        let misuse = |problem: &str| Err(Misuse(format!("{}: {problem}", path.display())).into());
        if let Some(problem) = self.wrong_kind() {
            return misuse(problem);
        }
        if !is_free(path) {
            if let Some(problem) = overlap(path, inputs) {
                return misuse(&problem);
            }
            if !may_replace {
                return misuse("is there already; choose another name, or replace it with --force");
            }
        }
        self.check_place()
    }

    /// Returns what is wrong with an existing path that is a folder instead of a file, or the other
    /// way round.
    fn wrong_kind(self) -> Option<&'static str> {
        match self {
            Output::File(path) if path.is_dir() => {
                Some("is a folder; give a name for the file in it")
            }
            Output::File(path) if path.exists() && !path.is_file() => {
                Some("is neither a file nor a folder; choose another name")
            }
            Output::Folder(path) if path.exists() && !path.is_dir() => {
                Some("is no folder; choose another name")
            }
            _ => None,
        }
    }

    /// Checks that files can be created at the place, of which folders may still be missing.
    fn check_place(self) -> Result<()> {
        let file = match self {
            Output::Folder(folder) if folder.is_dir() => folder.join("convirt"),
            Output::File(path) | Output::Folder(path) => path.to_path_buf(),
        };
        // The first of the missing folders, or the file itself.
        let exists = |path: &Path| path.symlink_metadata().is_ok();
        let first = file.ancestors().find(|path| exists(folder_of(path)));
        let first = first.unwrap_or(&file);
        let folder = folder_of(first);
        if !folder.is_dir() {
            let (file, folder) = (file.display(), folder.display());
            let problem =
                format!("{file}: cannot be written: {folder} is no folder; choose another name");
            return Err(Misuse(problem).into());
        }
        // It is deleted at once.
        drop(NewFile::create(first, 0).map_err(FileError::write(&file))?);
        Ok(())
    }
}

/// Returns the folder of a run that is given by its path or name, or the given path itself, which
/// may be that of another model.
pub fn run_folder(run: &Path) -> PathBuf {
    let found = RunDir::open(Path::new(DEFAULT_RUNS_DIR), run);
    found.map_or_else(|_| run.to_path_buf(), |run| run.path().to_path_buf())
}

/// Returns whether there is nothing at a path, or only an empty folder.
fn is_free(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => path.symlink_metadata().is_err(),
    }
}

/// Returns how an existing output is, contains, or is a part of the first such input.
fn overlap(output: &Path, inputs: impl IntoIterator<Item: AsRef<Path>>) -> Option<String> {
    let output = output.canonicalize().ok()?;
    inputs.into_iter().find_map(|input| {
        let input = input.as_ref();
        let files = shards(input).unwrap_or_else(|| vec![input.to_path_buf()]);
        let mut files = files.iter().filter_map(|file| file.canonicalize().ok());
        let relation = files.find_map(|file| {
            if output == file {
                Some("is")
            } else if output.starts_with(&file) {
                Some("is a part of")
            } else if file.starts_with(&output) {
                Some("contains")
            } else {
                None
            }
        })?;
        let input = input.display();
        Some(format!(
            "{relation} the input {input}, which is never replaced; choose another name"
        ))
    })
}
