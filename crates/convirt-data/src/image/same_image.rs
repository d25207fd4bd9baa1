//! Detection of equal images by the content of their files.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read};
use std::path::Path;

use rayon::prelude::*;
use twox_hash::XxHash3_128;

use crate::distinct::Distinct;
use crate::files::DataFile;

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// Numbers images from 0 in the order they first appear; files of equal content get one number.
///
/// Only files that have the same length as another are read. Files that cannot be read are
/// distinguished by their paths.
///
/// # Examples
///
/// ```
/// let folder = tempfile::tempdir().unwrap();
/// let path = |name: &str| folder.path().join(name);
/// std::fs::write(path("a.png"), "chest").unwrap();
/// std::fs::write(path("b.png"), "spine").unwrap();
/// std::fs::write(path("copy-of-a.png"), "chest").unwrap();
/// let paths = ["a.png", "b.png", "copy-of-a.png"].map(path);
/// assert_eq!(convirt_data::number_images(&paths), [0, 1, 0]);
/// ```
pub fn number_images<P: AsRef<Path> + Sync>(paths: &[P]) -> Vec<usize> {
    let of_rows = Distinct::new(paths.iter().map(AsRef::as_ref));
    let paths: Vec<&Path> = of_rows
        .first
        .iter()
        .map(|row| paths[*row].as_ref())
        .collect();
    let lengths: Vec<Option<u64>> = paths.par_iter().map(|path| length(path)).collect();
    let mut files_of: HashMap<u64, usize> = HashMap::new();
    for &length in lengths.iter().flatten() {
        *files_of.entry(length).or_default() += 1;
    }
    let contents = paths.par_iter().zip(&lengths).map(|(path, length)| {
        let length = length.filter(|length| files_of[length] > 1)?;
        Some((length, hash(path).ok()?))
    });
    let contents: Vec<_> = contents.collect();
    // A file whose content is unknown is identified by its path.
    let keys = contents.into_iter().zip(&paths);
    let of_paths = Distinct::new(keys.map(|(content, path)| match content {
        Some(content) => (Some(content), None),
        None => (None, Some(*path)),
    }));
    let of_rows = of_rows.of_pair.into_iter();
    of_rows.map(|path| of_paths.of_pair[path]).collect()
}

/// Gives different hashes to files that have the same length and beginning but differ later.
///
/// Each path comes with a hash of the file's length and beginning. Where files with equal hashes
/// have different contents, the first keeps its hash, and the others get one of their whole
/// content.
///
/// Only files with equal hashes are read. Files that cannot be read keep their hashes.
pub(crate) fn resolve_hash_collisions<'a>(images: impl Iterator<Item = (&'a Path, &'a mut u64)>) {
    let mut first_of: HashMap<u64, &Path> = HashMap::new();
    let alike: Vec<(&Path, &Path, &mut u64)> = images
        .filter_map(|(path, content)| {
            let first = *first_of.entry(*content).or_insert(path);
            (first != path).then_some((first, path, content))
        })
        .collect();
    let paths = alike.iter().flat_map(|(first, path, _)| [*first, *path]);
    let paths: BTreeSet<&Path> = paths.collect();
    let hashes = paths
        .into_par_iter()
        .map(|path| Some((path, hash(path).ok()?)));
    let hashes: HashMap<&Path, u128> = hashes.flatten().collect();
    for (first, path, content) in alike {
        if let [Some(first), Some(whole)] = [first, path].map(|path| hashes.get(path))
            && first != whole
        {
            *content ^= *whole as u64;
        }
    }
}

fn length(path: &Path) -> Option<u64> {
    Some(DataFile::open(path).ok()?.len())
}

fn hash(path: &Path) -> io::Result<u128> {
    let mut file = DataFile::open(path)?;
    let mut hash = XxHash3_128::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hash.finish_128()),
            read => hash.write(&chunk[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn equal_paths_and_equal_contents_are_one_image() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, content) in [
            ("a.png", "first"),
            ("b.png", "other"),
            ("copy of a.png", "first"),
            ("c.png", "of another length"),
        ] {
            fs::write(path(name), content).unwrap();
        }
        let rows = [
            path("a.png"),
            path("b.png"),
            path("./a.png"),
            path("missing.png"),
            path("copy of a.png"),
            path("c.png"),
            path("missing.png"),
        ];
        assert_eq!(number_images(&rows), [0, 1, 0, 2, 0, 3, 2]);
        assert!(number_images::<&Path>(&[]).is_empty());
    }

    #[test]
    fn files_that_differ_only_at_their_end_get_different_hashes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, content) in [
            ("a", "1st"),
            ("copy of a", "1st"),
            ("b", "2nd"),
            ("copy of b", "2nd"),
        ] {
            fs::write(path(name), content).unwrap();
        }
        let names = ["a", "b", "missing", "copy of a", "copy of b", "b", "other"];
        let mut contents = [7, 7, 7, 7, 7, 7, 8];
        let paths = names.map(path);
        resolve_hash_collisions(paths.iter().map(PathBuf::as_path).zip(&mut contents));
        let [a, b, missing, copy_of_a, copy_of_b, again, other] = contents;
        assert_eq!([a, missing, copy_of_a, other], [7, 7, 7, 8]);
        assert_ne!(b, a);
        assert_eq!([copy_of_b, again], [b, b]);
    }
}
