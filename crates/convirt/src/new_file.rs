//! Large files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, write_error};

/// A file under way whose beginning, of a known length, is written last: it says how much follows.
///
/// Until then it has another name in the same folder; dropped before, it is deleted.
pub(crate) struct NewFile {
    file: BufWriter<File>,
    partial: Partial,
    path: PathBuf,
    header: usize,
}

/// Deleted when dropped.
struct Partial(PathBuf);

impl NewFile {
    /// Begins a file with room for a header of `header` bytes.
    pub fn create(path: &Path, header: usize) -> Result<Self, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let partial = path.with_file_name(format!("{name}.partial-{}", std::process::id()));
        let file = File::create(&partial).map_err(write_error(path))?;
        let mut new = Self {
            file: BufWriter::with_capacity(1 << 20, file),
            partial: Partial(partial),
            path: path.to_path_buf(),
            header,
        };
        new.write(&vec![0; header])?;
        Ok(new)
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(write_error(&self.path))
    }

    /// Writes the header and gives the file its name; an earlier file is replaced.
    ///
    /// # Panics
    ///
    /// When the header is not of the length announced.
    pub fn finish(mut self, header: &[u8]) -> Result<(), Error> {
        assert_eq!(header.len(), self.header, "a header as long as announced");
        let mut write = || -> io::Result<()> {
            self.file.flush()?;
            let file = self.file.get_mut();
            file.rewind()?;
            file.write_all(header)?;
            file.sync_all()?;
            fs::rename(&self.partial.0, &self.path)
        };
        write().map_err(write_error(&self.path))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Renamed files are no longer there.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_file_appears_when_it_is_finished_and_leaves_nothing_when_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        let mut file = NewFile::create(&path, 2).unwrap();
        file.write(b"cd").unwrap();
        assert!(!path.exists());
        file.finish(b"ab").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"abcd");
        assert_eq!(names(folder.path()), ["a.bin"]);

        let mut file = NewFile::create(&path, 2).unwrap();
        file.write(b"x").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"abcd");
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_that_names_the_file() {
        let error = NewFile::create(Path::new("nowhere/a.bin"), 0)
            .err()
            .unwrap();
        assert!(error.to_string().starts_with("nowhere/a.bin"), "{error}");
    }
}
