//! Files of embeddings for other programs, in the safetensors or the NumPy format.

use std::ffi::OsStr;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use convirt_data::{FileError, NewFile};
use serde_json::json;

use super::error::InferenceError;
use crate::error::Error;
use crate::weights::own_checksum::{NO_CHECKSUM, OWN_CHECKSUM, add_own_checksum};
use crate::weights::{MAX_SAFETENSORS_HEADER_BYTES, safetensors_header};

/// A writer of embeddings and their names, for other programs to read.
///
/// | ending | content | names |
/// |---|---|---|
/// | `.safetensors` | tensor `embeddings`, 32-bit `[rows, width]` | JSON list `names` in the metadata |
/// | `.npy` | 32-bit `[rows, width]` | a row each in `<name>.names.csv`, column `name` |
///
/// A `.safetensors` file has a checksum of itself in its metadata, `crc32c`: the CRC-32C of the
/// numbers, then of the header with eight zeros in its place. The NumPy format has no room for one.
///
/// The complete file appears at [`finish`](Self::finish); a writer that is dropped before leaves no
/// file.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use convirt::inference::EmbeddingFile;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("embeddings.npy");
/// let names = ["a.png", "unreadable.png", "c.png"].map(String::from);
/// let mut file = EmbeddingFile::create(&path, 2, names.to_vec())?;
/// file.push(0, &[0.6, 0.8])?;
/// file.push(2, &[1.0, 0.0])?;
/// assert_eq!(file.finish()?, 2);
/// let names = std::fs::read_to_string(folder.path().join("embeddings.names.csv"))?;
/// assert_eq!(names, "name\na.png\nc.png\n");
/// # Ok(())
/// # }
/// ```
pub struct EmbeddingFile {
    file: NewFile,
    path: PathBuf,
    format: Format,
    names: Vec<String>,
    /// Position among the names of each row written, ascending.
    written_names: Vec<usize>,
    width: usize,
    header: usize,
    /// CRC-32C of the rows written.
    checksum: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Safetensors,
    Npy,
}

impl EmbeddingFile {
    /// Begins a file of rows of `width` numbers, at most one for each of `names`.
    ///
    /// # Errors
    ///
    /// [`InferenceError::EmbeddingFormat`] for an unknown file ending,
    /// [`InferenceError::TooManyNames`] when the names do not fit into a safetensors header,
    /// [`FileError::Write`] when the file cannot be written.
    pub fn create(path: impl AsRef<Path>, width: usize, names: Vec<String>) -> Result<Self, Error> {
        let path = path.as_ref();
        let format = Format::from_path(path)?;
        let all: Vec<usize> = (0..names.len()).collect();
        let header = format.header(width, &names, &all, 0).len();
        if format == Format::Safetensors && header as u64 > MAX_SAFETENSORS_HEADER_BYTES {
            return Err(InferenceError::TooManyNames {
                path: path.to_path_buf(),
                names: names.len(),
                bytes: header,
            }
            .into());
        }
        Ok(Self {
            file: NewFile::create(path, header).map_err(FileError::write(path))?,
            path: path.to_path_buf(),
            format,
            names,
            written_names: Vec::new(),
            width,
            header,
            checksum: 0,
        })
    }

    /// Checks that a path has one of the supported endings, before any work is done.
    ///
    /// # Errors
    ///
    /// [`InferenceError::EmbeddingFormat`] for another ending.
    pub fn check_path(path: impl AsRef<Path>) -> Result<(), Error> {
        Format::from_path(path.as_ref())?;
        Ok(())
    }

    /// Returns the path of the separate file of names, for a format that does not hold them itself.
    pub fn names_path(path: impl AsRef<Path>) -> Option<PathBuf> {
        let path = path.as_ref();
        let is_npy = matches!(Format::from_path(path), Ok(Format::Npy));
        is_npy.then(|| path.with_extension("names.csv"))
    }

    /// Appends the row of the name at position `name` among the names.
    ///
    /// # Errors
    ///
    /// [`FileError::Write`] when the file cannot be written.
    ///
    /// # Panics
    ///
    /// When the row does not have `width` numbers, or the positions do not ascend.
    pub fn push(&mut self, name: usize, row: &[f32]) -> Result<(), FileError> {
        assert_eq!(row.len(), self.width, "the row has the wrong length");
        assert!(
            name < self.names.len() && self.written_names.last().is_none_or(|last| *last < name),
            "rows are written in the order of their names"
        );
        self.written_names.push(name);
        let bytes: Vec<u8> = row.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.checksum = crc32c::crc32c_append(self.checksum, &bytes);
        self.file
            .write(&bytes)
            .map_err(FileError::write(&self.path))
    }

    /// Completes the file, replaces an existing one, and returns the number of rows.
    ///
    /// # Errors
    ///
    /// [`FileError::Write`] when a file cannot be written.
    pub fn finish(self) -> Result<usize, Error> {
        let Self {
            file,
            path,
            format,
            names,
            written_names,
            width,
            header,
            checksum,
        } = self;
        if let Some(names_path) = Self::names_path(&path) {
            let write = || -> csv::Result<Vec<u8>> {
                let mut table = csv::Writer::from_writer(Vec::new());
                table.write_record(["name"])?;
                for &name in &written_names {
                    table.write_record([&names[name]])?;
                }
                table
                    .into_inner()
                    .map_err(|error| error.into_error().into())
            };
            let table = write().expect("writing to memory succeeds");
            NewFile::write_whole(&names_path, &table).map_err(FileError::write(&names_path))?;
        }
        let mut header = format.header(width, &names, &written_names, header);
        if format == Format::Safetensors {
            add_own_checksum(&mut header, checksum);
        }
        file.finish(&header).map_err(FileError::write(&path))?;
        Ok(written_names.len())
    }
}

