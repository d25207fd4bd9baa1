//! Building an index.

use std::path::{Path, PathBuf};

use convirt_data::{FileError, NewFile};
use half::f16;

use super::IndexDescription;
use super::error::IndexError;
use super::format::header;
use crate::error::Error;
use crate::inference::{InferenceError, unit};

/// Writes an [`EmbeddingIndex`](super::EmbeddingIndex) embedding by embedding.
///
/// The file appears with [`finish`](Self::finish), whole; dropped before, it leaves nothing.
/// Names and texts are kept in memory until then.
pub struct IndexWriter {
    file: NewFile,
    path: PathBuf,
    description: IndexDescription,
    width: usize,
    header: usize,
    len: usize,
    names: Texts,
    texts: Texts,
}

#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    /// Little-endian.
    ends: Vec<u8>,
}

impl IndexWriter {
    /// Begins an index of embeddings of `width` numbers.
    ///
    /// # Errors
    ///
    /// [`FileError::Write`] when the file cannot be written.
    pub fn create(
        path: impl AsRef<Path>,
        description: IndexDescription,
        width: usize,
    ) -> Result<Self, Error> {
        let path = path.as_ref();
        // More bytes than any disk has, to have room for every number.
        let most = 1 << 50;
        let header = header(&description, most / width.max(1), width, [most; 2], 0).len();
        Ok(Self {
            file: NewFile::create(path, header).map_err(FileError::write(path))?,
            path: path.to_path_buf(),
            description,
            width,
            header,
            len: 0,
            names: Texts::default(),
            texts: Texts::default(),
        })
    }

    /// Appends an embedding, scaled to L2 norm 1.
    ///
    /// # Errors
    ///
    /// [`InferenceError::NotFinite`] for an embedding that is not of finite numbers,
    /// [`FileError::Write`] when the file cannot be written.
    ///
    /// # Panics
    ///
    /// When the embedding is not of `width` numbers.
    pub fn push(&mut self, embedding: &[f32], name: &str, text: &str) -> Result<(), Error> {
        assert_eq!(embedding.len(), self.width, "numbers of an embedding");
        let unit = unit(embedding).ok_or_else(|| InferenceError::NotFinite {
            name: name.to_string(),
        })?;
        let halves = unit.iter().map(|number| f16::from_f32(*number));
        let bytes: Vec<u8> = halves.flat_map(f16::to_le_bytes).collect();
        self.file
            .write(&bytes)
            .map_err(FileError::write(&self.path))?;
        self.names.push(name);
        self.texts.push(text);
        self.len += 1;
        Ok(())
    }

    /// Gives the file its name; an earlier one is replaced. Returns the number of embeddings.
    ///
    /// # Errors
    ///
    /// [`IndexError::NothingIndexed`] when there are none, [`FileError::Write`] when the file
    /// cannot be written.
    pub fn finish(mut self) -> Result<usize, Error> {
        if self.len == 0 {
            return Err(IndexError::NothingIndexed { path: self.path }.into());
        }
        let Texts { bytes: names, ends } = self.names;
        let text_ends = &self.texts.ends;
        let texts = &self.texts.bytes;
        for part in [&ends, text_ends, &names, texts] {
            self.file
                .write(part)
                .map_err(FileError::write(&self.path))?;
        }
        let lengths = [names.len(), texts.len()];
        let header = header(
            &self.description,
            self.len,
            self.width,
            lengths,
            self.header,
        );
        self.file
            .finish(&header)
            .map_err(FileError::write(&self.path))?;
        Ok(self.len)
    }
}

impl Texts {
    fn push(&mut self, text: &str) {
        self.bytes.extend(text.bytes());
        self.ends.extend((self.bytes.len() as u64).to_le_bytes());
    }
}
