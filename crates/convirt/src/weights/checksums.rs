//! Records the length and CRC-32C of a model's files in `checksums.json`.
//!
//! Reading a file checks it against this record, so that even a single changed bit is noticed.
//!
//! ```json
//! {"model.safetensors": [{"bytes": 44704256, "crc32c": "8a9136aa"}]}
//! ```
//!
//! The files of a checkpoint are recorded in its state, `state-<step>.json`, under `files`.
//!
//! A training replaces its weights file many times. The list of this file holds the checksums of
//! both the new and the previous version. If the process dies during the replacement, the version
//! that is on disk still has a valid checksum.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use convirt_data::{FileError, open_regular, read_regular};
use serde::{Deserialize, Serialize};

use super::WeightsError;
use crate::json_file::write_json;

/// The name of the record in the model's folder.
pub(crate) const CHECKSUMS: &str = "checksums.json";

/// Maximum length of a `checksums.json`, in bytes; a model's has a few hundred.
const MAX_BYTES: u64 = 1 << 20;

/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// The length and checksum of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileSum {
    /// Length in bytes.
    pub bytes: u64,
    /// CRC-32C of all bytes, 8 hexadecimal digits.
    pub crc32c: String,
}

/// The accepted lengths and checksums of each file, by file name.
pub(crate) type Sums = BTreeMap<String, Vec<FileSum>>;

/// Records the current lengths and checksums of the files `names` in a folder.
///
/// # Errors
///
/// [`FileError::Read`] and [`FileError::Write`]; [`WeightsError::Damaged`] for an invalid record.
pub(crate) fn record(folder: &Path, names: &[&str]) -> Result<(), WeightsError> {
    let mut sums = read(folder)?;
    for name in names {
        let sum = FileSum::compute(&folder.join(name))?;
        sums.insert(name.to_string(), vec![sum]);
    }
    write(folder, &sums)
}

/// Renames the complete file `partial` to `name` in a folder, and records its checksum.
///
/// A file that already has this name is replaced.
///
/// # Errors
///
/// The same as those of [`record`].
pub(crate) fn publish(partial: &Path, folder: &Path, name: &str) -> Result<(), WeightsError> {
    let mut sums = read(folder)?;
    let file_sums = sums.entry(name.to_string()).or_default();
    file_sums.push(FileSum::compute(partial)?);
    let outdated = file_sums.len().saturating_sub(2);
    file_sums.drain(..outdated);
    write(folder, &sums)?;
    let path = folder.join(name);
    Ok(fs::rename(partial, &path).map_err(FileError::write(&path))?)
}

/// Checks that a file matches its recorded checksum. A file without a record is accepted.
///
/// # Errors
///
/// [`WeightsError::Changed`] if it does not match; [`FileError::Read`] if it cannot be read.
pub(crate) fn verify(path: &Path) -> Result<(), WeightsError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (record, sums) = match checkpoint_state(path) {
        Some(state) => (state.clone(), read_state(&state)?),
        None => (folder.join(CHECKSUMS), read(folder)?),
    };
    match sums.get(&*name) {
        Some(recorded) => verify_against(recorded, path, &record),
        None => Ok(()),
    }
}

/// Returns whether the record of a file's folder lists it.
pub(crate) fn is_recorded(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let sums = read(path.parent().unwrap_or(Path::new("")));
    sums.is_ok_and(|sums| sums.contains_key(&*name))
}

/// Checks that a file has one of the lengths and checksums of its `record`.
///
/// # Errors
///
/// Those of [`verify`].
pub(crate) fn verify_against(
    recorded: &[FileSum],
    path: &Path,
    record: &Path,
) -> Result<(), WeightsError> {
    let actual = FileSum::compute(path)?;
    if recorded.contains(&actual) {
        return Ok(());
    }
    Err(WeightsError::Changed {
        path: path.to_path_buf(),
        record: record.to_path_buf(),
        found: actual.crc32c,
        bytes: actual.bytes,
    })
}

