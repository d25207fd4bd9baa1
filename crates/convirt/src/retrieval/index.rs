//! An index of embeddings on disk, and the search for the nearest.

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

/// What an index holds embeddings of.
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

/// How the embeddings of an index were computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexDescription {
    /// The model that computed them.
    pub model: ModelIdentity,
    /// What was embedded.
    pub modality: Modality,
    /// Which output of the model they are.
    pub output: TowerOutput,
    /// The precision that the model computed in. Older indexes lack this key; it is float32 for
    /// them.
    #[serde(default, with = "PrecisionName")]
    pub precision: Precision,
}

/// An index of embeddings in a file, with exact search.
///
/// It is a safetensors file with these tensors: `embeddings`, float16 `[len, width]` at L2 norm 1;
/// `names` and `texts`, concatenated UTF-8 strings; and `name_ends` and `text_ends`, the end of
/// each string in bytes. A million embeddings of width 512 take 1.02 GB, plus the names. Rounding
/// to float16 changes a similarity by at most 0.0005, and usually by about 0.00001.
///
/// The embeddings are not kept in memory: a search reads the file from front to back, and the
/// operating system caches what fits in free memory. Threads can share an index.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use convirt::compute::Precision;
/// use convirt::inference::{ModelIdentity, TowerOutput};
/// use convirt::retrieval::{EmbeddingIndex, IndexDescription, IndexWriter, Modality};
///
/// let description = IndexDescription {
///     // `Model::identity` of the model that computed the embeddings.
///     model: ModelIdentity { name: "first".into(), checksum: 7 },
///     modality: Modality::Images,
///     output: TowerOutput::Embedding,
///     precision: Precision::Float32,
/// };
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("images.index");
/// let mut writer = IndexWriter::create(&path, description, 2)?;
/// writer.push(&[1.0, 0.0], "a.png", "")?;
/// writer.push(&[3.0, 4.0], "b.png", "Small left pleural effusion.")?;
/// writer.finish()?;
///
/// let index = EmbeddingIndex::open(&path)?;
/// let hits = index.nearest(&[0.0, 1.0], 1)?;
/// assert_eq!(index.name(hits[0].index)?, "b.png");
/// assert!((hits[0].score - 0.8).abs() < 0.001);
/// # Ok(())
/// # }
/// ```
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
    /// [`IndexError::NotAnIndex`] when it is damaged, truncated, or not an index.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let file = open_regular(path).map_err(FileError::read(path))?;
        Ok(Self {
            layout: Layout::read(path, &file)?,
            path: path.to_path_buf(),
            file,
        })
    }

    /// Returns the number of embeddings.
    pub fn len(&self) -> usize {
        self.layout.len
    }

    /// Returns whether there are no embeddings; every index that [`IndexWriter`] finished has some.
    pub fn is_empty(&self) -> bool {
        self.layout.len == 0
    }

    /// Returns how many numbers an embedding has.
    pub fn width(&self) -> usize {
        self.layout.width
    }

    /// Returns how the embeddings were computed.
    pub fn description(&self) -> &IndexDescription {
        &self.layout.description
    }

    /// Checks that `model`'s embeddings of `query` can be compared with those of the index.
    ///
    /// # Errors
    ///
    /// [`IndexError::OtherModel`] for another model, [`IndexError::NotComparable`] when the index
    /// holds features of images and the query is a text, or the reverse.
    pub fn check_query(&self, model: &ModelIdentity, query: Modality) -> Result<(), IndexError> {
        let built = self.description();
        if built.model != *model {
            return Err(IndexError::OtherModel {
                path: self.path.clone(),
                built: built.model.clone(),
                asked: model.clone(),
            });
        }
        if built.output == TowerOutput::Embedding || built.modality == query {
            Ok(())
        } else {
            Err(IndexError::NotComparable {
                path: self.path.clone(),
                indexed: built.modality,
                query,
            })
        }
    }

    /// Returns the name of an embedding: the path of the image, or of the image that the text
    /// belongs to.
    ///
    /// # Errors
    ///
    /// [`FileError::Read`] and [`IndexError::NotAnIndex`] when the file has changed since it was
    /// opened.
    ///
    /// # Panics
    ///
    /// When `index` is not below [`len`](Self::len).
    pub fn name(&self, index: usize) -> Result<String, Error> {
        self.string(&self.layout.names, index)
    }

    /// Returns the text of an embedding: the text that was embedded, or the text paired with the
    /// image, which may be empty.
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

    /// Writes an index of three embeddings.
    fn write_three(path: &Path) {
        let mut index = IndexWriter::create(path, description(), 2).unwrap();
        index.push(&[3.0, 4.0], "a.png", "").unwrap();
        index.push(&[0.0, -2.0], "b.png", "Größe normal.").unwrap();
        index.push(&[1.0, 0.0], "", "Clear.").unwrap();
        assert_eq!(index.finish().unwrap(), 3);
    }

    #[test]
    fn a_written_index_can_be_read_and_searched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("first.index");
        write_three(&path);
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

    /// Any change of any bit but in the name of the checksum itself, without which an index of an
    /// earlier version is read.
    #[test]
    fn a_flipped_bit_is_noticed_at_every_position() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("first.index");
        write_three(&path);
        let whole = fs::read(&path).unwrap();
        let name = whole.windows(6).position(|it| it == b"crc32c").unwrap();
        for bit in 0..8 * whole.len() {
            if (name..name + 6).contains(&(bit / 8)) {
                continue;
            }
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, changed).unwrap();
            let error = EmbeddingIndex::open(&path).expect_err(&format!("bit {bit}"));
            assert!(error.to_string().contains("first.index"), "{error}");
        }
        fs::write(&path, &whole).unwrap();
        EmbeddingIndex::open(&path).unwrap();
    }

    #[test]
    fn a_description_without_a_precision_is_read_as_float32() {
        let json = serde_json::to_string(&description()).unwrap();
        let without_precision = json.replace(r#","precision":"bf16""#, "");
        assert_ne!(without_precision, json);
        let read: IndexDescription = serde_json::from_str(&without_precision).unwrap();
        assert_eq!(read.precision, Precision::Float32);
    }

    #[test]
    fn an_index_is_a_valid_safetensors_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("first.index");
        write_three(&path);
        let bytes = fs::read(&path).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let embeddings = tensors.tensor("embeddings").unwrap();
        assert_eq!(embeddings.dtype(), safetensors::Dtype::F16);
        assert_eq!(embeddings.shape(), [3, 2]);
        assert_eq!(tensors.tensor("names").unwrap().data(), b"a.pngb.png");
    }

    #[test]
    fn a_query_of_another_model_or_modality_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("first.index");
        write_three(&path);
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
    fn a_truncated_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("first.index");
        write_three(&path);
        let bytes = fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            fs::write(&path, &bytes[..length]).unwrap();
            let error = EmbeddingIndex::open(&path).unwrap_err().to_string();
            assert!(error.contains("first.index"), "{length}: {error}");
        }
    }

    #[test]
    fn a_changed_byte_never_causes_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("first.index");
        write_three(&path);
        let bytes = fs::read(&path).unwrap();
        for position in 0..bytes.len() {
            for byte in [0x30, 0xFF] {
                let mut changed = bytes.clone();
                changed[position] = byte;
                fs::write(&path, changed).unwrap();
                let Ok(index) = EmbeddingIndex::open(&path) else {
                    continue;
                };
                let query = vec![1.0; index.width()];
                let hits = index.nearest(&query, 2).map(|hits| hits.len());
                assert!(hits.is_err() || hits.unwrap() <= 2);
                for i in 0..index.len() {
                    drop((index.name(i), index.text(i)));
                }
            }
        }
    }

    #[test]
    fn a_file_that_is_not_an_index_is_an_error() {
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
    fn an_empty_index_and_numbers_that_are_not_finite_are_errors() {
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
