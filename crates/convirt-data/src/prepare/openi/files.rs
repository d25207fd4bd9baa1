//! Listing of the images and reports of OpenI, in a folder or an archive.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::archive::{is_report, xml_files};
use crate::files::{FolderWalk, PassedOver, PassedOverKind, decode_text, path_text, read_regular};
use crate::image::FileContent;
use crate::prepare::error::PrepareError;

/// Extensions of image files in order of preference, for images of the same name.
const IMAGE_EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", DICOM];

/// Extension of the files that contain the view.
const DICOM: &str = "dcm";

/// Largest report file, in bytes; those of OpenI are under 20 kB.
const MAX_REPORT_BYTES: u64 = 1 << 24;

/// Name of the distributed archive of the reports.
const REPORTS_TGZ: &str = "NLMCXR_reports.tgz";

/// Location of the XML of a report.
pub(super) enum ReportFile {
    /// A file, with its path relative to the folder of the reports.
    Plain { folder: PathBuf, file: PathBuf },
    /// The content of a file in an archive.
    Packed { name: PathBuf, content: Vec<u8> },
}

/// The reports and images below a folder.
#[derive(Default)]
pub(super) struct Files {
    reports: Vec<PathBuf>,
    /// Images by name, ordered by the rank of their extension; the first one is used.
    images: BTreeMap<String, BTreeSet<(usize, PathBuf)>>,
    /// Other files.
    pub(super) passed_over: PassedOver,
}

impl ReportFile {
    /// Lists the reports of `requested`, a folder or an archive; or else the `files` below `root`,
    /// or those of the archive in `root`.
    pub(super) fn list(
        requested: Option<&Path>,
        root: &Path,
        files: &Files,
    ) -> Result<Vec<Self>, PrepareError> {
        let tgz = root.join(REPORTS_TGZ);
        let reports = match requested {
            Some(path) if path.is_dir() => Self::below(path, Files::below(path, None)?.reports),
            Some(path) => Self::packed(path)?,
            None if files.reports.is_empty() && tgz.is_file() => Self::packed(&tgz)?,
            None => Self::below(root, files.reports.clone()),
        };
        if reports.is_empty() {
            return Err(PrepareError::NoReports {
                path: requested.unwrap_or(root).into(),
                looked_for: "*.xml or NLMCXR_reports.tgz",
            });
        }
        Ok(reports)
    }

    fn below(folder: &Path, files: Vec<PathBuf>) -> Vec<Self> {
        let files = files.into_iter().map(|file| Self::Plain {
            folder: folder.into(),
            file,
        });
        files.collect()
    }

    fn packed(archive: &Path) -> Result<Vec<Self>, PrepareError> {
        let files = xml_files(archive, MAX_REPORT_BYTES)?;
        let packed = files
            .into_iter()
            .map(|(name, content)| Self::Packed { name, content });
        Ok(packed.collect())
    }

    /// Returns the name for messages.
    pub(super) fn name(&self) -> &Path {
        match self {
            Self::Plain { file, .. } => file,
            Self::Packed { name, .. } => name,
        }
    }

    /// Reads the XML; the error describes the problem.
    pub(super) fn read(self) -> Result<String, String> {
        let bytes = match self {
            Self::Packed { content, .. } => content,
            Self::Plain { folder, file } => {
                let read = read_regular(&folder.join(file), MAX_REPORT_BYTES);
                read.map_err(|error| error.to_string())?
            }
        };
        if bytes.len() as u64 > MAX_REPORT_BYTES {
            return Err(format!("more than {MAX_REPORT_BYTES} bytes"));
        }
        decode_text(bytes).map_err(|error| error.to_string())
    }
}

