//! Members of tar archives, which are read like files, in any order.
//!
//! `shards/000.tar/p10/chest.jpg` is the member `p10/chest.jpg` of the archive `shards/000.tar`. Where
//! the members of an archive are is found once and kept beside it, in `000.tar.index`: a line with the
//! archive's length and time, and the checksum of the other lines, which have a name, a position and
//! a length each, all as JSON. An index that cannot be written is made again by the next process.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::NewFile;
use super::path_text::{path_from_text, path_text};
use super::regular_file::{open_regular, read_regular};

/// Largest index, in bytes: ten million members.
const MAX_INDEX_BYTES: u64 = 1 << 30;

/// Magic bytes of a gzipped file.
pub(crate) const GZIP: [u8; 2] = [0x1F, 0x8B];

/// The indexes that have been read, by their archives.
static INDEXES: Mutex<BTreeMap<PathBuf, Arc<ArchiveIndex>>> = Mutex::new(BTreeMap::new());

/// A file that a table names, or a member of an archive, open for reading.
#[derive(Debug)]
pub(crate) struct DataFile {
    file: File,
    start: u64,
    length: u64,
    position: u64,
}

/// Where the members of an archive are.
#[derive(Debug)]
pub(crate) struct ArchiveIndex {
    version: Version,
    /// In the order of the archive.
    members: Vec<Member>,
    by_name: HashMap<String, usize>,
}

/// A regular file in an archive: its name, as [`path_text`] gives it, its position and its length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member(pub String, u64, u64);

/// What changes when an archive does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Version {
    bytes: u64,
    /// Time of the last change, in nanoseconds since 1970.
    modified: u64,
}

/// The first line of an index.
#[derive(Serialize, Deserialize)]
struct Head {
    archive: Version,
    /// XXH3 of the other lines.
    xxh3: u64,
}

impl DataFile {
    /// Opens a regular file or a member of an archive.
    ///
    /// # Errors
    ///
    /// Those of [`open_regular`]; [`io::ErrorKind::NotFound`] if the archive has no such member,
    /// [`io::ErrorKind::InvalidData`] if it is no tar archive or ends too early.
    pub fn open(path: &Path) -> io::Result<Self> {
        match archive_of(path) {
            Some((archive, name)) => Self::open_member(archive, &name),
            None => {
                let file = open_regular(path)?;
                let length = file.metadata()?.len();
                Ok(Self::part(file, 0, length))
            }
        }
    }

    /// Returns whether there is such a file or member.
    pub fn exists(path: &Path) -> bool {
        path.is_file() || archive_of(path).is_some() && Self::open(path).is_ok()
    }

    fn open_member(archive: &Path, name: &str) -> io::Result<Self> {
        let mut file = open_regular(archive)?;
        let index = ArchiveIndex::of_file(archive, &file)?;
        let Some(&member) = index.by_name.get(name) else {
            let problem = format!("the archive has no `{name}`");
            return Err(io::Error::new(io::ErrorKind::NotFound, problem));
        };
        let &Member(_, start, length) = &index.members[member];
        if start.saturating_add(length) > index.version.bytes {
            let problem = format!("the archive ends within `{name}`");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        file.seek(SeekFrom::Start(start))?;
        Ok(Self::part(file, start, length))
    }

    fn part(file: File, start: u64, length: u64) -> Self {
        Self {
            file,
            start,
            length,
            position: 0,
        }
    }

    /// Returns the length in bytes. A file in `/proc` has none and is read to its end.
    pub fn len(&self) -> u64 {
        self.length
    }
}

impl Read for DataFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A whole file may have grown, and ends where it ends.
        let left = match self.start {
            0 => u64::MAX,
            _ => self.length - self.position.min(self.length),
        };
        let most = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self.file.read(&mut buffer[..most])?;
        self.position += read as u64;
        Ok(read)
    }
}

impl ArchiveIndex {
    /// Returns the index of an archive: from memory, from the file beside it, or by reading the
    /// headers of all members.
    pub fn open(archive: &Path) -> io::Result<Arc<Self>> {
        Self::of_file(archive, &open_regular(archive)?)
    }

