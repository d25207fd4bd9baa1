//! The images of a folder, without a CSV that names them.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use crate::folder_walk::FolderWalk;
use crate::radiograph::dicom::is_dicom;
use crate::regular_file::{open_regular, read_start};
use crate::{DataError, PassedOver, PassedOverKind};

/// What names of image files end in, in any case.
const ENDINGS: [&str; 5] = ["jpg", "jpeg", "png", "dcm", "dicom"];

/// Bytes of a file that tell what it is: DICOM's mark stands behind 128 others.
const START: u64 = 132;

/// The image files of a folder and of all folders below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFiles {
    /// The images, sorted by path.
    pub images: Vec<PathBuf>,
    /// What is there besides, for the program to tell.
    pub passed_over: PassedOver,
}

impl ImageFiles {
    /// Lists the image files of a folder and of all folders below it.
    ///
    /// Image files are those whose names end in `.jpg`, `.jpeg`, `.png`, `.dcm` or `.dicom`, in any
    /// case, and those of any other name that begin like JPEG, PNG or DICOM, as the DICOM files
    /// that an archive exports. Hidden files and what systems leave beside data (`__MACOSX`,
    /// `Thumbs.db`, `desktop.ini`, `DICOMDIR`) are none of it; all else is passed over and listed.
    /// Links count as what they lead to.
    ///
    /// # Errors
    ///
    /// [`DataError::Read`] when the folder cannot be listed, [`DataError::NoImages`] when there is
    /// no image in it.
    pub fn below(folder: &Path) -> Result<Self, DataError> {
        let FolderWalk {
            files,
            mut passed_over,
        } = FolderWalk::below(folder, None)?;
        let mut images = Vec::with_capacity(files.len());
        for path in files {
            if is_named_like_an_image(&path) {
                images.push(path);
                continue;
            }
            match ending_by_content(&path) {
                Ok(Some(_)) => images.push(path),
                Ok(None) => passed_over.record(PassedOverKind::NoImage, &path),
                Err(_) => passed_over.record(PassedOverKind::UnreadableFile, &path),
            }
        }
        if images.is_empty() {
            return Err(DataError::NoImages {
                folder: folder.into(),
                passed_over,
            });
        }
        Ok(Self {
            images,
            passed_over,
        })
    }
}

fn is_named_like_an_image(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str);
    ending.is_some_and(|ending| {
        ENDINGS
            .iter()
            .any(|known| ending.eq_ignore_ascii_case(known))
    })
}

/// Returns what the name of a file should end in by its content; `None` for no image.
pub(crate) fn ending_by_content(path: &Path) -> io::Result<Option<&'static str>> {
    let start = read_start(open_regular(path)?, START)?;
    Ok(match &start[..] {
        [0xFF, 0xD8, 0xFF, ..] => Some("jpg"),
        [0x89, b'P', b'N', b'G', ..] => Some("png"),
        start => is_dicom(start).then_some("dcm"),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::fixtures::data_file;
    use crate::radiograph::dicom::fixtures::Dicom;

    fn names(images: &[PathBuf], folder: &Path) -> Vec<String> {
        let names = images.iter().map(|path| path.strip_prefix(folder).unwrap());
        names.map(|name| name.display().to_string()).collect()
    }

    #[test]
    fn images_of_all_folders_below_are_listed_by_path() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("b/c");
        fs::create_dir_all(below.join("d.png")).unwrap();
        for name in ["z.PNG", "a.jpeg", "b/c/e.dcm", "b/notes.txt", "b/c/jpg"] {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        let found = ImageFiles::below(folder.path()).unwrap();
        let expected = ["a.jpeg", "b/c/e.dcm", "z.PNG"];
        assert_eq!(names(&found.images, folder.path()), expected);
        assert_eq!(found.passed_over.count(PassedOverKind::NoImage), 2);
        let told = found.passed_over.to_string();
        assert!(told.contains("notes.txt"), "{told}");
    }

    #[test]
    fn images_are_known_by_content_whatever_their_name() {
        let folder = tempfile::tempdir().unwrap();
        let dicom = Dicom::grey_8(2, &[0, 51, 102, 255]).file();
        let jpeg = fs::read(data_file("img_grey_111x130.jpg")).unwrap();
        let png = fs::read(data_file("img_rgb_61x97.png")).unwrap();
        for (name, content) in [
            ("IM000001", &dicom[..]),
            ("1.2.840.10008", &dicom),
            ("without_preamble.bin", &dicom[132..]),
            ("film.jpe", &jpeg),
            ("film.tmp", &png),
            ("notes", b"No acute cardiopulmonary process."),
            ("empty", b""),
        ] {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let found = ImageFiles::below(folder.path()).unwrap();
        let expected = [
            "1.2.840.10008",
            "IM000001",
            "film.jpe",
            "film.tmp",
            "without_preamble.bin",
        ];
        assert_eq!(names(&found.images, folder.path()), expected);
        assert_eq!(found.passed_over.total(), 2);
    }

    #[test]
    fn a_folder_without_images_is_an_error_that_tells_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.txt"), b"").unwrap();
        let message = ImageFiles::below(folder.path()).unwrap_err().to_string();
        for part in ["no images", "JPEG, PNG or DICOM", "notes.txt"] {
            assert!(message.contains(part), "{message}");
        }
        let error = ImageFiles::below(&folder.path().join("nowhere")).unwrap_err();
        assert!(matches!(error, DataError::Read { .. }), "{error}");
    }
}
