//! Protocol Buffers, walked field by field in a file.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use crate::weights::WeightsError;

/// Bytes that an integer takes at most.
const LONGEST_INTEGER: usize = 10;

/// A file of messages. Lengths are checked against what they lie in before anything is read.
pub(super) struct Fields<'a> {
    path: &'a Path,
    file: BufReader<File>,
    /// Byte that is read next.
    at: u64,
}

/// A field and where it is.
pub(super) struct Field {
    pub tag: u32,
    /// With its key.
    pub whole: Range<u64>,
    content: Range<u64>,
    has_length: bool,
}

impl Field {
    /// Where the message, text or bytes of the field are.
    ///
    /// # Errors
    ///
    /// [`WeightsError::Damaged`] when it is a number.
    pub fn message(&self, path: &Path) -> Result<Range<u64>, WeightsError> {
        match self.has_length {
            true => Ok(self.content.clone()),
            false => {
                let detail = format!("a number at byte {} instead of a message", self.whole.start);
                Err(WeightsError::damaged(path, detail))
            }
        }
    }
}

impl<'a> Fields<'a> {
    /// A file that is read from its beginning.
    pub fn new(path: &'a Path, file: File) -> Self {
        Self {
            path,
            file: BufReader::new(file),
            at: 0,
        }
    }

    /// Visits each field of the message in `bytes`.
    ///
    /// # Errors
    ///
    /// [`WeightsError`], the visitor's included.
    pub fn each(
        &mut self,
        bytes: Range<u64>,
        mut visit: impl FnMut(&mut Self, Field) -> Result<(), WeightsError>,
    ) -> Result<(), WeightsError> {
        let mut at = bytes.start;
        while at < bytes.end {
            let field = self.field(at, bytes.end)?;
            at = field.whole.end;
            visit(self, field)?;
        }
        Ok(())
    }

    /// Appends the bytes of a part of the file.
    ///
    /// # Errors
    ///
    /// [`WeightsError`] when they cannot be read, or are not there any more.
    pub fn append(&mut self, part: &Range<u64>, bytes: &mut Vec<u8>) -> Result<(), WeightsError> {
        self.go_to(part.start)?;
        let length = part.end - part.start;
        let read = (&mut self.file).take(length).read_to_end(bytes);
        let read = read.map_err(WeightsError::read(self.path))? as u64;
        self.at += read;
        match read == length {
            true => Ok(()),
            false => Err(self.damaged(part.start, "it ends here")),
        }
    }

    /// The field at `start` of a message that ends at `end`.
    fn field(&mut self, start: u64, end: u64) -> Result<Field, WeightsError> {
        self.go_to(start)?;
        let key = self.integer(end)?;
        let mut begin = self.at;
        let has_length = key & 7 == 2;
        let length = match key & 7 {
            0 => self.integer(end).map(|_| self.at - begin)?,
            1 => 8,
            2 => {
                let length = self.integer(end)?;
                begin = self.at;
                length
            }
            5 => 4,
            _ => return Err(self.damaged(start, "a field of no known kind")),
        };
        let content = begin
            .checked_add(length)
            .filter(|content_end| *content_end <= end)
            .map(|content_end| begin..content_end)
            .ok_or_else(|| self.damaged(start, "a field reaches beyond its end"))?;
        let tag = u32::try_from(key >> 3).ok().filter(|tag| *tag > 0);
        Ok(Field {
            tag: tag.ok_or_else(|| self.damaged(start, "a field without a number"))?,
            whole: start..content.end,
            content,
            has_length,
        })
    }

    /// Reads an integer that ends at `end` at the latest.
    fn integer(&mut self, end: u64) -> Result<u64, WeightsError> {
        let start = self.at;
        let mut number = 0;
        for index in 0..LONGEST_INTEGER {
            let mut byte = [0];
            if self.at == end {
                return Err(self.damaged(start, "a number reaches beyond its end"));
            }
            self.file
                .read_exact(&mut byte)
                .map_err(WeightsError::read(self.path))?;
            self.at += 1;
            let [byte] = byte;
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.damaged(start, "a number without an end"))
    }

    fn go_to(&mut self, place: u64) -> Result<(), WeightsError> {
        let way = i128::from(place) - i128::from(self.at);
        let moved = match i64::try_from(way) {
            Ok(way) => self.file.seek_relative(way),
            Err(_) => self.file.seek(SeekFrom::Start(place)).map(drop),
        };
        moved.map_err(WeightsError::read(self.path))?;
        self.at = place;
        Ok(())
    }

    fn damaged(&self, at: u64, what: &str) -> WeightsError {
        WeightsError::damaged(self.path, format!("at byte {at}: {what}"))
    }
}
