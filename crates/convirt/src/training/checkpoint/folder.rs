//! The folder of a run's checkpoints.

use std::fs;
use std::path::{Path, PathBuf};

use convirt_data::{FileError, NewFile};
use serde::{Deserialize, Serialize};

use super::state::TrainingState;
use crate::error::Error;
use crate::json_file::read_json;
use crate::run::{RunError, numbers_of_files, remove_leftovers};
use crate::weights::checksums::{FileSum, Sums, verify_against};

/// Names of the files of every checkpoint beside its state.
pub(crate) const PARTS: [&str; 2] = ["model", "optim"];

/// Name of the file with the averages of the weights, in the checkpoints of runs that have them.
pub(crate) const AVERAGE: &str = "average";

/// Names of all files that a checkpoint may have beside its state.
const ALL_PARTS: [&str; 3] = [PARTS[0], PARTS[1], AVERAGE];

/// The folder of a run's checkpoints.
#[derive(Clone, Debug)]
pub(crate) struct CheckpointFolder {
    path: PathBuf,
}

/// A whole checkpoint, and the damaged ones that are newer.
#[derive(Debug)]
pub(crate) struct Newest {
    pub state: TrainingState,
    /// What is wrong with each of the newer ones.
    pub passed_over: Vec<String>,
}

/// The content of `state-<step>.json`.
#[derive(Serialize, Deserialize)]
struct StateFile {
    state: TrainingState,
    /// Lengths and checksums of the other files, by name.
    files: Sums,
    /// CRC-32C of `state` and `files` as JSON without spaces, 8 hexadecimal digits.
    crc32c: String,
}

impl CheckpointFolder {
    /// Names a folder, which need not exist.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of a part of a checkpoint, one of [`PARTS`].
    pub fn part(&self, part: &str, step: usize) -> PathBuf {
        self.path.join(format!("{part}-{step}.bpk"))
    }

    /// Returns the steps of the checkpoints that have a state, ascending.
    pub fn steps(&self) -> Vec<usize> {
        numbers_of_files(&self.path, "state-", ".json")
    }

    /// Reads the newest whole checkpoint, all files of which are verified.
    ///
    /// # Errors
    ///
    /// [`RunError::NoCheckpoint`] if there is none, with what is wrong with those that there are.
    pub fn newest(&self) -> Result<Newest, RunError> {
        let mut passed_over = Vec::new();
        for step in self.steps().into_iter().rev() {
            match self.verified(step) {
                Ok(state) => return Ok(Newest { state, passed_over }),
                Err(error) => passed_over.push(error.to_string()),
            }
        }
        Err(RunError::NoCheckpoint {
            folder: self.path.clone(),
            damaged: passed_over,
        })
    }

    /// Reads a state and verifies the checkpoint.
    fn verified(&self, step: usize) -> Result<TrainingState, Error> {
        let path = self.state(step);
        let json = read_json(&path)?;
        let broken = |cause| RunError::BrokenState {
            path: path.clone(),
            cause,
        };
        let file: StateFile = serde_json::from_slice(&json).map_err(broken)?;
        // A name that has changed may be read as a field that is missing.
        if file.to_json() != json || file.checksum() != file.crc32c || file.state.step != step {
            return Err(RunError::ChangedState { path }.into());
        }
        let StateFile { state, files, .. } = file;
        for part in ALL_PARTS {
            let file = self.part(part, step);
            let recorded = files.get(&name_of(&file));
            if recorded.is_some() || part != AVERAGE {
                verify_against(recorded.map_or(&[], Vec::as_slice), &file, &path)?;
            }
        }
        Ok(state)
    }

    /// Writes the state of a checkpoint whose other files are in place, with their checksums.
    pub fn complete(
        &self,
        state: &TrainingState,
        sums: impl IntoIterator<Item = (&'static str, FileSum)>,
    ) -> Result<(), FileError> {
        let sums = sums.into_iter();
        let named = sums.map(|(part, sum)| (name_of(&self.part(part, state.step)), vec![sum]));
        let files: Sums = named.collect();
        let mut file = StateFile {
            state: state.clone(),
            files,
            crc32c: String::new(),
        };
        file.crc32c = file.checksum();
        let path = self.state(state.step);
        NewFile::write_whole(&path, &file.to_json()).map_err(FileError::write(&path))
    }

    /// Removes a checkpoint, its state first: without it the others are leftovers.
    pub fn remove(&self, step: usize) {
        let _ = fs::remove_file(self.state(step));
        for part in ALL_PARTS {
            let _ = fs::remove_file(self.part(part, step));
        }
    }

    /// Removes what killed processes have left: incomplete files and checkpoints, and those after
    /// `step`, which a resumed run writes again.
    pub fn clean(&self, step: usize) {
        remove_leftovers(&self.path);
        for later in self.steps().into_iter().filter(|later| *later > step) {
            self.remove(later);
        }
        let complete = self.steps();
        for part in ALL_PARTS {
            let mut steps = numbers_of_files(&self.path, &format!("{part}-"), ".bpk");
            steps.retain(|step| !complete.contains(step));
            for step in steps {
                let _ = fs::remove_file(self.part(part, step));
            }
        }
    }

    fn state(&self, step: usize) -> PathBuf {
        self.path.join(format!("state-{step}.json"))
    }
}

impl StateFile {
    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("plain data")
    }

