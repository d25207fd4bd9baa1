//! A cache of scaled images on disk, shared by runs.
//!
//! ```text
//! images/5f/5f0c…e1-256   the image of a file's content, scaled to 256 pixels contents
//! for each known file: a hash of its path, length and time; hash of its content bytes
//! bytes of all images, locked while it changes
//! ```

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write, stderr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use twox_hash::XxHash3_128;

use super::super::radiograph::DECODER_VERSION;
use super::stored::Stored;
use crate::files::{FileError, NewFile};
use crate::image::error::ImageError;

/// Images that have not been used for this time may be evicted.
const MIN_UNUSED: Duration = Duration::from_secs(3600);

/// A folder of images, keyed by the content of their files, the longer side, whether the EXIF
/// orientation is applied, and the version of the decoder.
///
/// Any number of threads and processes may share it. Images are written atomically and checked when
/// read. When the folder is full, images that no run has used recently are evicted, the least
/// recently used first; if there are none, new images are not cached.
#[derive(Debug)]
pub(super) struct ImageFolder {
    folder: PathBuf,
    longer_side: Option<usize>,
    exif_orientation: bool,
    max_bytes: u64,
    contents: Mutex<Contents>,
    bytes: Mutex<ByteCount>,
    /// Images that may be evicted; listed when the folder is full for the first time.
    unused: Mutex<Option<VecDeque<(PathBuf, u64)>>>,
    opened: SystemTime,
    has_failed: AtomicBool,
}

/// Identifies a file without reading it: a hash of its path, length and modification time.
type Stamp = u128;

/// A hash of the content of a file.
type Content = u128;

#[derive(Debug)]
struct Contents {
    known: HashMap<Stamp, Content>,
    file: File,
}

#[derive(Debug)]
struct ByteCount(File);

impl ImageFolder {
    /// Opens or makes a cache in `folder`, of at most `max_bytes` of images.
    pub(super) fn open(
        folder: &Path,
        longer_side: Option<usize>,
        exif_orientation: bool,
        max_bytes: u64,
    ) -> Result<Self, ImageError> {
        let write = FileError::write(folder);
        fs::create_dir_all(folder.join("images")).map_err(write)?;
        let contents = Contents::open(&folder.join("contents")).map_err(write)?;
        let bytes = ByteCount::open(&folder.join("bytes")).map_err(write)?;
        let cache = Self {
            folder: folder.into(),
            longer_side,
            exif_orientation,
            max_bytes,
            contents: Mutex::new(contents),
            bytes: Mutex::new(bytes),
            unused: Mutex::default(),
            opened: SystemTime::now(),
            has_failed: AtomicBool::default(),
        };
        // The count is wrong if a process was killed after writing an image.
        let counted = || lock(&cache.bytes).change(|_| Ok(cache.list()?.map(|it| it.bytes).sum()));
        counted().map_err(write)?;
        Ok(cache)
    }

    /// Returns the image of a file. An image that is not cached is made from the bytes that `read`
    /// returns, and written to the cache. The first failure to write is a warning.
    pub(super) fn load(
        &self,
        path: &Path,
        read: impl FnOnce() -> Result<Vec<u8>, ImageError>,
        make: impl FnOnce(&[u8]) -> Result<Stored, ImageError>,
    ) -> Result<Stored, ImageError> {
        // Taken before the file is read, so that later changes to the file give a different stamp.
        let stamp = stamp(path).ok();
        let known = stamp.and_then(|stamp| lock(&self.contents).known.get(&stamp).copied());
        if let Some(image) = known.and_then(|content| self.read(content)) {
            return Ok(image);
        }
        let bytes = read()?;
        let content = XxHash3_128::oneshot(&bytes);
        let image = match self.read(content) {
            Some(image) => image,
            None => {
                let image = make(&bytes)?;
                self.warn_once(self.write(content, &image.to_file()));
                image
            }
        };
        if let Some(stamp) = stamp {
            self.warn_once(lock(&self.contents).add(stamp, content));
        }
        Ok(image)
    }

    fn path(&self, content: Content) -> PathBuf {
        let name = format!("{content:032x}");
        let side = match self.longer_side {
            Some(side) => side.to_string(),
            None => "whole".into(),
        };
        let orientation = if self.exif_orientation {
            ""
        } else {
            "-as-stored"
        };
        let file = format!("{name}-{side}{orientation}-v{DECODER_VERSION}");
        self.folder.join("images").join(&name[..2]).join(file)
    }