    /// Returns the index of an archive that is open.
    fn of_file(archive: &Path, file: &File) -> io::Result<Arc<Self>> {
        let version = Version::new(&file.metadata()?);
        let mut indexes = INDEXES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = indexes.get(archive).filter(|it| it.version == version) {
            return Ok(Arc::clone(index));
        }
        let path = index_path(archive);
        let index = match Self::load(&path, version) {
            Some(index) => index,
            None => {
                let index = Self::scan(archive, version)?;
                // Without it, the next process reads the headers again.
                let _ = NewFile::write_whole(&path, &index.to_bytes());
                index
            }
        };
        let index = Arc::new(index);
        indexes.insert(archive.to_path_buf(), Arc::clone(&index));
        Ok(index)
    }

    /// Returns the members in the order of the archive.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    fn new(version: Version, members: Vec<Member>) -> Self {
        let names = members.iter().enumerate();
        Self {
            by_name: names
                .map(|(index, member)| (member.0.clone(), index))
                .collect(),
            version,
            members,
        }
    }

    fn scan(archive: &Path, version: Version) -> io::Result<Self> {
        let mut file = open_regular(archive)?;
        let mut magic = [0; GZIP.len()];
        if file.read(&mut magic)? == GZIP.len() && magic == GZIP {
            let problem = "it is compressed; an archive that is read in any order is not";
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        file.rewind()?;
        let mut members = Vec::new();
        for entry in tar::Archive::new(file).entries_with_seek()? {
            let entry = entry?;
            if entry.header().entry_type().is_file() {
                let name = entry.path()?;
                let name = name.strip_prefix(".").unwrap_or(&name);
                let start = entry.raw_file_position();
                members.push(Member(name_of(name), start, entry.size()));
            }
        }
        Ok(Self::new(version, members))
    }

    /// Reads an index; `None` if there is none, if it is of another version of the archive, or if it
    /// is damaged.
    fn load(path: &Path, version: Version) -> Option<Self> {
        let bytes = read_regular(path, MAX_INDEX_BYTES).ok()?;
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (head, lines) = (&bytes[..end], &bytes[end + 1..]);
        let head: Head = serde_json::from_slice(head).ok()?;
        if head.archive != version || head.xxh3 != XxHash3_64::oneshot(lines) {
            return None;
        }
        let members = serde_json::Deserializer::from_slice(lines).into_iter();
        let members: Result<Vec<Member>, _> = members.collect();
        Some(Self::new(version, members.ok()?))
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut lines = Vec::new();
        for member in &self.members {
            serde_json::to_writer(&mut lines, member).expect("plain data");
            lines.push(b'\n');
        }
        let head = Head {
            archive: self.version,
            xxh3: XxHash3_64::oneshot(&lines),
        };
        let mut bytes = serde_json::to_vec(&head).expect("plain data");
        bytes.push(b'\n');
        bytes.write_all(&lines).expect("writing to memory succeeds");
        bytes
    }
}

impl Version {
    fn new(metadata: &Metadata) -> Self {
        let modified = metadata.modified().ok();
        let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Self {
            bytes: metadata.len(),
            modified: since.map_or(0, |since| since.as_nanos() as u64),
        }
    }
}

/// Returns the archive and the name of the member that a path leads to, if it leads into one.
fn archive_of(path: &Path) -> Option<(&Path, String)> {
    let mut folders = path.ancestors().skip(1);
    let archive = folders.find(|folder| is_archive(folder) && folder.is_file())?;
    let name = path.strip_prefix(archive).ok()?;
    Some((archive, name_of(name)))
}

/// Whether a path has the name of a tar archive.
pub(crate) fn is_archive(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case("tar"))
}

fn index_path(archive: &Path) -> PathBuf {
    let mut name = archive.as_os_str().to_owned();
    name.push(".index");
    name.into()
}

