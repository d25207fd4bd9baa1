//! Walks through the fields of a Protocol Buffers file without decoding all of it.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use crate::weights::WeightsError;

/// Maximum length of a variable-length integer, in bytes.
const MAX_INTEGER_BYTES: usize = 10;

/// A Protocol Buffers file.
///
/// The length of each field is checked against the enclosing message before the field is read.
pub(super) struct Fields<'a> {
    path: &'a Path,
    file: BufReader<File>,
    /// Position of the next byte to read.
    position: u64,
}

/// A field of a message, and its position.
pub(super) struct Field {
    pub tag: u32,
    /// The bytes of the field, including its key.
    pub range: Range<u64>,
    content: Range<u64>,
    /// Whether this is a message, text or bytes instead of a number.
    has_length: bool,
}

impl Field {
    /// Returns the range of the field's message, text or bytes.
    ///
    /// # Errors
    ///
    /// [`WeightsError::Damaged`] if the field is a number.
    pub fn content(&self, path: &Path) -> Result<Range<u64>, WeightsError> {
        if !self.has_length {
            let detail = format!("a number at byte {} instead of a message", self.range.start);
            return Err(WeightsError::damaged(path, detail));
        }
        Ok(self.content.clone())
    }
}

impl<'a> Fields<'a> {
    /// Starts at the beginning of a file.
    pub fn new(path: &'a Path, file: File) -> Self {
        Self {
            path,
            file: BufReader::new(file),
            position: 0,
        }
    }

    /// Calls `visit` for each field of the message in the range `bytes`.
    ///
    /// # Errors
    ///
    /// [`WeightsError`] if a field is damaged, and the errors of `visit`.
    pub fn for_each(
        &mut self,
        bytes: Range<u64>,
        mut visit: impl FnMut(&mut Self, Field) -> Result<(), WeightsError>,
    ) -> Result<(), WeightsError> {
        let mut start = bytes.start;
        while start < bytes.end {
            let field = self.read_field(start, bytes.end)?;
            start = field.range.end;
            visit(self, field)?;
        }
        Ok(())
    }

    /// Appends the bytes of a range of the file to `bytes`.
    ///
    /// # Errors
    ///
    /// [`WeightsError`] if they cannot be read, or if the file has become shorter.
    pub fn append(&mut self, range: &Range<u64>, bytes: &mut Vec<u8>) -> Result<(), WeightsError> {
        self.seek_to(range.start)?;
        let length = range.end - range.start;
        let read = (&mut self.file).take(length).read_to_end(bytes);
        let read = read.map_err(WeightsError::read(self.path))? as u64;
        self.position += read;
        if read != length {
            return Err(self.damaged(range.start, "the file ends in this field"));
        }
        Ok(())
    }

    /// Reads the key and length of the field at `start` in a message that ends at `end`.
    fn read_field(&mut self, start: u64, end: u64) -> Result<Field, WeightsError> {
        self.seek_to(start)?;
        let key = self.read_integer(end)?;
        let mut content_start = self.position;
        let has_length = key & 7 == 2;
        let length = match key & 7 {
            0 => self
                .read_integer(end)
                .map(|_| self.position - content_start)?,
            1 => 8,
            2 => {
                let length = self.read_integer(end)?;
                content_start = self.position;
                length
            }
            5 => 4,
            _ => return Err(self.damaged(start, "a field of no known kind")),
        };
        let content = content_start
            .checked_add(length)
            .filter(|content_end| *content_end <= end)
            .map(|content_end| content_start..content_end)
            .ok_or_else(|| self.damaged(start, "a field reaches beyond its end"))?;
        let tag = u32::try_from(key >> 3).ok().filter(|tag| *tag > 0);
        Ok(Field {
            tag: tag.ok_or_else(|| self.damaged(start, "a field without a number"))?,
            range: start..content.end,
            content,
            has_length,
        })
    }

    /// Reads a variable-length integer in a message that ends at `end`.
    fn read_integer(&mut self, end: u64) -> Result<u64, WeightsError> {
        let start = self.position;
        let mut number = 0;
        for index in 0..MAX_INTEGER_BYTES {
            let mut byte = [0];
            if self.position == end {
                return Err(self.damaged(start, "a number reaches beyond its end"));
            }
            self.file
                .read_exact(&mut byte)
                .map_err(WeightsError::read(self.path))?;
            self.position += 1;
            let [byte] = byte;
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.damaged(start, "a number without an end"))
    }

    /// Moves to a position of the file; short moves keep the buffer.
    fn seek_to(&mut self, position: u64) -> Result<(), WeightsError> {
        let offset = i128::from(position) - i128::from(self.position);
        let result = match i64::try_from(offset) {
            Ok(offset) => self.file.seek_relative(offset),
            Err(_) => self.file.seek(SeekFrom::Start(position)).map(drop),
        };
        result.map_err(WeightsError::read(self.path))?;
        self.position = position;
        Ok(())
    }

    fn damaged(&self, position: u64, problem: &str) -> WeightsError {
        WeightsError::damaged(self.path, format!("at byte {position}: {problem}"))
    }
}
