//! A file with the hidden states of texts, for later runs.
//!
//! The file starts with the eight bytes of [`MAGIC`]. Each text has a record: a checksum of the
//! rest of the record's body (xxh3, 64 bits), the numbers of positions and of floats (32 bits
//! each), token, mask and segment of each position (32 bits each), and the state in float32; all
//! little-endian.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use convirt_model::{FrozenStates, StateStorage, TextKey};
use twox_hash::{XxHash3_64, XxHash3_128};

use crate::messages::warning;

const MAGIC: &[u8; 8] = b"cvstate1";

/// Bytes before a record's positions.
const HEAD: usize = 16;

/// Maximum number of positions of a record, so that a damaged size does not allocate gigabytes:
/// eight times the length of the encoders' longest texts.
const MAX_POSITIONS: usize = 4_096;

/// Maximum number of floats of a record: 4,096 for each position.
const MAX_FLOATS: usize = MAX_POSITIONS * 4_096;

/// Lets `states` also store all states in files in `folder`, each of up to `capacity` bytes. Each
/// encoder has its own file, named after its fingerprint, which later runs read.
///
/// If a file cannot be used, or another run uses it, a warning is logged.
pub(super) fn in_folder(states: FrozenStates, folder: &Path, capacity: u64) -> FrozenStates {
    let folder = folder.to_path_buf();
    states.with_storage(move |fingerprint| {
        let path = folder.join(format!("{fingerprint:032x}.states"));
        match StateFile::open(&path, capacity) {
            Ok(file) => Some(Box::new(StoredStates { file: Some(file) })),
            Err(error) => {
                warn(&path, &error);
                None
            }
        }
    })
}

/// The storage of an encoder's states in a file. After an error there is no file.
struct StoredStates {
    file: Option<StateFile>,
}

impl StateStorage for StoredStates {
    fn get(&mut self, text: &TextKey) -> Option<Vec<f32>> {
        let outcome = self.file.as_mut()?.get(text);
        self.close_on_error(outcome)?
    }

    fn put(&mut self, text: &TextKey, state: &[f32]) {
        if let Some(file) = &mut self.file {
            let outcome = file.put(text, state);
            self.close_on_error(outcome);
        }
    }
}

impl StoredStates {
    /// Returns the value of an access to the file. After an error, warns and continues without the
    /// file.
    fn close_on_error<T>(&mut self, outcome: io::Result<T>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                if let Some(file) = self.file.take() {
                    warn(&file.path, &error);
                }
                None
            }
        }
    }
}

fn warn(path: &Path, error: &io::Error) {
    let path = path.display();
    let problem = match error.kind() {
        io::ErrorKind::WouldBlock => "another run uses it".to_string(),
        _ => error.to_string(),
    };
    warning(format_args!(
        "{path}: {problem}; states of frozen layers are not stored on disk"
    ));
}

/// A file of states, locked against other processes.
#[derive(Debug)]
struct StateFile {
    path: PathBuf,
    file: File,
    /// The offsets of records, by the hash of their texts.
    offsets: HashMap<u128, u64>,
    end: u64,
    capacity: u64,
}

/// Sizes of a record.
struct Head {
    checksum: u64,
    positions: usize,
    floats: usize,
}

