//! The folders that a table may read from.

use std::path::{Component, Path, PathBuf, absolute};

use super::path_text::{located, path_from_text};

/// The folders that a table may read from.
///
/// A table may come from strangers, and what it names is read, shown and embedded in results. So a
/// path must lead into one of these folders. Paths are compared by their parts, after `..` is
/// resolved. Links are followed and not compared: data sets are often linked into place as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Roots {
    /// Absolute, without `..`; `None`: the whole file system.
    folders: Option<Vec<PathBuf>>,
}

impl Roots {
    /// Admits paths in the folders, or with `allow_outside` all paths.
    pub(crate) fn new<'a>(
        folders: impl IntoIterator<Item = &'a Path>,
        allow_outside: bool,
    ) -> Self {
        let folders = folders.into_iter().map(resolved);
        Self {
            folders: (!allow_outside).then(|| folders.collect()),
        }
    }

    /// Resolves a path that a table gives as text, relative to `base`, as [`located`] does; `None`
    /// if it leads outside. Files outside are not even looked for.
    pub(crate) fn locate(&self, base: &Path, text: &str) -> Option<PathBuf> {
        let names = [PathBuf::from(text), path_from_text(text)];
        let are_inside = names.iter().all(|name| self.contain(&base.join(name)));
        are_inside.then(|| located(base, text))
    }

    fn contain(&self, path: &Path) -> bool {
        self.folders.as_ref().is_none_or(|folders| {
            let path = resolved(path);
            folders.iter().any(|folder| path.starts_with(folder))
        })
    }
}

/// Returns the absolute path without `.` and `..`.
fn resolved(path: &Path) -> PathBuf {
    // The working folder has no path if it was removed, or if the path is empty.
    let whole = absolute(Path::new(".").join(path)).unwrap_or_else(|_| path.into());
    let mut resolved = PathBuf::new();
    for part in whole.components() {
        match part {
            Component::ParentDir => {
                resolved.pop();
            }
            Component::CurDir => {}
            part => resolved.push(part),
        }
    }
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_inside(folders: &[&str], base: &str, text: &str) -> bool {
        let roots = Roots::new(folders.iter().map(Path::new), false);
        roots.locate(Path::new(base), text).is_some()
    }

    #[test]
    fn paths_in_a_root_are_admitted_however_they_are_written() {
        for text in [
            "a.png",
            "b/a.png",
            "./b/../a.png",
            "../set/a.png",
            "/data/set/a.png",
            "/data/other/../set/a.png",
            "..a.png",
        ] {
            assert!(is_inside(&["/data/set"], "/data/set", text), "{text}");
        }
        assert!(is_inside(&["/data/set", "/texts"], "/data/set", "/texts/a"));
        assert!(is_inside(&[""], "", "a.png"));
        assert!(is_inside(&["../data"], "../data", "a.png"));
    }

    #[test]
    fn paths_that_lead_outside_are_not_located() {
        for text in [
            "/etc/passwd",
            "../a.png",
            "b/../../a.png",
            "/data/set2/a.png",
            "/data/set/../other/a.png",
            "/",
            "..",
        ] {
            assert!(!is_inside(&["/data/set"], "/data/set", text), "{text}");
        }
        assert!(!is_inside(&[""], "", "../a.png"));
        let everywhere = Roots::new([Path::new("/data")], true);
        let path = everywhere.locate(Path::new("/data"), "../a.png");
        assert_eq!(path.unwrap(), Path::new("/data/../a.png"));
    }

    #[cfg(unix)]
    #[test]
    fn escapes_do_not_lead_outside() {
        let escaped = r"\x2E\x2E/a.png";
        assert_eq!(path_from_text(escaped), Path::new("../a.png"));
        assert!(!is_inside(&["/data"], "/data", escaped));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed() {
        let place = tempfile::tempdir().unwrap();
        let [set, link] = ["set", "link"].map(|name| place.path().join(name));
        std::fs::create_dir(&set).unwrap();
        std::os::unix::fs::symlink(&set, &link).unwrap();
        let roots = Roots::new([&*link], false);
        assert_eq!(roots.locate(&link, "a.png"), Some(link.join("a.png")));
    }
}
