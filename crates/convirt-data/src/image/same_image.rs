//! Which paths are of one image.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;

use rayon::prelude::*;
use twox_hash::XxHash3_128;

use crate::files::open_regular;
use crate::manifest::Distinct;

/// Bytes of a file that are read at a time.
const CHUNK: usize = 1 << 20;

/// Numbers images, from 0 in the order in which they first appear: equal paths, and files of equal
/// content, have one number.
///
/// Only files that have their length in common with another are read. What cannot be read is told
/// from others by its path.
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
    // A file whose content is not known is itself alone: its path stands for it.
    let keys = contents.into_iter().zip(&paths);
    let of_paths = Distinct::new(keys.map(|(content, path)| match content {
        Some(content) => (Some(content), None),
        None => (None, Some(*path)),
    }));
    let of_rows = of_rows.of_pair.into_iter();
    of_rows.map(|path| of_paths.of_pair[path]).collect()
}

fn length(path: &Path) -> Option<u64> {
    Some(open_regular(path).ok()?.metadata().ok()?.len())
}

fn hash(path: &Path) -> io::Result<u128> {
    let mut file = open_regular(path)?;
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
}