impl StateFile {
    /// Opens or creates a file, which grows up to `capacity` bytes. An incomplete record at its end
    /// is removed.
    ///
    /// # Errors
    ///
    /// - [`io::ErrorKind::WouldBlock`] if another run uses the file
    /// - [`io::ErrorKind::InvalidData`] if it is another kind of file
    /// - those of reading and writing
    fn open(path: &Path, capacity: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
            TryLockError::Error(error) => error,
        })?;
        let length = file.metadata()?.len();
        if length == 0 {
            file.write_all(MAGIC)?;
        }
        let (offsets, end) = read_offsets(&file, length.max(MAGIC.len() as u64))?;
        file.set_len(end)?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            offsets,
            end,
            capacity,
        })
    }

    /// Returns the state of a text; `None` if it is missing or damaged.
    fn get(&mut self, key: &TextKey) -> io::Result<Option<Vec<f32>>> {
        let Some(&offset) = self.offsets.get(&hash(key)) else {
            return Ok(None);
        };
        self.file.seek(SeekFrom::Start(offset))?;
        let head = Head::read(&mut self.file)?;
        if head.positions != key.len() || head.floats > MAX_FLOATS {
            return Ok(None);
        }
        let mut body = vec![0; head.body()];
        self.file.read_exact(&mut body)?;
        let (positions, state) = body.split_at(head.positions * size_of::<[i32; 3]>());
        if XxHash3_64::oneshot(&body) != head.checksum || positions != bytes_of(key) {
            return Ok(None);
        }
        let (words, _) = state.as_chunks();
        Ok(Some(
            words.iter().map(|word| f32::from_le_bytes(*word)).collect(),
        ))
    }

    /// Writes the state of a text, unless the file is full.
    fn put(&mut self, key: &TextKey, state: &[f32]) -> io::Result<()> {
        let mut body = bytes_of(key);
        body.extend(state.iter().flat_map(|number| number.to_le_bytes()));
        let record = HEAD + body.len();
        if self.end + record as u64 > self.capacity {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(record);
        bytes.extend(XxHash3_64::oneshot(&body).to_le_bytes());
        bytes.extend((key.len() as u32).to_le_bytes());
        bytes.extend((state.len() as u32).to_le_bytes());
        bytes.extend(body);
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(&bytes)?;
        self.offsets.insert(hash(key), self.end);
        self.end += record as u64;
        Ok(())
    }
}

impl Head {
    fn read(reader: &mut impl Read) -> io::Result<Self> {
        let mut bytes = [0; HEAD];
        reader.read_exact(&mut bytes)?;
        let number =
            |start: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[start + i])) as usize;
        Ok(Self {
            checksum: u64::from_le_bytes(std::array::from_fn(|i| bytes[i])),
            positions: number(8),
            floats: number(12),
        })
    }

    /// Returns the bytes after the head.
    fn body(&self) -> usize {
        self.positions * size_of::<[i32; 3]>() + self.floats * size_of::<f32>()
    }
}

/// Returns the offsets of the complete records, and the end of the last one.
fn read_offsets(file: &File, length: u64) -> io::Result<(HashMap<u128, u64>, u64)> {
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(0))?;
    let mut magic = [0; MAGIC.len()];
    reader.read_exact(&mut magic)?;
    if magic != *MAGIC {
        let problem = "not a file of frozen states; move it away";
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    let (mut offsets, mut end) = (HashMap::new(), MAGIC.len() as u64);
    while end + (HEAD as u64) <= length {
        let head = Head::read(&mut reader)?;
        let next = end + (HEAD + head.body()) as u64;
        if head.positions > MAX_POSITIONS || head.floats > MAX_FLOATS || next > length {
            break;
        }
        let mut positions = vec![0; head.positions * size_of::<[i32; 3]>()];
        reader.read_exact(&mut positions)?;
        reader.seek_relative((head.floats * size_of::<f32>()) as i64)?;
        offsets.insert(XxHash3_128::oneshot(&positions), end);
        end = next;
    }
    Ok((offsets, end))
}

fn hash(key: &TextKey) -> u128 {
    XxHash3_128::oneshot(&bytes_of(key))
}

