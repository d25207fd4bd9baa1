//! Writing an index file.

use std::path::{Path, PathBuf};

use convirt_data::{FileError, NewFile};
use half::f16;

use super::IndexDescription;
use super::error::IndexError;
use super::format::header;
use crate::error::Error;
use crate::inference::{InferenceError, unit};
use crate::weights::own_checksum::add_own_checksum;

/// A writer that builds an [`EmbeddingIndex`](super::EmbeddingIndex) embedding by embedding; see
/// the example there.
///
/// The complete file appears at [`finish`](Self::finish); a writer that is dropped before leaves no
/// file. Names and texts are kept in memory until then.
pub struct IndexWriter {
    file: NewFile,
    path: PathBuf,
    description: IndexDescription,
    width: usize,
    header: usize,
    len: usize,
    names: Texts,
    texts: Texts,
    /// CRC-32C of what has been written after the header.
    checksum: u32,
}

/// Concatenated strings.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    /// The end of each string in `bytes`, as little-endian 64-bit integers.
    ends: Vec<u8>,
}

impl IndexWriter {
    /// Begins an index of embeddings with `width` numbers each.
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
        // The header is rewritten at the end. It is reserved with sizes larger than any disk, whose
        // digits take at least as much room as the final ones.
        let max_bytes = 1 << 50;
        let max_len = max_bytes / width.max(1);
        let header = header(&description, max_len, width, [max_bytes; 2], 0).len();
        Ok(Self {
            file: NewFile::create(path, header).map_err(FileError::write(path))?,
            path: path.to_path_buf(),
            description,
            width,
            header,
            len: 0,
            names: Texts::default(),
            texts: Texts::default(),
            checksum: 0,
        })
    }

    /// Appends an embedding, scaled to L2 norm 1.
    ///
    /// # Errors
    ///
    /// [`InferenceError::NotFinite`] when a number is NaN or infinite, [`FileError::Write`] when
    /// the file cannot be written.
    ///
    /// # Panics
    ///
    /// When the embedding does not have `width` numbers.
    pub fn push(&mut self, embedding: &[f32], name: &str, text: &str) -> Result<(), Error> {
        assert_eq!(
            embedding.len(),
            self.width,
            "the embedding has the wrong length"
        );
        let unit = unit(embedding).ok_or_else(|| InferenceError::NotFinite {
            name: name.to_string(),
        })?;
        let halves = unit.iter().map(|number| f16::from_f32(*number));
        let bytes: Vec<u8> = halves.flat_map(f16::to_le_bytes).collect();
        self.write(&bytes)?;
        self.names.push(name);
        self.texts.push(text);
        self.len += 1;
        Ok(())
    }

    /// Completes the file, replaces an existing one, and returns the number of embeddings.
    ///
    /// # Errors
    ///
    /// [`IndexError::NothingIndexed`] when there are none, [`FileError::Write`] when the file
    /// cannot be written.
    pub fn finish(mut self) -> Result<usize, Error> {
        if self.len == 0 {
            return Err(IndexError::NothingIndexed { path: self.path }.into());
        }
        let [names, texts] = [&mut self.names, &mut self.texts].map(std::mem::take);
        let lengths = [names.bytes.len(), texts.bytes.len()];
        for part in [names.ends, texts.ends, names.bytes, texts.bytes] {
            self.write(&part)?;
        }
        let mut header = header(
            &self.description,
            self.len,
            self.width,
            lengths,
            self.header,
        );
        add_own_checksum(&mut header, self.checksum);
        self.file
            .finish(&header)
            .map_err(FileError::write(&self.path))?;
        Ok(self.len)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.checksum = crc32c::crc32c_append(self.checksum, bytes);
        let written = self.file.write(bytes);
        written.map_err(FileError::write(&self.path))
    }
}

impl Texts {
    fn push(&mut self, text: &str) {
        self.bytes.extend(text.bytes());
        self.ends.extend((self.bytes.len() as u64).to_le_bytes());
    }
}