    fn read(&self, content: Content) -> Option<Stored> {
        let path = self.path(content);
        let mut file = File::open(&path).ok()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        let image = Stored::from_file(bytes);
        match &image {
            None => drop(fs::remove_file(&path)),
            Some(_) => {
                let used = file.metadata().and_then(|it| it.modified());
                if used.is_ok_and(|used| used.elapsed().is_ok_and(|unused| unused > MIN_UNUSED / 2))
                {
                    // Without permission, a used image counts as unused.
                    drop(
                        File::options()
                            .append(true)
                            .open(&path)
                            .and_then(|file| file.set_modified(SystemTime::now())),
                    );
                }
            }
        }
        image
    }

    /// Writes an image, if necessary after evicting others.
    fn write(&self, content: Content, file: &[u8]) -> io::Result<()> {
        let path = self.path(content);
        let added = file.len() as u64;
        lock(&self.bytes).change(|mut bytes| {
            if path.exists() {
                return Ok(bytes);
            }
            while bytes + added > self.max_bytes {
                match self.evict_unused()? {
                    Some(removed) => bytes = bytes.saturating_sub(removed),
                    None => return Ok(bytes),
                }
            }
            NewFile::write_unsynced(&path, file)?;
            Ok(bytes + added)
        })
    }

    /// Removes the image that has been unused for the longest time; returns its bytes.
    fn evict_unused(&self) -> io::Result<Option<u64>> {
        let mut unused = lock(&self.unused);
        let unused = match unused.as_mut() {
            Some(unused) => unused,
            None => {
                let before = self.opened - MIN_UNUSED;
                let mut images: Vec<_> = self.list()?.filter(|it| it.used < before).collect();
                images.sort_by_key(|it| it.used);
                unused.insert(images.into_iter().map(|it| (it.path, it.bytes)).collect())
            }
        };
        while let Some((path, bytes)) = unused.pop_front() {
            // Another process may have used or removed the image since.
            let used = fs::metadata(&path).and_then(|it| it.modified());
            if used.is_ok_and(|used| used < self.opened - MIN_UNUSED) {
                fs::remove_file(&path)?;
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// Lists all images of any size and version, including remains of killed processes.
    fn list(&self) -> io::Result<impl Iterator<Item = CachedFile>> {
        let folders = fs::read_dir(self.folder.join("images"))?;
        let files = folders
            .flatten()
            .flat_map(|folder| fs::read_dir(folder.path()));
        Ok(files.flatten().flatten().filter_map(|file| {
            let about = file.metadata().ok()?;
            Some(CachedFile {
                path: file.path(),
                bytes: about.len(),
                used: about.modified().ok()?,
            })
        }))
    }

    fn warn_once(&self, result: io::Result<()>) {
        if let Err(error) = result
            && !self.has_failed.swap(true, Ordering::Relaxed)
        {
            let folder = self.folder.display();
            // A failure to print the warning is ignored.
            let _ = writeln!(
                stderr(),
                "warning: {folder}: images are not kept for later runs: {error}"
            );
        }
    }
}

/// A file of the cache and when it was last used.
struct CachedFile {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let about = fs::metadata(path)?;
    let path = std::path::absolute(path)?;
    let changed = about.modified()?.duration_since(UNIX_EPOCH);
    let changed = changed.unwrap_or_default().as_nanos();
    let mut text = path.into_os_string().into_encoded_bytes();
    text.extend(about.len().to_le_bytes());
    text.extend(changed.to_le_bytes());
    Ok(XxHash3_128::oneshot(&text))
}

impl Contents {
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let hash = |word: &str| u128::from_str_radix(word, 16).ok();
        // Damaged lines are ignored; they are written again when their file is read.
        let line = |line: &[u8]| {
            let (stamp, content) = str::from_utf8(line).ok()?.split_once(' ')?;
            (line.len() == 65).then_some((hash(stamp)?, hash(content)?))
        };
        let known = text.split(|&byte| byte == b'\n').filter_map(line).collect();
        Ok(Self { known, file })
    }

    fn add(&mut self, stamp: Stamp, content: Content) -> io::Result<()> {
        if self.known.insert(stamp, content) == Some(content) {
            return Ok(());
        }
        // Written at once, so that lines of several processes do not mix.
        self.file
            .write_all(format!("{stamp:032x} {content:032x}\n").as_bytes())
    }
}

impl ByteCount {
    fn open(path: &Path) -> io::Result<Self> {
        let options = &mut OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        options.open(path).map(Self)
    }

    /// Changes the count under a lock.
    fn change(&mut self, change: impl FnOnce(u64) -> io::Result<u64>) -> io::Result<()> {
        self.0.lock()?;
        let changed = self.change_locked(change);
        self.0.unlock()?;
        changed
    }

    fn change_locked(&mut self, change: impl FnOnce(u64) -> io::Result<u64>) -> io::Result<()> {
        let mut text = String::new();
        self.0.rewind()?;
        self.0.read_to_string(&mut text)?;
        let before = text.trim().parse().unwrap_or(0);
        let after = change(before)?;
        if after != before || text.is_empty() {
            // The length is constant, so that the previous number is overwritten.
            self.0.rewind()?;
            self.0.write_all(format!("{after:020}\n").as_bytes())?;
        }
        Ok(())
    }
}

// Nothing panics between changes that belong together, so poisoned data is consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::image::radiograph::Radiograph;

    /// An image of 100 bytes and a header of 24.
    fn image(level: u8) -> Stored {
        Stored::new(&Radiograph::from_u8(10, 10, 1, &[level; 100]))
    }

    const FILE: u64 = 124;

    fn open(place: &TempDir, max_bytes: u64) -> ImageFolder {
        ImageFolder::open(&place.path().join("cache"), Some(64), true, max_bytes).unwrap()
    }

    fn source(place: &TempDir, name: &str, content: &[u8]) -> PathBuf {
        let path = place.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Loads a file of one grey level; `made` counts the images that were not cached.
    fn load(cache: &ImageFolder, path: &Path, level: u8, made: &mut usize) -> Stored {
        let make = |_: &[u8]| {
            *made += 1;
            Ok(image(level))
        };
        cache
            .load(path, || Ok(fs::read(path).unwrap()), make)
            .unwrap()
    }

    fn is_cached(cache: &ImageFolder, path: &Path) -> bool {
        let content = XxHash3_128::oneshot(&fs::read(path).unwrap());
        cache.path(content).exists()
    }

    fn images(cache: &ImageFolder) -> Vec<PathBuf> {
        let mut paths: Vec<_> = cache.list().unwrap().map(|it| it.path).collect();
        paths.sort();
        paths
    }

    fn counted(cache: &ImageFolder) -> u64 {
        let text = fs::read_to_string(cache.folder.join("bytes")).unwrap();
        text.trim().parse().unwrap()
    }

    #[test]
    fn an_image_is_made_once_for_all_runs_and_all_files_of_its_content() {
        let place = tempfile::tempdir().unwrap();
        let (a, b) = (source(&place, "a", b"one"), source(&place, "b", b"one"));
        let mut made = 0;
        for _ in 0..2 {
            let cache = open(&place, 1000);
            for path in [&a, &b, &a] {
                assert_eq!(load(&cache, path, 7, &mut made), image(7));
            }
            assert_eq!((made, images(&cache).len(), counted(&cache)), (1, 1, FILE));
        }
    }

    #[test]
    fn a_known_file_is_not_read() {
        let place = tempfile::tempdir().unwrap();
        let path = source(&place, "a", b"one");
        load(&open(&place, 1000), &path, 7, &mut 0);
        let read = || panic!("read again");
        let again = open(&place, 1000).load(&path, read, |_| panic!("made again"));
        assert_eq!(again.unwrap(), image(7));
    }

    #[test]
    fn a_file_that_changes_is_read_again() {
        let place = tempfile::tempdir().unwrap();
        let path = source(&place, "a", b"one");
        let (cache, mut made) = (open(&place, 1000), 0);
        load(&cache, &path, 1, &mut made);
        fs::write(&path, b"other").unwrap();
        assert_eq!(load(&cache, &path, 2, &mut made), image(2));
        assert_eq!(made, 2);
    }

    #[test]
    fn each_size_is_a_separate_image() {
        let place = tempfile::tempdir().unwrap();
        let path = source(&place, "a", b"one");
        let mut made = 0;
        load(&open(&place, 1000), &path, 1, &mut made);
        let cache = ImageFolder::open(&place.path().join("cache"), None, true, 1000).unwrap();
        assert_eq!(load(&cache, &path, 2, &mut made), image(2));
        assert_eq!((made, images(&cache).len()), (2, 2));
        let as_stored = ImageFolder::open(&place.path().join("cache"), None, false, 1000).unwrap();
        assert_eq!(load(&as_stored, &path, 3, &mut made), image(3));
        assert_eq!((made, images(&as_stored).len()), (3, 3));
    }

    #[test]
    fn a_damaged_image_is_made_again() {
        let place = tempfile::tempdir().unwrap();
        let path = source(&place, "a", b"one");
        let (cache, mut made) = (open(&place, 1000), 0);
        load(&cache, &path, 1, &mut made);
        let cached = &images(&cache)[0];
        fs::write(cached, &fs::read(cached).unwrap()[..60]).unwrap();
        assert_eq!(load(&cache, &path, 1, &mut made), image(1));
        assert_eq!(load(&cache, &path, 1, &mut made), image(1));
        assert_eq!(made, 2);
    }

    #[test]
    fn a_full_folder_evicts_only_unused_images() {
        let place = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..4_u8)
            .map(|i| source(&place, &i.to_string(), &[i]))
            .collect();
        let (cache, mut made) = (open(&place, 2 * FILE + 50), 0);
        for (level, path) in (0..).zip(&paths[..3]) {
            load(&cache, path, level, &mut made);
        }
        assert_eq!(counted(&cache), 2 * FILE);
        assert!(!is_cached(&cache, &paths[2]), "no room, and all are in use");

        let long_ago = SystemTime::now() - 3 * MIN_UNUSED;
        for path in images(&cache) {
            File::options()
                .append(true)
                .open(path)
                .unwrap()
                .set_modified(long_ago)
                .unwrap();
        }
        let cache = open(&place, 2 * FILE + 50);
        load(&cache, &paths[1], 1, &mut made);
        assert_eq!(made, 3, "it was cached, and is in use now");
        for (level, path) in (2..).zip(&paths[2..]) {
            load(&cache, path, level, &mut made);
        }
        let cached = [0, 1, 2, 3].map(|i| is_cached(&cache, &paths[i]));
        assert_eq!(cached, [false, true, true, false]);
        assert_eq!(counted(&cache), 2 * FILE);
    }

    #[test]
    fn processes_share_one_limit() {
        let place = tempfile::tempdir().unwrap();
        let (one, other) = (open(&place, 2 * FILE), open(&place, 2 * FILE));
        let mut made = 0;
        for (level, cache) in [&one, &other, &one, &other].into_iter().enumerate() {
            let path = source(&place, &level.to_string(), &[level as u8]);
            load(cache, &path, level as u8, &mut made);
        }
        assert_eq!((counted(&one), images(&one).len()), (2 * FILE, 2));
    }

    #[test]
    fn threads_may_load_at_the_same_time() {
        let place = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..20_u8)
            .map(|i| source(&place, &i.to_string(), &[i]))
            .collect();
        let cache = open(&place, 10_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for (level, path) in (0..).zip(&paths) {
                        assert_eq!(load(&cache, path, level, &mut 0), image(level));
                    }
                });
            }
        });
        assert_eq!((counted(&cache), images(&cache).len()), (20 * FILE, 20));
    }

    #[test]
    fn remains_of_a_killed_process_are_counted() {
        let place = tempfile::tempdir().unwrap();
        load(&open(&place, 1000), &source(&place, "a", b"one"), 1, &mut 0);
        fs::write(place.path().join("cache/bytes"), "").unwrap();
        fs::write(place.path().join("cache/contents"), b"torn li").unwrap();
        let cache = open(&place, 1000);
        assert_eq!(counted(&cache), FILE);
    }

    #[test]
    fn a_folder_that_cannot_be_created_is_an_error_that_names_it() {
        let place = tempfile::tempdir().unwrap();
        let file = source(&place, "file", b"");
        let error = ImageFolder::open(&file.join("cache"), None, true, 0).unwrap_err();
        assert!(error.to_string().contains("cache"), "{error}");
    }
}