impl Format {
    fn from_path(path: &Path) -> Result<Self, InferenceError> {
        match path.extension().and_then(OsStr::to_str) {
            Some("safetensors") => Ok(Self::Safetensors),
            Some("npy") => Ok(Self::Npy),
            _ => Err(InferenceError::EmbeddingFormat {
                path: path.to_path_buf(),
            }),
        }
    }

    /// Returns the header of a file with rows for `written_names`, padded to at least `length`
    /// bytes.
    fn header(
        self,
        width: usize,
        names: &[String],
        written_names: &[usize],
        length: usize,
    ) -> Vec<u8> {
        let rows = written_names.len();
        match self {
            Self::Safetensors => {
                let names: Vec<&String> = written_names.iter().map(|&name| &names[name]).collect();
                let names = serde_json::to_string(&names).expect("names are text");
                safetensors_header(
                    &json!({
                        "__metadata__": {"names": names, OWN_CHECKSUM: NO_CHECKSUM},
                        "embeddings": {
                            "dtype": "F32",
                            "shape": [rows, width],
                            "data_offsets": [0, rows * width * 4],
                        },
                    }),
                    length,
                )
            }
            Self::Npy => {
                let mut dict = String::new();
                write!(
                    dict,
                    "{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}"
                )
                .expect("writing to a string succeeds");
                // Ten bytes hold the magic, the version and the length of the rest; a line feed
                // ends the header.
                let total = (10 + dict.len() + 1).next_multiple_of(64).max(length);
                let mut header = b"\x93NUMPY\x01\x00".to_vec();
                header.extend(((total - 10) as u16).to_le_bytes());
                header.extend(dict.bytes());
                header.resize(total - 1, b' ');
                header.push(b'\n');
                header
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fs::{self, File};

    use safetensors::SafeTensors;

    use super::*;
    use crate::weights::own_checksum::own_checksum;

    const NAMES: [&str; 4] = ["a.png", "left, \"out\".png", "b\n.png", "c.png"];

    /// Writes a file with three rows of two numbers.
    fn write_three_rows(path: &Path) {
        let names = NAMES.map(String::from).to_vec();
        let mut file = EmbeddingFile::create(path, 2, names).unwrap();
        for (name, row) in [(0, [0.5, -1.0]), (2, [3.0, 4.0]), (3, [1e-9, 7.0])] {
            file.push(name, &row).unwrap();
        }
        assert_eq!(file.finish().unwrap(), 3);
    }

    const NUMBERS: [f32; 6] = [0.5, -1.0, 3.0, 4.0, 1e-9, 7.0];

    fn floats(bytes: &[u8]) -> Vec<f32> {
        let (floats, rest) = bytes.as_chunks::<4>();
        assert!(rest.is_empty());
        floats
            .iter()
            .map(|float| f32::from_le_bytes(*float))
            .collect()
    }

    #[test]
    fn safetensors_hold_the_rows_and_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("embeddings.safetensors");
        write_three_rows(&path);
        let bytes = fs::read(&path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let tensor = tensors.tensor("embeddings").unwrap();
        assert_eq!(tensor.shape(), [3, 2]);
        assert_eq!(floats(tensor.data()), NUMBERS);
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata: &HashMap<_, _> = metadata.metadata().as_ref().unwrap();
        let names: Vec<String> = serde_json::from_str(&metadata["names"]).unwrap();
        assert_eq!(names, [NAMES[0], NAMES[2], NAMES[3]]);
    }

    #[test]
    fn safetensors_have_the_checksum_of_themselves() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("embeddings.safetensors");
        write_three_rows(&path);
        let whole = fs::read(&path).unwrap();
        let (length, metadata) = SafeTensors::read_metadata(&whole).unwrap();
        let recorded = metadata.metadata().as_ref().unwrap()["crc32c"].clone();
        let computed = || own_checksum(&File::open(&path).unwrap(), length as u64 + 8).unwrap();
        assert_eq!(computed(), recorded);
        for position in [20, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[position] ^= 1;
            fs::write(&path, changed).unwrap();
            assert_ne!(computed(), recorded);
        }
    }

    // NumPy's format 1.0: magic, version, length of the header, a dictionary, the numbers.
    #[test]
    fn npy_holds_the_rows_and_a_csv_file_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("embeddings.npy");
        write_three_rows(&path);
        let bytes = fs::read(&path).unwrap();
        assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
        let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        assert_eq!(start % 64, 0);
        let header = std::str::from_utf8(&bytes[10..start]).unwrap();
        let expected = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }";
        assert_eq!(header.trim_end(), expected);
        assert!(header.ends_with('\n'));
        assert_eq!(floats(&bytes[start..]), NUMBERS);
        let mut names = csv::Reader::from_path(folder.path().join("embeddings.names.csv")).unwrap();
        assert_eq!(names.headers().unwrap(), ["name"].as_slice());
        let names: Vec<_> = names
            .records()
            .map(|row| row.unwrap()[0].to_string())
            .collect();
        assert_eq!(names, [NAMES[0], NAMES[2], NAMES[3]]);
    }

    #[test]
    fn an_unknown_ending_is_an_error_that_names_the_supported_ones() {
        for name in ["embeddings.csv", "embeddings", "embeddings.NPZ"] {
            let message = EmbeddingFile::check_path(name).unwrap_err().to_string();
            for part in [name, ".safetensors", ".npy"] {
                assert!(message.contains(part), "{message}");
            }
        }
    }
}
