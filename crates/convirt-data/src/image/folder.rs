//! Listing of the image files of a folder.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::dicom::{has_no_pixels, is_dicom};
use crate::files::{FolderWalk, PassedOver, PassedOverKind, open_regular, read_start};
use crate::image::error::ImageError;

/// Extensions of JPEG and PNG files, in lower case.
const JPEG_AND_PNG: [&str; 3] = ["jpg", "jpeg", "png"];
/// Extensions of DICOM files, in lower case.
const DICOM: [&str; 2] = ["dcm", "dicom"];

/// Bytes of a file that are read to detect its type: the magic of DICOM follows 128 other bytes,
/// and the kind of object a few elements later.
const SAMPLE_BYTES: u64 = 512;

/// The type of a file, detected from its content.
pub(crate) enum FileContent {
    /// An image, with its usual extension.
    Image(&'static str),
    /// A DICOM object without pixels.
    NoPixels,
    /// Something else.
    Other,
}

/// The image files of a folder and of all folders below it.
///
/// # Examples
///
/// ```
/// let folder = tempfile::tempdir().unwrap();
/// let image = folder.path().join("patient1/chest.png");
/// std::fs::create_dir(image.parent().unwrap()).unwrap();
/// image::GrayImage::new(8, 8).save(&image).unwrap();
/// std::fs::write(folder.path().join("notes.txt"), "Nothing.").unwrap();
///
/// let files = convirt_data::ImageFiles::below(folder.path()).unwrap();
/// assert_eq!(files.images, [image]);
/// assert_eq!(files.passed_over.total(), 1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFiles {
    /// The images, sorted by path.
    pub images: Vec<PathBuf>,
    /// The other files.
    pub passed_over: PassedOver,
}

impl ImageFiles {
    /// Lists the image files of a folder and of all folders below it.
    ///
    /// Image files are those with the extension `.jpg`, `.jpeg`, `.png`, `.dcm` or `.dicom`, in any
    /// case, and those of any other name whose content begins like JPEG, PNG or DICOM. Files of the
    /// operating system (`._*`, `.DS_Store`, `__MACOSX`, `Thumbs.db`, `desktop.ini`, `DICOMDIR`)
    /// are ignored. All other files, including hidden files and DICOM objects without pixels, are
    /// listed in `passed_over`. Links are followed.
    ///
    /// # Errors
    ///
    /// `FileError::Read` when the folder cannot be listed, [`ImageError::NoImages`] when it
    /// contains no image.
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

/// Returns why a file is not an image, if it is not. A file that is only named like an image counts
/// as one; decoding it gives an error later.
fn reason_to_pass_over(path: &Path) -> Option<PassedOverKind> {
    if has_ending(path, &JPEG_AND_PNG) {
        return None;
    }
    match FileContent::detect(path) {
        Ok(FileContent::Image(_)) => None,
        Ok(FileContent::NoPixels) => Some(PassedOverKind::NoPixels),
        _ if has_ending(path, &DICOM) => None,
        Ok(FileContent::Other) => Some(PassedOverKind::NoImage),
        Err(_) => Some(PassedOverKind::UnreadableFile),
    }
}

/// Returns whether a path ends like the name of a JPEG, PNG or DICOM file.
pub(crate) fn has_image_name(path: &Path) -> bool {
    has_ending(path, &JPEG_AND_PNG) || has_ending(path, &DICOM)
}

/// Returns whether a path has one of the `endings`, in upper or lower case.
pub(crate) fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().and_then(OsStr::to_str);
    ending.is_some_and(|ending| {
        endings
            .iter()
            .any(|known| ending.eq_ignore_ascii_case(known))
    })
}

impl FileContent {
    /// Detects the type of a file from its beginning.
    pub(crate) fn detect(path: &Path) -> io::Result<Self> {
        let start = read_start(open_regular(path)?, SAMPLE_BYTES)?;
        Ok(match &start[..] {
            [0xFF, 0xD8, 0xFF, ..] => Self::Image("jpg"),
            [0x89, b'P', b'N', b'G', ..] => Self::Image("png"),
            start if !is_dicom(start) => Self::Other,
            start if has_no_pixels(start) => Self::NoPixels,
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
        let listing = ImageFiles::below(folder.path()).unwrap();
        let expected = ["a.jpeg", "b/c/e.dcm", "z.PNG"];
        assert_eq!(names(&listing.images, folder.path()), expected);
        assert_eq!(listing.passed_over.count(PassedOverKind::NoImage), 2);
        let message = listing.passed_over.to_string();
        assert!(message.contains("notes.txt"), "{message}");
    }

    #[test]
    fn images_are_detected_by_content_whatever_their_name() {
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
        let listing = ImageFiles::below(folder.path()).unwrap();
        let expected = [
            "1.2.840.10008",
            "IM000001",
            "film.jpe",
            "film.tmp",
            "without_preamble.bin",
        ];
        assert_eq!(names(&listing.images, folder.path()), expected);
        assert_eq!(listing.passed_over.count(PassedOverKind::NoPixels), 1);
        assert_eq!(listing.passed_over.total(), 3);
    }

    #[test]
    fn a_folder_without_images_is_an_error_that_lists_the_other_files() {
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