fn bytes_of(key: &TextKey) -> Vec<u8> {
    let numbers = key.iter().flatten();
    numbers.flat_map(|number| number.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &TextKey = &[[2, 1, 0], [7, 1, 0]];
    const B: &TextKey = &[[2, 1, 0], [7, 1, 1]];
    const STATE: [f32; 4] = [1.5, -0.0, f32::MIN_POSITIVE, 3e7];

    fn bits(state: Option<Vec<f32>>) -> Option<Vec<u32>> {
        state.map(|state| state.into_iter().map(f32::to_bits).collect())
    }

    fn expected() -> Option<Vec<u32>> {
        bits(Some(STATE.to_vec()))
    }

    #[test]
    fn states_are_read_to_the_bit_when_the_file_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.states");
        for opened in 0..2 {
            let mut file = StateFile::open(&path, 1_000).unwrap();
            assert_eq!(bits(file.get(A).unwrap()).is_some(), opened == 1);
            if opened == 0 {
                file.put(A, &STATE).unwrap();
            }
            assert_eq!(bits(file.get(A).unwrap()), expected());
            assert_eq!(file.get(B).unwrap(), None, "another segment");
        }
    }

    #[test]
    fn truncated_and_damaged_records_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.states");
        let mut file = StateFile::open(&path, 1_000).unwrap();
        file.put(A, &STATE).unwrap();
        let whole = file.end;
        file.put(B, &STATE).unwrap();
        drop(file);
        let bytes = std::fs::read(&path).unwrap();
        for length in [whole as usize + 5, whole as usize + HEAD, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let mut file = StateFile::open(&path, 1_000).unwrap();
            assert_eq!((file.end, file.get(B).unwrap()), (whole, None));
            assert_eq!(bits(file.get(A).unwrap()), expected());
            file.put(B, &STATE).unwrap();
            assert_eq!(bits(file.get(B).unwrap()), expected(), "written again");
        }
        let mut damaged = bytes.clone();
        damaged[whole as usize - 1] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        let mut file = StateFile::open(&path, 1_000).unwrap();
        assert_eq!(file.get(A).unwrap(), None);
        assert_eq!(bits(file.get(B).unwrap()), expected());
        // Sizes beyond the limits.
        let mut malformed = bytes;
        malformed[MAGIC.len() + 8..MAGIC.len() + HEAD].fill(0xFF);
        drop(file);
        std::fs::write(&path, malformed).unwrap();
        assert_eq!(
            StateFile::open(&path, 1_000).unwrap().end,
            MAGIC.len() as u64
        );
    }

    #[test]
    fn full_files_and_other_files_do_not_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.states");
        let mut file = StateFile::open(&path, 70).unwrap();
        file.put(A, &STATE).unwrap();
        file.put(B, &STATE).unwrap();
        assert_eq!(file.get(B).unwrap(), None);
        assert_eq!(file.file.metadata().unwrap().len(), 8 + 16 + 24 + 16);
        drop(file);
        std::fs::write(&path, "somebody's notes").unwrap();
        let error = StateFile::open(&path, 70).unwrap_err();
        assert!(
            error.to_string().contains("not a file of frozen states"),
            "{error}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"somebody's notes");
    }

    #[test]
    fn a_file_in_use_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.states");
        let _open = StateFile::open(&path, 70).unwrap();
        let error = StateFile::open(&path, 70).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    /// The cache in memory has no room, so that all states come from the file or are computed.
    #[test]
    fn states_in_a_file_are_the_computed_ones_in_later_runs_of_the_same_encoder() {
        use burn::tensor::{Device, Int, Tensor};
        use convirt_model::{Bert, BertConfig, TextInput};

        let device = Device::flex().autodiff();
        let config = BertConfig {
            hidden_size: 24,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            intermediate_size: 48,
            ..BertConfig::base(40)
        };
        let encoder = config.init(&device).unwrap().freeze_embeddings();
        let encoder = encoder.freeze_layers(&[0]).unwrap();
        let input_ids = Tensor::<2, Int>::from_data([[2, 5, 3, 0], [2, 7, 9, 3]], &device);
        let input = TextInput {
            attention_mask: input_ids.clone().not_equal_elem(0),
            input_ids,
            token_type_ids: None,
        };
        let folder = tempfile::tempdir().unwrap();
        // Evaluation, as dropout above the frozen layers would differ.
        let output = |encoder: &Bert| {
            let state = burn::module::Module::valid(encoder).forward_to(input.clone(), 2);
            state.narrow(0, 1, 1).into_data()
        };
        let expected = output(&encoder);
        let lengths = || -> Vec<u64> {
            let files = std::fs::read_dir(folder.path()).unwrap();
            files
                .map(|file| file.unwrap().metadata().unwrap().len())
                .collect()
        };
        for _run in 0..2 {
            let states = in_folder(FrozenStates::new(0), folder.path(), 1 << 20);
            assert_eq!(
                output(&encoder.clone().with_frozen_states(&states)),
                expected
            );
            assert_eq!(lengths(), [8 + 2 * 16 + 7 * (12 + 24 * 4)]);
        }
    }
}
