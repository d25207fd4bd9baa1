//! Recursive listing of a folder.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::passed_over::{PassedOver, PassedOverKind};
use crate::files::error::FileError;

/// Files that operating systems and programs leave beside data, in lower case: those of Windows and
/// macOS, and the directory of a DICOM medium, which lists images but contains none.
const COMPANIONS: [&str; 5] = [
    "thumbs.db",
    "desktop.ini",
    "__macosx",
    ".ds_store",
    "dicomdir",
];

/// The content of a folder and of all folders below it.
#[derive(Default)]
pub(crate) struct FolderWalk {
    /// The regular files, sorted.
    pub(crate) files: Vec<PathBuf>,
    /// Entries that are neither file nor folder, and folders that cannot be listed.
    pub(crate) passed_over: PassedOver,
}

/// Whether a file or folder was left by an operating system and is not part of the data.
pub(crate) fn is_companion(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_lowercase();
    name.starts_with("._") || COMPANIONS.contains(&&*name)
}

impl FolderWalk {
    /// Lists everything below `root`, except in the folder `except`.
    ///
    /// Links are followed. A folder is listed once, under its own path if that is below `root`.
    ///
    /// # Errors
    ///
    /// [`FileError::Read`] when `root` cannot be listed.
    pub(crate) fn below(root: &Path, except: Option<&Path>) -> Result<Self, FileError> {
        let mut walk = Self::default();
        let except = except.and_then(|folder| fs::canonicalize(folder).ok());
        let mut listed: HashSet<PathBuf> = except.into_iter().collect();
        let (mut folders, mut links) = (vec![root.to_path_buf()], Vec::new());
        while let Some(folder) = folders.pop().or_else(|| links.pop()) {
            let is_new = fs::canonicalize(&folder).map(|folder| listed.insert(folder));
            let entries = match is_new {
                Ok(true) => entries(&folder),
                Ok(false) => continue,
                Err(error) => Err(error),
            };
            match entries {
                Ok(entries) => {
                    for path in entries {
                        walk.take(path, &mut folders, &mut links);
                    }
                }
                Err(cause) if folder == root => {
                    let path = folder;
                    return Err(FileError::Read { path, cause });
                }
                Err(_) => walk
                    .passed_over
                    .record(PassedOverKind::UnreadableFolder, &folder),
            }
            // Of several links to one folder, the first by name is used.
            links.sort_by(|a, b| b.cmp(a));
        }
        walk.files.sort();
        Ok(walk)
    }

    fn take(&mut self, path: PathBuf, folders: &mut Vec<PathBuf>, links: &mut Vec<PathBuf>) {
        let Some(name) = path.file_name().filter(|name| !is_companion(name)) else {
            return;
        };
        if name.as_encoded_bytes().starts_with(b".") {
            return self.passed_over.record(PassedOverKind::Hidden, &path);
        }
        match fs::metadata(&path) {
            Ok(about) if about.is_file() => self.files.push(path),
            Ok(about) if about.is_dir() && path.is_symlink() => links.push(path),
            Ok(about) if about.is_dir() => folders.push(path),
            Ok(_) => self.passed_over.record(PassedOverKind::Special, &path),
            Err(_) => self.passed_over.record(PassedOverKind::BrokenLink, &path),
        }
    }
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(walk: &FolderWalk, root: &Path) -> Vec<String> {
        let names = walk.files.iter().map(|path| path.strip_prefix(root));
        names
            .map(|name| name.unwrap().display().to_string())
            .collect()
    }

    #[test]
    fn files_of_the_operating_system_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "._a.png",
            ".DS_Store",
            ".git/b.png",
            "__MACOSX/a.png",
            "Thumbs.db",
            "desktop.ini",
            "DICOMDIR",
            "a.png",
            "b/DICOMDIR.png",
        ] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        let walk = FolderWalk::below(folder.path(), None).unwrap();
        assert_eq!(names(&walk, folder.path()), ["a.png", "b/DICOMDIR.png"]);
        let passed_over = &walk.passed_over;
        assert_eq!(passed_over.count(PassedOverKind::Hidden), 1, ".git");
        assert_eq!(passed_over.total(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_without_endless_loops() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("c.png"), b"").unwrap();
        symlink(folder.path(), elsewhere.path().join("back")).unwrap();
        let root = folder.path();
        fs::create_dir(root.join("z")).unwrap();
        fs::write(root.join("z/b.png"), b"").unwrap();
        for (target, link) in [
            (root, "again"),
            (&root.join("z"), "also_z"),
            (&root.join("z/b.png"), "a.png"),
            (elsewhere.path(), "one"),
            (elsewhere.path(), "two"),
            (&root.join("nowhere"), "broken"),
            (&root.join("self"), "self"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let walk = FolderWalk::below(root, None).unwrap();
        assert_eq!(names(&walk, root), ["a.png", "one/c.png", "z/b.png"]);
        let broken = walk.passed_over.count(PassedOverKind::BrokenLink);
        assert_eq!((broken, walk.passed_over.total()), (2, 2));
    }

    #[test]
    fn the_excluded_folder_is_not_listed() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        fs::create_dir(&out).unwrap();
        fs::write(out.join("a.png"), b"").unwrap();
        fs::write(folder.path().join("b.png"), b"").unwrap();
        let walk = FolderWalk::below(folder.path(), Some(&out)).unwrap();
        assert_eq!(names(&walk, folder.path()), ["b.png"]);
        let missing = FolderWalk::below(&folder.path().join("nowhere"), None);
        assert!(matches!(missing, Err(FileError::Read { .. })));
    }
}
