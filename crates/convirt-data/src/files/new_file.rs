//! Files that appear complete or not at all, with the permissions that the user's mask gives.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

/// A file that appears at its path when it is complete.
///
/// It starts with a header of known length, which is written last, since it says how much follows.
/// Until then the file has another name in the same folder. If it is dropped before it is finished,
/// it is deleted, and an older file at the path stays as it was.
///
/// # Examples
///
/// ```
/// use convirt_data::NewFile;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("numbers.txt");
/// let mut file = NewFile::create(&path, 2)?;
/// file.write(b"1\n2\n3\n")?;
/// assert!(!path.exists());
/// file.finish(b"3\n")?;
/// assert_eq!(std::fs::read_to_string(&path)?, "3\n1\n2\n3\n");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct NewFile {
    file: BufWriter<File>,
    partial: Partial,
    path: PathBuf,
    header: usize,
}

/// The file under its temporary name, deleted when dropped.
struct Partial(PathBuf);

impl Partial {
    fn with_extension(path: &Path, extension: &str) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push(extension);
        Self(name.into())
    }
}

impl NewFile {
    /// Creates a file with room for a header of `header` bytes, and the folders above it.
    ///
    /// # Errors
    ///
    /// If the folders or the file cannot be written.
    pub fn create(path: &Path, header: usize) -> io::Result<Self> {
        create_folder_of(path)?;
        let partial = Partial::with_extension(path, &format!(".partial-{}", std::process::id()));
        let file = File::create(&partial.0)?;
        let mut new = Self {
            file: BufWriter::with_capacity(1 << 20, file),
            partial,
            path: path.to_path_buf(),
            header,
        };
        new.write(&vec![0; header])?;
        Ok(new)
    }

    /// Writes a file at once, with the folders above it; an older file is replaced.
    ///
    /// # Errors
    ///
    /// If the folders or the file cannot be written.
    pub fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = Self::create(path, 0)?;
        file.write(content)?;
        file.finish(&[])
    }

    /// Writes a file as [`write_whole`](Self::write_whole) does, without waiting for the disk: for
    /// thousands of files that can be made again. A process that is killed leaves a file `.partial`,
    /// which the next one replaces. So only one process may write to a path at a time.
    ///
    /// # Errors
    ///
    /// If the folders or the file cannot be written.
    pub fn write_unsynced(path: &Path, content: &[u8]) -> io::Result<()> {
        create_folder_of(path)?;
        let partial = Partial::with_extension(path, ".partial");
        fs::write(&partial.0, content)?;
        fs::rename(&partial.0, path)
    }

    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Writes the header, waits for the disk and gives the file its name; an older file is
    /// replaced.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    ///
    /// # Panics
    ///
    /// If the header does not have the length given to [`create`](Self::create).
    pub fn finish(mut self, header: &[u8]) -> io::Result<()> {
        assert_eq!(
            header.len(),
            self.header,
            "the header has the length given before"
        );
        self.file.flush()?;
        let file = self.file.get_mut();
        file.rewind()?;
        file.write_all(header)?;
        file.sync_all()?;
        fs::rename(&self.partial.0, &self.path)?;
        sync_folder_of(&self.path);
        Ok(())
    }
}

/// Waits until a new name in a folder is on the disk, on systems that can.
fn sync_folder_of(path: &Path) {
    #[cfg(unix)]
    {
        // Some file systems cannot.
        let _ = File::open(folder_of(path)).and_then(|it| it.sync_all());
    }
    #[cfg(not(unix))]
    let _ = path;
}

fn create_folder_of(path: &Path) -> io::Result<()> {
    fs::create_dir_all(folder_of(path))
}

/// Returns the folder of a file, which is `.` for a name alone.
pub fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

impl Drop for Partial {
    fn drop(&mut self) {
        // A file that was renamed is no longer there.
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
        NewFile::write_unsynced(&folder.path().join("unsynced"), b"").unwrap();
        assert_eq!(mode("new"), mode("plain"));
        assert_eq!(mode("unsynced"), mode("plain"));
    }
}
