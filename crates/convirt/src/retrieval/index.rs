//! Embeddings on disk, and the nearest among them.

mod error;
mod format;
mod search;
mod writer;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use convirt_data::{FileError, open_regular};
use convirt_ops::Precision;
use serde::{Deserialize, Serialize};

use crate::config::PrecisionName;
use crate::error::Error;
use crate::inference::{ModelIdentity, TowerOutput};
use format::{Layout, Strings};

pub use error::IndexError;
pub use search::Hit;
pub use writer::IndexWriter;

/// What an index is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Modality {
    /// Images.
    Images,
    /// Sentences or reports.
    Texts,
}

impl fmt::Display for Modality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Images => "images",
            Self::Texts => "texts",
        })
    }
}

/// What was embedded, by which model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexDescription {
    /// The model that embedded it.
    pub model: ModelIdentity,
    /// What it embedded.
    pub modality: Modality,
    /// Which of its outputs is kept.
    pub output: TowerOutput,
    /// The precision that it computed in; in indexes from before there was a choice, float32.
    #[serde(default, with = "PrecisionName")]
    pub precision: Precision,
}

/// Embeddings in a file, searched without approximation.
///
/// The file is one of safetensors: `embeddings`, 16-bit `[len, width]` at L2 norm 1; `names` and
/// `texts`, UTF-8 one after the other, with where each ends in `name_ends` and `text_ends`. Of a
/// million embeddings of width 512 it takes 1.02 GB and the names. Rounding to 16 bits changes a
/// similarity by less than 0.0005 at the most, and by about 0.00001 usually.
///
/// Nothing of it is kept in memory: a search reads the file from front to back, and the system
/// keeps in memory what there is room for, as it does with a mapped file. Threads share an index.
#[derive(Debug)]
pub struct EmbeddingIndex {
    path: PathBuf,
    file: File,
    layout: Layout,
}

