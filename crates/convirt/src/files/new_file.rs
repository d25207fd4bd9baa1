//! Files that appear whole or not at all, readable by whom the user's mask allows.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

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

/// The name of a file while it is written.
pub(crate) fn partial_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.partial-{}", std::process::id()))
}

impl NewFile {
    /// Begins a file with room for a header of `header` bytes.
    ///
    /// # Errors
    ///
    /// When there is no such folder, or it cannot be written to.
    pub fn create(path: &Path, header: usize) -> io::Result<Self> {
        let partial = partial_path(path);
        let file = File::create(&partial)?;
        let mut new = Self {
            file: BufWriter::with_capacity(1 << 20, file),
            partial: Partial(partial),
            path: path.to_path_buf(),
            header,
        };
        new.write(&vec![0; header])?;
        Ok(new)
    }

    /// Writes a file at once; an earlier one is replaced.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create) and [`write`](Self::write).
    pub fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = Self::create(path, 0)?;
        file.write(content)?;
        file.finish(&[])
    }

    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Writes the header and gives the file its name; an earlier file is replaced.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    ///
    /// # Panics
    ///
    /// When the header is not of the length announced.
    pub fn finish(mut self, header: &[u8]) -> io::Result<()> {
        assert_eq!(header.len(), self.header, "a header as long as announced");
        self.file.flush()?;
        let file = self.file.get_mut();
        file.rewind()?;
        file.write_all(header)?;
        file.sync_all()?;
        fs::rename(&self.partial.0, &self.path)
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

    #[cfg(unix)]
    #[test]
    fn others_may_read_it_as_any_file_that_the_user_makes() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| {
            let metadata = fs::metadata(folder.path().join(name)).unwrap();
            metadata.permissions().mode()
        };
        fs::write(folder.path().join("plain"), "").unwrap();
        NewFile::write_whole(&folder.path().join("new"), b"").unwrap();
        assert_eq!(mode("new"), mode("plain"));
    }
}
