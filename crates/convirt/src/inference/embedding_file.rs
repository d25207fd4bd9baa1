//! Embeddings for other programs: safetensors or NumPy.

use std::ffi::OsStr;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use convirt_data::{FileError, NewFile};
use serde_json::json;

use super::error::InferenceError;
use crate::error::Error;
use crate::weights::{LONGEST_HEADER, safetensors_header};

/// Writes rows of numbers and their names, for other programs to read.
///
/// | ending | content | names |
/// |---|---|---|
/// | `.safetensors` | tensor `embeddings`, 32-bit `[rows, width]` | JSON list `names` in the metadata |
/// | `.npy` | 32-bit `[rows, width]` | a row each in `<name>.names.csv`, column `name` |
///
/// The file appears with [`finish`](Self::finish), whole; dropped before, it leaves nothing.
pub struct EmbeddingFile {
    file: NewFile,
    path: PathBuf,
    format: Format,
    names: Vec<String>,
    /// Places of the rows among the names, ascending.
    kept: Vec<usize>,
    width: usize,
    header: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Safetensors,
    Npy,
}

impl EmbeddingFile {
    /// Begins a file of rows of `width` numbers, at the most one for each of `names`.
    ///
    /// # Errors
    ///
    /// [`InferenceError::EmbeddingFormat`] for another ending, [`InferenceError::TooManyNames`]
    /// when they do not fit into a safetensors header, [`FileError::Write`] when the file cannot be
    /// written.
    pub fn create(path: impl AsRef<Path>, width: usize, names: Vec<String>) -> Result<Self, Error> {
        let path = path.as_ref();
        let format = Format::from_path(path)?;
        let all: Vec<usize> = (0..names.len()).collect();
        let header = format.header(width, &names, &all, 0).len();
        if format == Format::Safetensors && header as u64 > LONGEST_HEADER {
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
            kept: Vec::new(),
            width,
            header,
        })
    }

    /// Checks that the ending of a path is one that is written, before any work is done.
    ///
    /// # Errors
    ///
    /// [`InferenceError::EmbeddingFormat`].
    pub fn check_path(path: impl AsRef<Path>) -> Result<(), Error> {
        Format::from_path(path.as_ref())?;
        Ok(())
    }

    /// The file of names that stands beside the rows, where they do not hold the names themselves.
    pub fn names_path(path: impl AsRef<Path>) -> Option<PathBuf> {
        let path = path.as_ref();
        let is_npy = matches!(Format::from_path(path), Ok(Format::Npy));
        is_npy.then(|| path.with_extension("names.csv"))
    }

    /// Appends the row of a name, given by its place among the names.
    ///
    /// # Errors
    ///
    /// [`FileError::Write`] when the file cannot be written.
    ///
    /// # Panics
    ///
    /// When the row is not of `width` numbers, or the places do not ascend.
    pub fn push(&mut self, name: usize, row: &[f32]) -> Result<(), FileError> {
        assert_eq!(row.len(), self.width, "numbers of a row");
        assert!(
            name < self.names.len() && self.kept.last().is_none_or(|last| *last < name),
            "places of names ascend"
        );
        self.kept.push(name);
        let bytes: Vec<u8> = row.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.file
            .write(&bytes)
            .map_err(FileError::write(&self.path))
    }

    /// Gives the file its name; an earlier one is replaced. Returns the number of rows.
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
            kept,
            width,
            header,
        } = self;
        if let Some(list) = Self::names_path(&path) {
            let write = || -> csv::Result<Vec<u8>> {
                let mut table = csv::Writer::from_writer(Vec::new());
                table.write_record(["name"])?;
                for &name in &kept {
                    table.write_record([&names[name]])?;
                }
                table
                    .into_inner()
                    .map_err(|error| error.into_error().into())
            };
            let table = write().expect("memory takes all that is written");
            NewFile::write_whole(&list, &table).map_err(FileError::write(&list))?;
        }
        let header = format.header(width, &names, &kept, header);
        file.finish(&header).map_err(FileError::write(&path))?;
        Ok(kept.len())
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

    /// The beginning of a file of the rows of the names kept, padded to `length` at least.
    fn header(self, width: usize, names: &[String], kept: &[usize], length: usize) -> Vec<u8> {
        let rows = kept.len();
        match self {
            Self::Safetensors => {
                let names: Vec<&String> = kept.iter().map(|&name| &names[name]).collect();
                let names = serde_json::to_string(&names).expect("names are text");
                safetensors_header(
                    &json!({
                        "__metadata__": {"names": names},
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
                .expect("text takes all that is written");
                // Magic, version and the length of the rest, which ends with a line end.
                let whole = (10 + dict.len() + 1).next_multiple_of(64).max(length);
                let mut header = b"\x93NUMPY\x01\x00".to_vec();
                header.extend(((whole - 10) as u16).to_le_bytes());
                header.extend(dict.bytes());
                header.resize(whole - 1, b' ');
                header.push(b'\n');
                header
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fs;

    use safetensors::SafeTensors;

    use super::*;

    const NAMES: [&str; 4] = ["a.png", "left, \"out\".png", "b\n.png", "c.png"];

    /// A file of three rows of two numbers.
    fn written(path: &Path) {
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
    fn safetensors_hold_the_rows_and_the_names_of_those_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("embeddings.safetensors");
        written(&path);
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

    // NumPy's format 1.0: magic, version, length of the header, a dictionary, the numbers.
    #[test]
    fn npy_holds_the_rows_and_a_csv_the_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("embeddings.npy");
        written(&path);
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
    fn another_ending_is_an_error_that_names_those_there_are() {
        for name in ["embeddings.csv", "embeddings", "embeddings.NPZ"] {
            let message = EmbeddingFile::check_path(name).unwrap_err().to_string();
            for part in [name, ".safetensors", ".npy"] {
                assert!(message.contains(part), "{message}");
            }
        }
    }
}