/// Returns the state that records a file of a checkpoint, `<part>-<step>.bpk`, if it is there.
fn checkpoint_state(path: &Path) -> Option<PathBuf> {
    let (_, step) = path.file_stem()?.to_str()?.rsplit_once('-')?;
    let is_part = path.extension()? == "bpk" && step.parse::<usize>().is_ok();
    let state = path.with_file_name(format!("state-{step}.json"));
    (is_part && state.is_file()).then_some(state)
}

/// Reads the checksums in the state of a checkpoint. Those of older versions have none.
fn read_state(path: &Path) -> Result<Sums, WeightsError> {
    #[derive(Deserialize)]
    struct State {
        #[serde(default)]
        files: Sums,
    }
    let json = read_regular(path, MAX_BYTES).map_err(WeightsError::read(path))?;
    let state: State =
        serde_json::from_slice(&json).map_err(|error| WeightsError::damaged(path, error))?;
    Ok(state.files)
}

fn read(folder: &Path) -> Result<Sums, WeightsError> {
    let path = folder.join(CHECKSUMS);
    match read_regular(&path, MAX_BYTES) {
        Ok(json) => {
            serde_json::from_slice(&json).map_err(|error| WeightsError::damaged(&path, error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Sums::new()),
        Err(error) => Err(WeightsError::read(&path)(error)),
    }
}

fn write(folder: &Path, sums: &Sums) -> Result<(), WeightsError> {
    Ok(write_json(&folder.join(CHECKSUMS), sums)?)
}

impl FileSum {
    /// Reads a file and computes its length and checksum.
    pub fn compute(path: &Path) -> Result<Self, WeightsError> {
        let (checksum, bytes) = append_crc32c(0, path).map_err(WeightsError::read(path))?;
        Ok(Self {
            bytes,
            crc32c: format!("{checksum:08x}"),
        })
    }
}

/// Continues a CRC-32C over all bytes of a file; returns it and the file's length in bytes.
///
/// # Errors
///
/// An [`io::Error`] if the file cannot be read.
pub(crate) fn append_crc32c(checksum: u32, path: &Path) -> io::Result<(u32, u64)> {
    append_crc32c_of(checksum, open_regular(path)?)
}

/// Continues a CRC-32C over all that a reader gives; returns it and the number of bytes.
///
/// # Errors
///
/// Those of reading.
pub(crate) fn append_crc32c_of(mut checksum: u32, mut reader: impl Read) -> io::Result<(u32, u64)> {
    let (mut bytes, mut chunk) = (0, vec![0; CHUNK_BYTES]);
    loop {
        match reader.read(&mut chunk)? {
            0 => return Ok((checksum, bytes)),
            read => {
                bytes += read as u64;
                checksum = crc32c::crc32c_append(checksum, &chunk[..read]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_is_noticed_at_every_position() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let whole: Vec<u8> = (0..200).collect();
        fs::write(&path, &whole).unwrap();
        verify(&path).unwrap();
        record(folder.path(), &["model.safetensors"]).unwrap();
        verify(&path).unwrap();
        for bit in 0..8 * whole.len() {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, changed).unwrap();
            let error = verify(&path).unwrap_err().to_string();
            assert!(error.contains("model.safetensors"), "{error}");
        }
        fs::write(&path, &whole[..199]).unwrap();
        assert!(verify(&path).is_err());
    }

    #[test]
    fn weights_are_valid_before_and_after_a_replacement() {
        let folder = tempfile::tempdir().unwrap();
        let (path, partial) = (folder.path().join("a"), folder.path().join("a.partial"));
        for content in ["first", "second", "third"] {
            fs::write(&partial, content).unwrap();
            publish(&partial, folder.path(), "a").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            verify(&path).unwrap();
        }
        // The state after a process that died before the third file was in place.
        fs::write(&path, "second").unwrap();
        verify(&path).unwrap();
        fs::write(&path, "first").unwrap();
        assert!(verify(&path).is_err());
    }

    #[test]
    fn a_damaged_record_is_an_error_that_names_the_record() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CHECKSUMS), "{").unwrap();
        let error = verify(&folder.path().join("a")).unwrap_err().to_string();
        assert!(error.contains(CHECKSUMS), "{error}");
    }
}
