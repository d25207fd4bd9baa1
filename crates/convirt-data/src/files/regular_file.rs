//! Reading of files that users name: regular files only, up to a size limit.
//!
//! A named pipe blocks its reader until somebody writes, a device such as `/dev/zero` never ends,
//! and a wrong path may lead to a file larger than memory. Every file that a user names is opened
//! here.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::Path;

use super::archive::DataFile;
use super::text_encoding::decode_text;

/// Largest buffer that is allocated before anything is read, in bytes.
const MAX_INITIAL_BYTES: u64 = 16 << 20;

/// Opens a regular file for reading; links are followed.
///
/// # Errors
///
/// Those of the operating system, and an error that names the kind of `path` if it is a folder, a
/// named pipe, a socket or a device.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // Opening a named pipe blocks, so the kind is checked first. It is checked again after opening,
    // since the path may lead to another file by then.
    check_kind(&fs::metadata(path)?)?;
    let file = File::open(path)?;
    check_kind(&file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file of at most `max_bytes`; memory grows with the bytes read.
///
/// # Errors
///
/// Those of [`open_regular`], and [`io::ErrorKind::FileTooLarge`].
///
/// # Examples
///
/// ```
/// use std::io::ErrorKind;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("report.txt");
/// std::fs::write(&path, "No effusion.")?;
/// assert_eq!(convirt_data::read_regular(&path, 100)?, b"No effusion.");
/// let error = convirt_data::read_regular(&path, 5).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::FileTooLarge);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn read_regular(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let file = open_regular(path)?;
    let length = file.metadata()?.len();
    read_rest(file, length, max_bytes)
}

/// Reads a regular file, or a member of an archive, of at most `max_bytes`.
///
/// # Errors
///
/// Those of [`DataFile::open`], and [`io::ErrorKind::FileTooLarge`].
pub(crate) fn read_data(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let file = DataFile::open(path)?;
    let length = file.len();
    read_rest(file, length, max_bytes)
}

/// Reads a regular text file in UTF-8 of at most `max_bytes`, without its byte order mark.
///
/// # Errors
///
/// Those of [`read_regular`], and [`io::ErrorKind::InvalidData`] with
/// [`NotUtf8`](crate::files::text_encoding::NotUtf8).
pub fn read_regular_text(path: &Path, max_bytes: u64) -> io::Result<String> {
    let text = decode_text(read_regular(path, max_bytes)?);
    text.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Reads the rest of an open file of some `length`, at most `max_bytes`.
pub(crate) fn read_rest(file: impl Read, length: u64, max_bytes: u64) -> io::Result<Vec<u8>> {
    if length > max_bytes {
        return Err(too_large(format!(
            "{length} bytes, more than the {max_bytes}"
        )));
    }
    // Files in /proc report no length, and other files may grow while they are read.
    let bytes = Vec::with_capacity(length.min(MAX_INITIAL_BYTES) as usize + 1);
    read_to_limit(file, bytes, max_bytes)
}

/// Reads everything from `reader`, at most `max_bytes`.
pub(crate) fn read_limited(reader: impl Read, max_bytes: u64) -> io::Result<Vec<u8>> {
    read_to_limit(reader, Vec::new(), max_bytes)
}

/// Reads the first `bytes` bytes of `reader`, or fewer if it ends before.
pub(crate) fn read_start(reader: impl Read, bytes: u64) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    reader.take(bytes).read_to_end(&mut start)?;
    Ok(start)
}

fn read_to_limit(reader: impl Read, mut bytes: Vec<u8>, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut reader = reader.take(max_bytes.saturating_add(1));
    reader.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        Err(too_large(format!("more than the {max_bytes} bytes")))
    } else {
        Ok(bytes)
    }
}

fn too_large(sizes: String) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, sizes + " that are read")
}

fn check_kind(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let kind = if metadata.is_dir() {
        io::ErrorKind::IsADirectory
    } else {
        io::ErrorKind::InvalidInput
    };
    let what = kind_name(metadata);
    Err(io::Error::new(kind, format!("{what}, not a regular file")))
}

#[cfg(unix)]
fn kind_name(metadata: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    match () {
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }
}

#[cfg(not(unix))]
fn kind_name(metadata: &Metadata) -> &'static str {
    if metadata.is_dir() {
        "a folder"
    } else {
        "something else"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_the_limit_and_not_beyond() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("five");
        fs::write(&path, "abcde").unwrap();
        assert_eq!(read_regular(&path, 5).unwrap(), b"abcde");
        assert_eq!(read_regular_text(&path, 9).unwrap(), "abcde");
        let error = read_regular(&path, 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let message = "5 bytes, more than the 4 that are read";
        assert_eq!(error.to_string(), message);
    }

    #[test]
    fn text_that_is_not_utf_8_names_the_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latin");
        fs::write(&path, b"t\xf3rax").unwrap();
        let error = read_regular_text(&path, 9).unwrap_err();
        assert_eq!(error.to_string(), "not UTF-8, byte 1");
        fs::write(&path, "\u{feff}tórax").unwrap();
        assert_eq!(read_regular_text(&path, 9).unwrap(), "tórax");
    }

    #[cfg(unix)]
    #[test]
    fn other_kinds_of_files_are_named_without_blocking() {
        use std::os::unix::fs::symlink;
        use std::os::unix::net::UnixListener;
        use std::process::Command;

        let folder = tempfile::tempdir().unwrap();
        let (pipe, socket) = (folder.path().join("pipe"), folder.path().join("socket"));
        assert!(
            Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        let _listening = UnixListener::bind(&socket).unwrap();
        let link = folder.path().join("link");
        symlink(&pipe, &link).unwrap();
        for (path, kind) in [
            (&*pipe, "a named pipe"),
            (&link, "a named pipe"),
            (&socket, "a socket"),
            (folder.path(), "a folder"),
            (Path::new("/dev/zero"), "a device"),
        ] {
            let error = read_regular(path, 9).unwrap_err().to_string();
            assert_eq!(error, format!("{kind}, not a regular file"));
        }
    }

    /// A file of /proc says that it has no bytes.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_without_a_reported_length_is_limited_too() {
        let path = Path::new("/proc/self/stat");
        assert!(read_regular(path, 1 << 16).unwrap().len() > 20);
        let error = read_regular(path, 20).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
