//! The images of a folder, without a CSV that names them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::DataError;

/// What names of image files end in, in any case.
const ENDINGS: [&str; 5] = ["jpg", "jpeg", "png", "dcm", "dicom"];

/// Lists the image files of a folder and of all folders below it, sorted by path.
///
/// Image files are those whose names end in `.jpg`, `.jpeg`, `.png`, `.dcm` or `.dicom`, in any
/// case. Links to files count, links to folders are not followed.
///
/// # Errors
///
/// [`DataError::Read`] for a folder that cannot be listed, [`DataError::NoImages`] when there is
/// no image in any.
pub fn image_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut images = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let unreadable = |source| DataError::Read {
            path: folder.clone(),
            source,
        };
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let path = entry.path();
            if entry.file_type().map_err(unreadable)?.is_dir() {
                folders.push(path);
            } else if is_named_like_an_image(&path) && path.is_file() {
                images.push(path);
            }
        }
    }
    if images.is_empty() {
        return Err(DataError::NoImages {
            folder: folder.into(),
            looked_for: &ENDINGS,
        });
    }
    images.sort();
    Ok(images)
}

fn is_named_like_an_image(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| {
        ENDINGS
            .iter()
            .any(|known| ending.eq_ignore_ascii_case(known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_all_folders_below_are_listed_by_path() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("b/c");
        fs::create_dir_all(below.join("d.png")).unwrap();
        for name in ["z.PNG", "a.jpeg", "b/c/e.dcm", "b/notes.txt", "b/c/jpg"] {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        let images = image_files(folder.path()).unwrap();
        let names: Vec<_> = images
            .iter()
            .map(|image| image.strip_prefix(folder.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["a.jpeg", "b/c/e.dcm", "z.PNG"]);
    }

    #[test]
    fn a_folder_without_images_is_an_error_that_names_what_was_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.txt"), b"").unwrap();
        let message = image_files(folder.path()).unwrap_err().to_string();
        assert!(message.contains("no images"), "{message}");
        assert!(
            message.contains("jpg") && message.contains("dcm"),
            "{message}"
        );
        let error = image_files(&folder.path().join("nowhere")).unwrap_err();
        assert!(matches!(error, DataError::Read { .. }), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_back_to_its_own_folder_is_no_endless_descent() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.png"), b"").unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("again")).unwrap();
        assert_eq!(image_files(folder.path()).unwrap().len(), 1);
    }
}