impl Files {
    /// Lists the files below `root`, except in the output folder `out`.
    pub(super) fn below(root: &Path, out: Option<&Path>) -> Result<Self, PrepareError> {
        let FolderWalk {
            files: paths,
            passed_over,
        } = FolderWalk::below(root, out)?;
        let mut files = Self {
            passed_over,
            ..Self::default()
        };
        for path in paths {
            let file = path.strip_prefix(root).unwrap_or(&path).to_owned();
            let ending = file
                .extension()
                .map(|end| end.to_string_lossy().to_lowercase());
            let ending = ending.as_deref().unwrap_or("");
            if is_report(&file) {
                files.reports.push(file);
                continue;
            }
            let rank = |ending| IMAGE_EXTENSIONS.iter().position(|&known| known == ending);
            let by_content = || match FileContent::detect(&path) {
                Ok(FileContent::Image(ending)) => rank(ending),
                _ => None,
            };
            match rank(ending).or_else(by_content) {
                Some(rank) => {
                    let images = files.images.entry(image_key(&file)).or_default();
                    if images.iter().any(|(other, _)| *other == rank) {
                        files.passed_over.record(PassedOverKind::SameName, &file);
                    }
                    images.insert((rank, file));
                }
                None if file.as_os_str() == REPORTS_TGZ => (),
                None => files.passed_over.record(PassedOverKind::NoImage, &file),
            }
        }
        Ok(files)
    }

    /// Returns the path of an image relative to the root, by name.
    pub(super) fn image(&self, name: &str) -> Option<&Path> {
        let images = self.images.get(&image_key(Path::new(name)))?;
        images.first().map(|(_, path)| path.as_path())
    }

    /// Returns the path of a DICOM file relative to the root, by name, even if another image is
    /// used.
    pub(super) fn dicom(&self, name: &str) -> Option<&Path> {
        let images = self.images.get(&image_key(Path::new(name)))?;
        let mut dicom = images
            .iter()
            .filter(|(rank, _)| IMAGE_EXTENSIONS[*rank] == DICOM);
        dicom.next().map(|(_, path)| path.as_path())
    }
}

/// Returns the common part of the names of an image: `CXR1_IM-0001-4001` in reports and PNG files,
/// `1_IM-0001-4001.dcm` for DICOM files, `1_IM-0001-4001.dcm.png` on Kaggle.
fn image_key(path: &Path) -> String {
    let name = path_text(Path::new(path.file_name().unwrap_or_default()));
    let stem = name.split('.').next().unwrap_or("");
    stem.strip_prefix("CXR").unwrap_or(stem).to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::image::dicom::tests::fixtures::Dicom;

    #[test]
    fn images_are_recognized_by_content_and_other_files_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("more")).unwrap();
        let dicom = Dicom::grey_8(2, &[0, 51, 102, 255]).file();
        for (name, content) in [
            ("1_IM-0001-4001", &dicom[..]),
            ("1.xml", b"<eCitation/>"),
            ("._1.xml", b"no report"),
            ("CXR2_IM-0652-1001.png", b""),
            ("more/CXR2_IM-0652-1001.png", b""),
            ("NLMCXR_reports.tgz", b"\x1f\x8b"),
            ("NLMCXR_png.tgz", b"\x1f\x8b"),
        ] {
            fs::write(root.join(name), content).unwrap();
        }
        let files = Files::below(root, None).unwrap();
        assert_eq!(files.reports, [Path::new("1.xml")]);
        let image = Some(Path::new("1_IM-0001-4001"));
        assert_eq!(files.image("CXR1_IM-0001-4001"), image);
        assert_eq!(files.dicom("CXR1_IM-0001-4001"), image);
        let image = Some(Path::new("CXR2_IM-0652-1001.png"));
        assert_eq!(files.image("CXR2_IM-0652-1001"), image);
        let [same_name, none] = [PassedOverKind::SameName, PassedOverKind::NoImage]
            .map(|kind| files.passed_over.count(kind));
        assert_eq!((same_name, none, files.passed_over.total()), (1, 1, 2));
    }

    #[test]
    fn an_image_is_found_under_each_of_its_names() {
        let key = |name| image_key(Path::new(name));
        for name in [
            "CXR1_IM-0001-4001",
            "png/CXR1_IM-0001-4001.png",
            "1/1_IM-0001-4001.dcm",
            "1_IM-0001-4001.dcm.png",
        ] {
            assert_eq!(key(name), "1_IM-0001-4001");
        }
    }
}
