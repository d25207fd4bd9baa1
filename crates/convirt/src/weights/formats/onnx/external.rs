//! External data of an ONNX file: numbers in another file of the same folder.

use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use convirt_data::open_regular;

use super::proto::Entry;

/// The folder of an ONNX file. Paths that lead out of the folder are rejected.
///
/// Symbolic links are followed, because the hub's cache consists of them, and because a link in the
/// folder was placed there on purpose.
pub(super) struct Folder(PathBuf);

/// A range of bytes in a file of the folder.
#[derive(Debug)]
pub(super) struct Place {
    pub path: Arc<Path>,
    pub bytes: Range<u64>,
}

impl Folder {
    /// Creates the folder of the file at `path`.
    pub fn from_file_path(path: &Path) -> Self {
        Self(path.parent().unwrap_or(Path::new("")).to_path_buf())
    }

    /// Returns the place of a tensor's numbers that its entries describe, or what is wrong with it.
    pub fn locate(&self, entries: &[Entry]) -> Result<Place, String> {
        let value = |key: &str| {
            let entry = entries.iter().find(|entry| entry.key == key)?;
            Some(entry.value.as_str())
        };
        let number = |key: &str| {
            let number = value(key).map(|text| {
                let number = text.parse::<u64>();
                number.map_err(|_| format!("`{text}` as the {key} of its numbers"))
            });
            number.transpose()
        };
        let name =
            value("location").ok_or("its numbers are in another file, which is not named")?;
        let is_plain = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
        // On Unix, `Path` does not recognize the separators of Windows.
        let is_within = Path::new(name).components().all(is_plain) && !name.contains(['\\', '\0']);
        if name.is_empty() || !is_within {
            return Err(format!(
                "its numbers are in `{name}`, outside of the folder"
            ));
        }
        let path = self.0.join(name);
        let size = open_regular(&path)
            .and_then(|file| file.metadata())
            .map_err(|error| format!("its numbers are in `{name}`, which cannot be read: {error}"))?
            .len();
        let start = number("offset")?.unwrap_or(0);
        let end = match number("length")? {
            Some(length) => start.checked_add(length),
            None => Some(size),
        };
        let end = end
            .filter(|end| (start..=size).contains(end))
            .ok_or_else(|| {
                format!("its numbers reach beyond the end of `{name}`, which has {size} bytes")
            })?;
        Ok(Place {
            path: Arc::from(path),
            bytes: start..end,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn locate(entries: &[(&str, &str)]) -> Result<Range<u64>, String> {
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("model");
        fs::create_dir_all(folder.join("parts")).unwrap();
        fs::write(outside.path().join("secret"), [1; 100]).unwrap();
        fs::write(folder.join("weights"), [1; 100]).unwrap();
        fs::write(folder.join("parts/weights"), [1; 100]).unwrap();
        let entries = entries.iter().map(|(key, value)| Entry {
            key: key.to_string(),
            value: value.to_string(),
        });
        let entries: Vec<Entry> = entries.collect();
        let place = Folder::from_file_path(&folder.join("model.onnx")).locate(&entries)?;
        assert!(place.path.starts_with(&folder));
        Ok(place.bytes)
    }

    #[test]
    fn numbers_are_found_in_files_of_the_folder() {
        for name in ["weights", "./weights", "parts/weights"] {
            assert_eq!(locate(&[("location", name)]), Ok(0..100));
        }
        let part = [("location", "weights"), ("offset", "40"), ("length", "60")];
        assert_eq!(locate(&part), Ok(40..100));
        assert_eq!(locate(&part[..2]), Ok(40..100));
        assert_eq!(locate(&[part[0], part[2]]), Ok(0..60));
    }

    #[test]
    fn paths_that_lead_out_of_the_folder_are_rejected() {
        for name in [
            "../secret",
            "parts/../../secret",
            "/etc/hostname",
            "..\\secret",
            "C:\\secret",
            "weights\0",
            "",
        ] {
            let error = locate(&[("location", name)]).unwrap_err();
            assert!(error.contains("outside"), "{name}: {error}");
        }
    }

    #[test]
    fn missing_files_and_invalid_ranges_are_rejected() {
        let whole = ("location", "weights");
        for (entries, expected) in [
            (vec![], "not named"),
            (vec![("location", "parts")], "cannot be read"),
            (vec![("location", "elsewhere")], "cannot be read"),
            (vec![whole, ("offset", "-4")], "`-4` as the offset"),
            (vec![whole, ("length", "x")], "`x` as the length"),
            (vec![whole, ("offset", "101")], "beyond the end"),
            (vec![whole, ("length", "101")], "beyond the end"),
            (
                vec![whole, ("offset", "60"), ("length", "18446744073709551615")],
                "beyond the end",
            ),
        ] {
            let error = locate(&entries).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