    fn checksum(&self) -> String {
        let json = serde_json::to_vec(&(&self.state, &self.files)).expect("plain data");
        format!("{:08x}", crc32c::crc32c(&json))
    }
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(steps: &[usize]) -> (tempfile::TempDir, CheckpointFolder) {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = CheckpointFolder::new(folder.path().to_path_buf());
        for &step in steps {
            write(&checkpoints, step);
        }
        (folder, checkpoints)
    }

    fn write(checkpoints: &CheckpointFolder, step: usize) {
        let sums = PARTS.map(|part| {
            let path = checkpoints.part(part, step);
            fs::write(&path, format!("{part} after {step} steps")).unwrap();
            (part, FileSum::compute(&path).unwrap())
        });
        let state = TrainingState {
            step,
            seconds: 0.1 + step as f64 / 3.0,
            ..TrainingState::default()
        };
        checkpoints.complete(&state, sums).unwrap();
    }

    #[test]
    fn the_newest_checkpoint_with_a_state_is_read_to_the_bit() {
        let (_folder, checkpoints) = folder_with(&[90, 1000, 200]);
        fs::write(checkpoints.part("model", 2000), "killed before its state").unwrap();
        let newest = checkpoints.newest().unwrap();
        assert_eq!(newest.state.step, 1000);
        assert_eq!(newest.state.seconds, 0.1 + 1000.0 / 3.0);
        assert!(newest.passed_over.is_empty());
    }

    /// Each bit of each file of the newest checkpoint.
    #[test]
    fn a_checkpoint_with_a_flipped_bit_is_passed_over_and_named() {
        let (_folder, checkpoints) = folder_with(&[4, 8]);
        for file in ["model-8.bpk", "optim-8.bpk", "state-8.json"] {
            let path = checkpoints.path().join(file);
            let whole = fs::read(&path).unwrap();
            for bit in 0..8 * whole.len() {
                let mut flipped = whole.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                fs::write(&path, flipped).unwrap();
                let newest = checkpoints.newest().unwrap();
                assert_eq!(newest.state.step, 4, "bit {bit} of {file}");
                let [reason] = &newest.passed_over[..] else {
                    panic!("{:?}", newest.passed_over);
                };
                assert!(reason.contains("8."), "{reason}");
            }
            fs::write(&path, &whole[..whole.len() / 2]).unwrap();
            assert_eq!(checkpoints.newest().unwrap().state.step, 4);
            fs::remove_file(&path).unwrap();
            assert_eq!(checkpoints.newest().unwrap().state.step, 4);
            fs::write(&path, whole).unwrap();
            assert_eq!(checkpoints.newest().unwrap().state.step, 8);
        }
    }

    #[test]
    fn a_folder_without_a_whole_checkpoint_is_an_error_that_says_why() {
        let (_folder, checkpoints) = folder_with(&[]);
        let error = checkpoints.newest().unwrap_err();
        let name = checkpoints.path().display().to_string();
        assert!(error.to_string().contains(&name), "{error}");
        write(&checkpoints, 3);
        fs::write(checkpoints.part("optim", 3), "other").unwrap();
        let error = checkpoints.newest().unwrap_err().to_string();
        assert!(error.contains("optim-3.bpk"), "{error}");
    }

    #[test]
    fn leftovers_and_later_checkpoints_are_removed() {
        let (_folder, checkpoints) = folder_with(&[4, 8, 12]);
        for name in [
            "model-16.bpk",
            "optim-12.bpk.77-0.tmp",
            "state-16.json.partial-77",
        ] {
            fs::write(checkpoints.path().join(name), "").unwrap();
        }
        checkpoints.clean(8);
        let mut names: Vec<String> = fs::read_dir(checkpoints.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let of_steps = |part: &str, end: &str| [4, 8].map(|step| format!("{part}-{step}.{end}"));
        let expected = [
            of_steps("model", "bpk"),
            of_steps("optim", "bpk"),
            of_steps("state", "json"),
        ];
        assert_eq!(names, expected.concat());
    }
}