/// Returns the name of a member, with the same separators on all systems.
fn name_of(path: &Path) -> String {
    let parts: Vec<_> = path.iter().map(|part| path_text(Path::new(part))).collect();
    parts.join("/")
}

/// Returns the path of a member.
pub(crate) fn member_path(archive: &Path, member: &Member) -> PathBuf {
    archive.join(path_from_text(&member.0))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;
    use crate::files::read_data;

    /// Writes an archive of members.
    pub(crate) fn write_archive(path: &Path, members: &[(&str, &[u8])]) {
        let mut archive = tar::Builder::new(File::create(path).unwrap());
        for (name, content) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, *content).unwrap();
        }
        archive.finish().unwrap();
    }

    const LONG: &str = "a folder with a long name/and another one in it/and a third, so that the name \
                        is longer than a header of the format has room for.txt";

    fn three(folder: &Path) -> PathBuf {
        let path = folder.join("000.tar");
        let members: [(&str, &[u8]); 3] =
            [("./a.txt", b"first"), (LONG, b"second"), ("b/c.txt", b"")];
        write_archive(&path, &members);
        path
    }

    #[test]
    fn members_are_read_like_files_and_the_index_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let archive = three(folder.path());
        for round in 0..2 {
            assert_eq!(read_data(&archive.join("a.txt"), 10).unwrap(), b"first");
            assert_eq!(read_data(&archive.join(LONG), 10).unwrap(), b"second");
            assert_eq!(read_data(&archive.join("b/c.txt"), 10).unwrap(), b"");
            let missing = read_data(&archive.join("d.txt"), 10).unwrap_err();
            assert_eq!(missing.kind(), io::ErrorKind::NotFound);
            let large = read_data(&archive.join("a.txt"), 4).unwrap_err();
            assert_eq!(large.kind(), io::ErrorKind::FileTooLarge);
            assert!(DataFile::exists(&archive.join(LONG)) && DataFile::exists(&archive));
            assert!(!DataFile::exists(&archive.join("d.txt")));
            assert!(index_path(&archive).is_file(), "{round}");
            INDEXES.lock().unwrap().remove(&archive);
        }
        assert_eq!(
            read_data(&archive, 1 << 20).unwrap(),
            fs::read(&archive).unwrap()
        );
    }

    #[test]
    fn an_index_of_another_version_or_a_damaged_one_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let archive = three(folder.path());
        let index = ArchiveIndex::open(&archive).unwrap();
        let members = index.members().to_vec();
        let whole = fs::read(index_path(&archive)).unwrap();
        for position in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[position] ^= 1;
            fs::write(index_path(&archive), damaged).unwrap();
            INDEXES.lock().unwrap().remove(&archive);
            assert_eq!(ArchiveIndex::open(&archive).unwrap().members(), members);
        }
        write_archive(&archive, &[("other.txt", b"other")]);
        assert_eq!(read_data(&archive.join("other.txt"), 10).unwrap(), b"other");
        assert!(read_data(&archive.join("a.txt"), 10).is_err());
    }

    #[test]
    fn what_is_no_archive_and_an_archive_cut_short_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let archive = three(folder.path());
        let whole = fs::read(&archive).unwrap();
        fs::write(&archive, &whole[..514]).unwrap();
        let error = read_data(&archive.join("a.txt"), 10).unwrap_err();
        assert!(error.to_string().contains("ends within `a.txt`"), "{error}");
        fs::write(&archive, [&GZIP[..], &[0; 600]].concat()).unwrap();
        let error = read_data(&archive.join("a.txt"), 10).unwrap_err();
        assert!(error.to_string().contains("compressed"), "{error}");
        fs::write(&archive, [b'x'; 2_000]).unwrap();
        read_data(&archive.join("a.txt"), 10).unwrap_err();
        // A folder with the name of an archive is a folder.
        let named = folder.path().join("folder.tar");
        fs::create_dir(&named).unwrap();
        fs::write(named.join("a.txt"), "in a folder").unwrap();
        assert_eq!(read_data(&named.join("a.txt"), 20).unwrap(), b"in a folder");
    }
}
