//! Scaled images kept on disk from run to run.
//!
//! ```text
//! images/5f/5f0c…e1-256   the image of a file's content, scaled to 256 pixels
//! contents                for each file met: a hash of its path, length and time; that of its content
//! bytes                   bytes of all images, and the lock to hold when it changes
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

/// An image unused for so long may make room for another.
const REST: Duration = Duration::from_secs(3600);

/// A folder of images, keyed by the content of their files, the longer side, whether they are
/// turned as their EXIF asks, and the version of decoding. Any number of threads and processes
/// share it.
///
/// An image appears whole or not at all, and is checked when it is read. When the folder is full,
/// images that no run has used of late make room, the longest unused first; if there are none,
/// nothing more is kept.
#[derive(Debug)]
pub(super) struct ImageFolder {
    folder: PathBuf,
    longer_side: Option<usize>,
    exif_orientation: bool,
    max_bytes: u64,
    contents: Mutex<Contents>,
    bytes: Mutex<ByteCount>,
    /// Images that may go; listed when the folder is full for the first time.
    resting: Mutex<Option<VecDeque<(PathBuf, u64)>>>,
    opened: SystemTime,
    has_failed: AtomicBool,
}

/// What a file is known by without reading it: a hash of path, length and time of change.
type Stamp = u128;

