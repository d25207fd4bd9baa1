//! The images of a folder, without a CSV that names them.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::dicom::{is_dicom, says_no_pixels};
use crate::files::{FolderWalk, PassedOver, PassedOverKind, open_regular, read_start};
use crate::image::error::ImageError;

/// What names of image files end in, in any case.
const PICTURES: [&str; 3] = ["jpg", "jpeg", "png"];
const DICOM: [&str; 2] = ["dcm", "dicom"];

/// Bytes of a file that tell what it is: DICOM's mark stands behind 128 others, and what kind of
/// object it is a few elements later.
const START: u64 = 512;

/// What a file is, by its content.
pub(crate) enum FileContent {
    /// An image, and what its name should end in.
    Image(&'static str),
    /// A DICOM object without pixels.
    NoPixels,
    /// Something else.
    Other,
}

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
    /// that an archive exports. What systems leave beside data (`._*`, `.DS_Store`, `__MACOSX`,
    /// `Thumbs.db`, `desktop.ini`, `DICOMDIR`) is none of it; all else is passed over and listed,
    /// hidden files and DICOM objects without pixels too. Links count as what they lead to.
    ///
    /// # Errors
    ///
    /// `FileError::Read` when the folder cannot be listed, [`ImageError::NoImages`] when there is
    /// no image in it.
    pub fn below(folder: &Path) -> Result<Self, ImageError> {
        let FolderWalk {
            files,
            mut passed_over,
        } = FolderWalk::below(folder, None)?;
        let mut images = Vec::with_capacity(files.len());
        for path in files {
            match reason_to_pass_over(&path) {
                None => images.push(path),
                Some(reason) => passed_over.record(reason, &path),
            }
        }
        if images.is_empty() {
            return Err(ImageError::NoImages {
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

/// Why a file is no image to be read. What is named like one and is none is an image all the same:
/// its reader says what is wrong with it.
fn reason_to_pass_over(path: &Path) -> Option<PassedOverKind> {
    if has_ending(path, &PICTURES) {
        return None;
    }
    match FileContent::at(path) {
        Ok(FileContent::Image(_)) => None,
        Ok(FileContent::NoPixels) => Some(PassedOverKind::NoPixels),
        _ if has_ending(path, &DICOM) => None,
        Ok(FileContent::Other) => Some(PassedOverKind::NoImage),
        Err(_) => Some(PassedOverKind::UnreadableFile),
    }
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().and_then(OsStr::to_str);
    ending.is_some_and(|ending| {
        endings
            .iter()
            .any(|known| ending.eq_ignore_ascii_case(known))
    })
}

impl FileContent {
    /// Looks at the beginning of a file.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let start = read_start(open_regular(path)?, START)?;
        Ok(match &start[..] {
            [0xFF, 0xD8, 0xFF, ..] => Self::Image("jpg"),
            [0x89, b'P', b'N', b'G', ..] => Self::Image("png"),
            start if !is_dicom(start) => Self::Other,
            start if says_no_pixels(start) => Self::NoPixels,
            _ => Self::Image("dcm"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::FileError;
    use crate::image::dicom::tests::fixtures::Dicom;
    use crate::tests::fixtures::data_file;

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
        let report = [
            &dicom[..132],
            b"\x02\0\x02\0UI\x1e\x001.2.840.10008.5.1.4.1.1.88.11\0",
        ]
        .concat();
        for (name, content) in [
            ("IM000001", &dicom[..]),
            ("1.2.840.10008", &dicom),
            ("without_preamble.bin", &dicom[132..]),
            ("film.jpe", &jpeg),
            ("film.tmp", &png),
            ("report.dcm", &report),
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
        assert_eq!(found.passed_over.count(PassedOverKind::NoPixels), 1);
        assert_eq!(found.passed_over.total(), 3);
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
        assert!(
            matches!(error, ImageError::File(FileError::Read { .. })),
            "{error}"
        );
    }
}