impl EmbeddingIndex {
    /// Opens an index.
    ///
    /// # Errors
    ///
    /// [`FileError::Read`] when there is no such file, [`Error::Weights`] or
    /// [`IndexError::NotAnIndex`] when it is damaged, cut off, or something else.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let file = open_regular(path).map_err(FileError::read(path))?;
        Ok(Self {
            layout: Layout::read(path, &file)?,
            path: path.to_path_buf(),
            file,
        })
    }

    /// Number of embeddings.
    pub fn len(&self) -> usize {
        self.layout.len
    }

    /// Whether there are none; an index that was written has some.
    pub fn is_empty(&self) -> bool {
        self.layout.len == 0
    }

    /// Numbers of an embedding.
    pub fn width(&self) -> usize {
        self.layout.width
    }

    /// What was embedded, by which model.
    pub fn description(&self) -> &IndexDescription {
        &self.layout.description
    }

    /// Checks that embeddings of `query` by `model` can be compared with those of the index.
    ///
    /// # Errors
    ///
    /// [`IndexError::OtherModel`] for another model, [`IndexError::NotComparable`] for features of
    /// images with texts and the other way round.
    pub fn check_query(&self, model: &ModelIdentity, query: Modality) -> Result<(), IndexError> {
        let built = self.description();
        if built.model != *model {
            return Err(IndexError::OtherModel {
                path: self.path.clone(),
                built: built.model.clone(),
                asked: model.clone(),
            });
        }
        match built.output == TowerOutput::Embedding || built.modality == query {
            true => Ok(()),
            false => Err(IndexError::NotComparable {
                path: self.path.clone(),
                indexed: built.modality,
                query,
            }),
        }
    }

    /// Name of an embedding: the path of the image, or of the image that the text belongs to.
    ///
    /// # Errors
    ///
    /// [`FileError::Read`] and [`IndexError::NotAnIndex`] when the file was changed since it was
    /// opened.
    ///
    /// # Panics
    ///
    /// When `index` is not below [`len`](Self::len).
    pub fn name(&self, index: usize) -> Result<String, Error> {
        self.string(&self.layout.names, index)
    }

    /// Text of an embedding: what was embedded, or what was written about the image; may be empty.
    ///
    /// # Errors
    ///
    /// As [`name`](Self::name).
    ///
    /// # Panics
    ///
    /// When `index` is not below [`len`](Self::len).
    pub fn text(&self, index: usize) -> Result<String, Error> {
        self.string(&self.layout.texts, index)
    }

    fn string(&self, strings: &Strings, index: usize) -> Result<String, Error> {
        assert!(index < self.len(), "embedding {index} of {}", self.len());
        let end = |index: usize| -> Result<u64, Error> {
            let mut bytes = [0; 8];
            self.read(&mut bytes, strings.ends + 8 * index as u64)?;
            Ok(u64::from_le_bytes(bytes))
        };
        let start = index.checked_sub(1).map_or(Ok(0), end)?;
        let end = end(index)?;
        if start > end || end > strings.bytes {
            return Err(self.broken(format!("embedding {index} has no name or text")));
        }
        let mut bytes = vec![0; (end - start) as usize];
        self.read(&mut bytes, strings.start + start)?;
        let text = String::from_utf8(bytes);
        text.map_err(|_| self.broken(format!("name or text {index} is not UTF-8")))
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), Error> {
        Ok(read_exact_at(&self.file, bytes, offset).map_err(FileError::read(&self.path))?)
    }

    fn broken(&self, detail: String) -> Error {
        let path = self.path.clone();
        IndexError::NotAnIndex { path, detail }.into()
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                bytes = &mut bytes[read..];
                offset += read as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn description() -> IndexDescription {
        IndexDescription {
            model: ModelIdentity {
                name: "first".into(),
                checksum: 7,
            },
            modality: Modality::Images,
            output: TowerOutput::Features,
            precision: Precision::BFloat16,
        }
    }

    /// An index of three embeddings.
    fn written(path: &Path) {
        let mut index = IndexWriter::create(path, description(), 2).unwrap();
        index.push(&[3.0, 4.0], "a.png", "").unwrap();
        index.push(&[0.0, -2.0], "b.png", "Größe normal.").unwrap();
        index.push(&[1.0, 0.0], "", "Clear.").unwrap();
        assert_eq!(index.finish().unwrap(), 3);
    }

    #[test]
    fn what_was_written_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("first.index");
        written(&path);
        let index = EmbeddingIndex::open(&path).unwrap();
        assert_eq!((index.len(), index.width()), (3, 2));
        assert_eq!(index.description(), &description());
        let names: Vec<_> = (0..3).map(|i| index.name(i).unwrap()).collect();
        assert_eq!(names, ["a.png", "b.png", ""]);
        let texts: Vec<_> = (0..3).map(|i| index.text(i).unwrap()).collect();
        assert_eq!(texts, ["", "Größe normal.", "Clear."]);
        let hits = index.nearest(&[0.0, -5.0], 2).unwrap();
        assert_eq!((hits[0].index, hits[0].score), (1, 1.0));
        assert_eq!((hits[1].index, hits[1].score), (2, 0.0));
    }

    #[test]
    fn a_description_from_before_there_was_a_precision_is_of_float32() {
        let json = serde_json::to_string(&description()).unwrap();
        let earlier = json.replace(r#","precision":"bf16""#, "");
        assert_ne!(earlier, json);
        let earlier: IndexDescription = serde_json::from_str(&earlier).unwrap();
        assert_eq!(earlier.precision, Precision::Float32);
    }

    #[test]
    fn it_is_a_safetensors_file_that_any_reader_takes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("first.index");
        written(&path);
        let bytes = fs::read(&path).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let embeddings = tensors.tensor("embeddings").unwrap();
        assert_eq!(embeddings.dtype(), safetensors::Dtype::F16);
        assert_eq!(embeddings.shape(), [3, 2]);
        assert_eq!(tensors.tensor("names").unwrap().data(), b"a.pngb.png");
    }

    #[test]
    fn another_model_or_another_modality_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("first.index");
        written(&path);
        let index = EmbeddingIndex::open(&path).unwrap();
        let model = description().model;
        index.check_query(&model, Modality::Images).unwrap();
        let error = index.check_query(&model, Modality::Texts).unwrap_err();
        assert!(matches!(error, IndexError::NotComparable { .. }), "{error}");
        let other = ModelIdentity {
            name: "second".into(),
            checksum: 8,
        };
        let error = index.check_query(&other, Modality::Images).unwrap_err();
        let message = error.to_string();
        for part in ["first.index", "first (00000007)", "second (00000008)"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_file_that_is_cut_off_anywhere_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("first.index");
        written(&path);
        let bytes = fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            fs::write(&path, &bytes[..length]).unwrap();
            let error = EmbeddingIndex::open(&path).unwrap_err().to_string();
            assert!(error.contains("first.index"), "{length}: {error}");
        }
    }

    #[test]
    fn a_file_whose_bytes_were_changed_is_an_error_or_still_an_index_but_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("first.index");
        written(&path);
        let bytes = fs::read(&path).unwrap();
        for place in 0..bytes.len() {
            for change in [0x30, 0xFF] {
                let mut changed = bytes.clone();
                changed[place] = change;
                fs::write(&path, changed).unwrap();
                let Ok(index) = EmbeddingIndex::open(&path) else {
                    continue;
                };
                let query = vec![1.0; index.width()];
                let found = index.nearest(&query, 2).map(|hits| hits.len());
                assert!(found.is_err() || found.unwrap() <= 2);
                for i in 0..index.len() {
                    drop((index.name(i), index.text(i)));
                }
            }
        }
    }

    #[test]
    fn other_files_are_no_index() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.safetensors");
        let mut file =
            crate::inference::EmbeddingFile::create(&path, 2, vec!["a.png".to_string()]).unwrap();
        file.push(0, &[1.0, 2.0]).unwrap();
        file.finish().unwrap();
        let error = EmbeddingIndex::open(&path).unwrap_err();
        assert!(
            matches!(error, Error::Index(IndexError::NotAnIndex { .. })),
            "{error}"
        );
        let error = EmbeddingIndex::open(folder.path().join("none")).unwrap_err();
        assert!(
            matches!(error, Error::File(FileError::Read { .. })),
            "{error}"
        );
    }

    #[test]
    fn nothing_and_what_is_no_number_are_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("first.index");
        let mut index = IndexWriter::create(&path, description(), 2).unwrap();
        for bad in [f32::NAN, f32::INFINITY] {
            let error = index.push(&[1.0, bad], "a.png", "").unwrap_err();
            assert!(error.to_string().contains("a.png"), "{error}");
        }
        let error = index.finish().unwrap_err();
        assert!(
            matches!(error, Error::Index(IndexError::NothingIndexed { .. })),
            "{error}"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