/// A hash of what a file holds.
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
            resting: Mutex::default(),
            opened: SystemTime::now(),
            has_failed: AtomicBool::default(),
        };
        // A process that was killed has not counted its last image.
        let counted = || lock(&cache.bytes).change(|_| Ok(cache.list()?.map(|it| it.bytes).sum()));
        counted().map_err(write)?;
        Ok(cache)
    }

    /// Returns the image of a file; what is not here is made of the bytes that `read` gives, and
    /// kept. Failing to keep it is a warning, once.
    pub(super) fn load(
        &self,
        path: &Path,
        read: impl FnOnce() -> Result<Vec<u8>, ImageError>,
        make: impl FnOnce(&[u8]) -> Result<Stored, ImageError>,
    ) -> Result<Stored, ImageError> {
        // Taken before the file is read: what is written to it meanwhile gives another stamp.
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
                self.warn_once(self.keep(content, &image.to_file()));
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
        let turned = if self.exif_orientation {
            ""
        } else {
            "-as-stored"
        };
        let file = format!("{name}-{side}{turned}-v{DECODER_VERSION}");
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
                if used.is_ok_and(|used| used.elapsed().is_ok_and(|rest| rest > REST / 2)) {
                    // Without the right to do so, an image rests though it is used.
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

    /// Writes an image if there is room or room can be made.
    fn keep(&self, content: Content, file: &[u8]) -> io::Result<()> {
        let path = self.path(content);
        let added = file.len() as u64;
        lock(&self.bytes).change(|mut bytes| {
            if path.exists() {
                return Ok(bytes);
            }
            while bytes + added > self.max_bytes {
                match self.remove_resting()? {
                    Some(removed) => bytes = bytes.saturating_sub(removed),
                    None => return Ok(bytes),
                }
            }
            NewFile::write_unsynced(&path, file)?;
            Ok(bytes + added)
        })
    }

    /// Removes the image that has rested longest; returns its bytes.
    fn remove_resting(&self) -> io::Result<Option<u64>> {
        let mut resting = lock(&self.resting);
        let resting = match resting.as_mut() {
            Some(resting) => resting,
            None => {
                let before = self.opened - REST;
                let mut images: Vec<_> = self.list()?.filter(|it| it.used < before).collect();
                images.sort_by_key(|it| it.used);
                resting.insert(images.into_iter().map(|it| (it.path, it.bytes)).collect())
            }
        };
        while let Some((path, bytes)) = resting.pop_front() {
            // Another process may have used or removed it since.
            let used = fs::metadata(&path).and_then(|it| it.modified());
            if used.is_ok_and(|used| used < self.opened - REST) {
                fs::remove_file(&path)?;
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// Lists the images, of whatever size and version, and what killed processes have left.
    fn list(&self) -> io::Result<impl Iterator<Item = Kept>> {
        let folders = fs::read_dir(self.folder.join("images"))?;
        let files = folders
            .flatten()
            .flat_map(|folder| fs::read_dir(folder.path()));
        Ok(files.flatten().flatten().filter_map(|file| {
            let about = file.metadata().ok()?;
            Some(Kept {
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
            // Whether anybody reads it or not.
            let _ = writeln!(
                stderr(),
                "warning: {folder}: images are not kept for later runs: {error}"
            );
        }
    }
}

struct Kept {
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
        // A line may be damaged; the next reader of its file writes another.
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
        // In one piece, so that lines of several processes do not mix.
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

    /// Changes the number while no other process does.
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
            // Always as long, so that nothing of an earlier number is left.
            self.0.rewind()?;
            self.0.write_all(format!("{after:020}\n").as_bytes())?;
        }
        Ok(())
    }
}

// Nothing panics between two changes that belong together.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::image::radiograph::Radiograph;

    /// An image of 100 bytes and 24 of header.
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

    /// Loads a file that is of one level; `made` counts what was not in the cache.
    fn load(cache: &ImageFolder, path: &Path, level: u8, made: &mut usize) -> Stored {
        let make = |_: &[u8]| {
            *made += 1;
            Ok(image(level))
        };
        cache
            .load(path, || Ok(fs::read(path).unwrap()), make)
            .unwrap()
    }

    fn is_kept(cache: &ImageFolder, path: &Path) -> bool {
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
    fn a_file_met_before_is_not_read() {
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
    fn another_size_is_another_image() {
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
    fn a_damaged_image_is_made_anew() {
        let place = tempfile::tempdir().unwrap();
        let path = source(&place, "a", b"one");
        let (cache, mut made) = (open(&place, 1000), 0);
        load(&cache, &path, 1, &mut made);
        let kept = &images(&cache)[0];
        fs::write(kept, &fs::read(kept).unwrap()[..60]).unwrap();
        assert_eq!(load(&cache, &path, 1, &mut made), image(1));
        assert_eq!(load(&cache, &path, 1, &mut made), image(1));
        assert_eq!(made, 2);
    }

    #[test]
    fn a_full_folder_keeps_what_is_in_use_and_lets_go_what_rests() {
        let place = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..4_u8)
            .map(|i| source(&place, &i.to_string(), &[i]))
            .collect();
        let (cache, mut made) = (open(&place, 2 * FILE + 50), 0);
        for (level, path) in (0..).zip(&paths[..3]) {
            load(&cache, path, level, &mut made);
        }
        assert_eq!(counted(&cache), 2 * FILE);
        assert!(!is_kept(&cache, &paths[2]), "no room, and all are in use");

        let long_ago = SystemTime::now() - 3 * REST;
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
        assert_eq!(made, 3, "it was kept, and is in use now");
        for (level, path) in (2..).zip(&paths[2..]) {
            load(&cache, path, level, &mut made);
        }
        let kept = [0, 1, 2, 3].map(|i| is_kept(&cache, &paths[i]));
        assert_eq!(kept, [false, true, true, false]);
        assert_eq!(counted(&cache), 2 * FILE);
    }

    #[test]
    fn processes_share_one_bound() {
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
    fn threads_may_ask_at_once() {
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
    fn what_a_killed_process_left_is_counted() {
        let place = tempfile::tempdir().unwrap();
        load(&open(&place, 1000), &source(&place, "a", b"one"), 1, &mut 0);
        fs::write(place.path().join("cache/bytes"), "").unwrap();
        fs::write(place.path().join("cache/contents"), b"torn li").unwrap();
        let cache = open(&place, 1000);
        assert_eq!(counted(&cache), FILE);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error_that_names_it() {
        let place = tempfile::tempdir().unwrap();
        let file = source(&place, "file", b"");
        let error = ImageFolder::open(&file.join("cache"), None, true, 0).unwrap_err();
        assert!(error.to_string().contains("cache"), "{error}");
    }
}
