//! The files of OpenI, at any depth of a folder or in an archive.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::report_archive::{is_report, xml_files};
use crate::{DataError, decode_text};

/// Endings of image files; of two images of a name the one of the earlier ending is taken.
const IMAGE_ENDINGS: [&str; 4] = ["png", "jpg", "jpeg", DICOM];

/// Ending of the files that tell the view.
const DICOM: &str = "dcm";

/// Bytes of the largest report file; those of OpenI are under 20 kB.
const MAX_REPORT_BYTES: u64 = 1 << 24;

/// Folders inside folders that are looked through.
const MAX_DEPTH: usize = 8;

/// Name of the archive of the reports, as it is distributed.
const REPORTS_TGZ: &str = "NLMCXR_reports.tgz";

/// Where the XML of a report is.
pub(super) enum ReportFile {
    /// A file, from the folder of the reports.
    Plain { folder: PathBuf, file: PathBuf },
    /// The content of a file of an archive.
    Packed { name: PathBuf, content: Vec<u8> },
}

/// Reports and images below a folder.
#[derive(Default)]
pub(super) struct Files {
    reports: Vec<PathBuf>,
    /// Images by name and rank of their ending, so that the first is the one to take.
    images: BTreeMap<String, BTreeSet<(usize, PathBuf)>>,
}

impl ReportFile {
    /// Lists the reports: those of `asked`, a folder or an archive, or else those found below
    /// `root`, or in the archive there.
    pub(super) fn list(
        asked: Option<&Path>,
        root: &Path,
        found: &Files,
    ) -> Result<Vec<Self>, DataError> {
        let tgz = root.join(REPORTS_TGZ);
        let reports = match asked {
            Some(path) if path.is_dir() => Self::below(path, Files::below(path, None)?.reports),
            Some(path) => Self::packed(path)?,
            None if found.reports.is_empty() && tgz.is_file() => Self::packed(&tgz)?,
            None => Self::below(root, found.reports.clone()),
        };
        if reports.is_empty() {
            return Err(DataError::NoReports {
                path: asked.unwrap_or(root).into(),
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

    fn packed(archive: &Path) -> Result<Vec<Self>, DataError> {
        let files = xml_files(archive, MAX_REPORT_BYTES)?;
        let packed = files
            .into_iter()
            .map(|(name, content)| Self::Packed { name, content });
        Ok(packed.collect())
    }

    /// Returns the name, as messages have it.
    pub(super) fn name(&self) -> &Path {
        match self {
            Self::Plain { file, .. } => file,
            Self::Packed { name, .. } => name,
        }
    }

    /// Reads the XML; the error says what is amiss.
    pub(super) fn read(self) -> Result<String, String> {
        let too_long = || format!("more than {MAX_REPORT_BYTES} bytes");
        let bytes = match self {
            Self::Packed { content, .. } => content,
            Self::Plain { folder, file } => {
                let path = folder.join(file);
                let length = fs::metadata(&path)
                    .map_err(|error| error.to_string())?
                    .len();
                if length > MAX_REPORT_BYTES {
                    return Err(too_long());
                }
                fs::read(&path).map_err(|error| error.to_string())?
            }
        };
        if bytes.len() as u64 > MAX_REPORT_BYTES {
            return Err(too_long());
        }
        decode_text(bytes).map_err(|error| error.to_string())
    }
}

impl Files {
    /// Lists what is below `root`, but not in the folder `out` that is written into.
    pub(super) fn below(root: &Path, out: Option<&Path>) -> Result<Self, DataError> {
        let mut files = Self::default();
        files.collect(root, root, out, MAX_DEPTH)?;
        Ok(files)
    }

    fn collect(
        &mut self,
        root: &Path,
        folder: &Path,
        out: Option<&Path>,
        depth: usize,
    ) -> Result<(), DataError> {
        let unreadable = |source| DataError::Read {
            path: folder.into(),
            source,
        };
        let entries = fs::read_dir(folder).map_err(unreadable)?;
        let paths = entries.map(|entry| Ok(entry?.path()));
        let mut paths = paths.collect::<io::Result<Vec<_>>>().map_err(unreadable)?;
        paths.sort();
        for path in paths {
            if path.is_dir() {
                if depth > 0 && Some(path.as_path()) != out {
                    self.collect(root, &path, out, depth - 1)?;
                }
                continue;
            }
            let ending = path
                .extension()
                .map(|end| end.to_string_lossy().to_lowercase());
            let ending = ending.as_deref().unwrap_or("");
            let file = path.strip_prefix(root).unwrap_or(&path).to_owned();
            if is_report(&file) {
                self.reports.push(file);
            } else if let Some(rank) = IMAGE_ENDINGS.iter().position(|&known| known == ending) {
                let images = self.images.entry(image_key(&file)).or_default();
                images.insert((rank, file));
            }
        }
        Ok(())
    }

    /// Returns the image of a name, from the root.
    pub(super) fn image(&self, name: &str) -> Option<&Path> {
        let images = self.images.get(&image_key(Path::new(name)))?;
        images.first().map(|(_, path)| path.as_path())
    }

    /// Returns the DICOM file of a name, from the root, whether it is the image taken or not.
    pub(super) fn dicom(&self, name: &str) -> Option<&Path> {
        let images = self.images.get(&image_key(Path::new(name)))?;
        let mut dicom = images
            .iter()
            .filter(|(rank, _)| IMAGE_ENDINGS[*rank] == DICOM);
        dicom.next().map(|(_, path)| path.as_path())
    }
}

/// What the names of one image have in common: `CXR1_IM-0001-4001` in the reports and of the PNG
/// files, `1_IM-0001-4001.dcm` of the DICOM files, `1_IM-0001-4001.dcm.png` on Kaggle.
fn image_key(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split('.').next().unwrap_or("");
    stem.strip_prefix("CXR").unwrap_or(stem).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

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
