//! `checksums.json` of a model's folder: length and CRC-32C of its files, so that a change of a
//! single bit is noticed when they are read.
//!
//! ```json
//! {"model.safetensors": [{"bytes": 44704256, "crc32c": "8a9136aa"}]}
//! ```
//!
//! Weights are replaced while a model trains. Of these the list holds both the present and the last
//! ones: whichever are there when the process dies in between are whole.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use convirt_data::{FileError, NewFile, open_regular, read_regular};
use serde::{Deserialize, Serialize};

use super::WeightsError;

/// Name of the file.
const CHECKSUMS: &str = "checksums.json";

/// Largest file of checksums that is read, in bytes; those of a model take some hundred.
const MAX_BYTES: u64 = 1 << 20;

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileSum {
    bytes: u64,
    /// CRC-32C of all bytes, 8 hexadecimal digits.
    crc32c: String,
}

/// What each file may be, by its name.
type Sums = BTreeMap<String, Vec<FileSum>>;

/// Records what the files of a folder are, as they are now.
///
/// # Errors
///
/// [`WeightsError::Read`] and [`WeightsError::Write`].
pub(crate) fn record(folder: &Path, names: &[&str]) -> Result<(), WeightsError> {
    let mut sums = read(folder)?;
    for name in names {
        let sum = FileSum::compute(&folder.join(name))?;
        sums.insert(name.to_string(), vec![sum]);
    }
    write(folder, &sums)
}

/// Gives a whole file, `partial`, the name that it has in a folder, and records what it is; an
/// earlier file is replaced.
///
/// # Errors
///
/// As [`record`].
pub(crate) fn publish(partial: &Path, folder: &Path, name: &str) -> Result<(), WeightsError> {
    let mut sums = read(folder)?;
    let of_file = sums.entry(name.to_string()).or_default();
    of_file.push(FileSum::compute(partial)?);
    let old = of_file.len().saturating_sub(2);
    of_file.drain(..old);
    write(folder, &sums)?;
    let path = folder.join(name);
    Ok(fs::rename(partial, &path).map_err(FileError::write(&path))?)
}

/// Checks that a file is as it was recorded; one that was not is taken as it is.
///
/// # Errors
///
/// [`WeightsError::Changed`], and [`WeightsError::Read`] when it cannot be read.
pub(crate) fn verify(path: &Path) -> Result<(), WeightsError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let sums = read(folder)?;
    let Some(recorded) = sums.get(&*name) else {
        return Ok(());
    };
    let found = FileSum::compute(path)?;
    match recorded.contains(&found) {
        true => Ok(()),
        false => Err(WeightsError::Changed {
            path: path.to_path_buf(),
            record: folder.join(CHECKSUMS),
            found: found.crc32c,
            bytes: found.bytes,
        }),
    }
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
    let path = folder.join(CHECKSUMS);
    let json = serde_json::to_string_pretty(sums).expect("plain data") + "\n";
    Ok(NewFile::write_whole(&path, json.as_bytes()).map_err(FileError::write(&path))?)
}

impl FileSum {
    fn compute(path: &Path) -> Result<Self, WeightsError> {
        let (checksum, bytes) = append_crc32c(0, path).map_err(WeightsError::read(path))?;
        Ok(Self {
            bytes,
            crc32c: format!("{checksum:08x}"),
        })
    }
}

/// Goes on with a CRC-32C over all bytes of a file; returns it with their number.
///
/// # Errors
///
/// When the file cannot be read.
pub(crate) fn append_crc32c(mut checksum: u32, path: &Path) -> io::Result<(u32, u64)> {
    let mut file = open_regular(path)?;
    let (mut bytes, mut chunk) = (0, vec![0; CHUNK]);
    loop {
        match file.read(&mut chunk)? {
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
    fn a_flipped_bit_is_noticed_wherever_it_is() {
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
    fn weights_that_are_being_replaced_are_whole_before_and_after() {
        let folder = tempfile::tempdir().unwrap();
        let (path, partial) = (folder.path().join("a"), folder.path().join("a.partial"));
        for content in ["first", "second", "third"] {
            fs::write(&partial, content).unwrap();
            publish(&partial, folder.path(), "a").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            verify(&path).unwrap();
        }
        // As when the process had died before the third was there.
        fs::write(&path, "second").unwrap();
        verify(&path).unwrap();
        fs::write(&path, "first").unwrap();
        assert!(verify(&path).is_err());
    }

    #[test]
    fn a_damaged_record_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CHECKSUMS), "{").unwrap();
        let error = verify(&folder.path().join("a")).unwrap_err().to_string();
        assert!(error.contains(CHECKSUMS), "{error}");
    }
}
