//! OpenI, the chest X-rays of Indiana University: an XML file a report.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::labels::{mesh_columns, mesh_labels};
use super::openi_report::OpenIReport;
use super::pairs::{Found, Job, Pair, root_of};
use super::{Omission, Omissions, Prepared, PreparedImages};
use crate::probe::utf_8;
use crate::progress::Steps;
use crate::{DataError, Progress, SplitConfig, Stage, StudyId, SubjectId, is_plain_name};

/// Endings of image files; of two images of a name the one of the earlier ending is taken.
const IMAGE_ENDINGS: [&str; 4] = ["png", "jpg", "jpeg", "dcm"];

/// Bytes of the largest report file; those of OpenI are under 20 kB.
const MAX_REPORT_BYTES: u64 = 1 << 24;

/// Folders inside folders that are looked through.
const MAX_DEPTH: usize = 8;

/// How to prepare OpenI.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenIConfig {
    /// Folder with the XML reports, and with images as PNG, JPEG or DICOM, at any depth.
    pub root: PathBuf,
    /// Folder to write into: new, empty, or left by an earlier run.
    pub out: PathBuf,
    /// How to write the images; `None` leaves them where they are, or are to be.
    pub images: Option<PreparedImages>,
    /// How to divide the reports; there is no telling which of them are of one patient. `None`
    /// leaves it to the training.
    pub split: Option<SplitConfig>,
}

/// Files of a folder and those below.
#[derive(Default)]
struct Files {
    reports: Vec<PathBuf>,
    /// Images by name and rank of their ending, so that the first is the one to take.
    images: BTreeMap<String, BTreeSet<(usize, PathBuf)>>,
}

impl OpenIConfig {
    /// Writes images of 256 pixels and holds out a tenth of the pairs.
    pub fn new(root: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            out: out.into(),
            images: Some(PreparedImages::default()),
            split: Some(SplitConfig {
                valid_size: 0.1,
                seed: 0,
            }),
        }
    }

    /// Writes one manifest, `pairs.csv`, with a row for each image that has a report with
    /// findings or impression, and the images. The report is subject and study at once.
    ///
    /// `progress` hears from any thread. A run that was interrupted goes on where it stopped.
    ///
    /// # Errors
    ///
    /// - [`DataError::Read`], [`DataError::NoReports`]: no such data set
    /// - [`DataError::NotAPreparation`], [`DataError::OtherPreparation`],
    ///   [`DataError::FolderInUse`], [`DataError::Write`]: `out` cannot be used
    /// - [`DataError::NothingPrepared`]: not one pair
    /// - [`DataError::OutOfRange`], [`DataError::TooFewGroups`]: a size out of range
    pub fn prepare(&self, progress: impl Fn(Progress) + Sync) -> Result<Prepared, DataError> {
        let root = root_of(&self.root)?;
        let job = Job {
            dataset: "openi",
            root: &root,
            out: &self.out,
            images: self.images.as_ref(),
            split: self.split,
        };
        let folder = job.open()?;
        let out = fs::canonicalize(folder.path()).ok();
        let mut files = Files::default();
        files.collect(&root, &root, out.as_deref(), MAX_DEPTH)?;
        if files.reports.is_empty() {
            return Err(DataError::NoReports {
                path: self.root.clone(),
                looked_for: "*.xml",
            });
        }
        let found = found(&root, &files, &progress);
        job.finish(&folder, found, progress)
    }
}

impl Files {
    /// Lists a folder, paths from `root`, but not the folder that is written into.
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
            if ending == "xml" {
                self.reports.push(file);
            } else if let Some(rank) = IMAGE_ENDINGS.iter().position(|&known| known == ending) {
                let images = self.images.entry(image_key(&file)).or_default();
                images.insert((rank, file));
            }
        }
        Ok(())
    }

    fn image(&self, name: &str) -> Option<&Path> {
        let images = self.images.get(&image_key(Path::new(name)))?;
        images.first().map(|(_, path)| path.as_path())
    }
}

/// What the names of one image have in common: `CXR1_IM-0001-4001` in the reports and of the PNG
/// files, `1_IM-0001-4001.dcm` of the DICOM files, `1_IM-0001-4001.dcm.png` on Kaggle.
fn image_key(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split('.').next().unwrap_or("");
    stem.strip_prefix("CXR").unwrap_or(stem).to_owned()
}

fn found(root: &Path, files: &Files, progress: &(impl Fn(Progress) + Sync)) -> Found {
    let steps = Steps::new(Stage::Reports, files.reports.len(), progress);
    let reports: Vec<_> = files
        .reports
        .par_iter()
        .map(|file| {
            let report = read(&root.join(file)).and_then(|xml| OpenIReport::parse(&xml));
            steps.one_more();
            (file, report)
        })
        .collect();

    let mut omissions = Omissions::default();
    let mut by_id: BTreeMap<(usize, String), OpenIReport> = BTreeMap::new();
    for (file, report) in reports {
        let file = file.display();
        match report {
            Err(why) => omissions.record(Omission::UnreadableReport, format!("{file} ({why})")),
            Ok(report) if !is_plain_name(&report.id) => {
                omissions.record(Omission::UnsafeName, format!("{file}: {:?}", report.id));
            }
            Ok(report) => {
                // CXR9 before CXR10.
                match by_id.entry((report.id.len(), report.id.clone())) {
                    Entry::Vacant(entry) => {
                        entry.insert(report);
                    }
                    Entry::Occupied(_) => {
                        let what = format!("{file}: report {}", report.id);
                        omissions.record(Omission::Duplicate, what);
                    }
                }
            }
        }
    }
    let reports = by_id.len();
    let mut pairs = Vec::new();
    let mut names = BTreeSet::new();
    for report in by_id.into_values() {
        if report.images.is_empty() {
            omissions.record(Omission::NoImage, &report.id);
        }
        let text = report.text();
        let labels = mesh_labels(&report.major, &report.automatic);
        for name in &report.images {
            let Some(text) = &text else {
                omissions.record(Omission::NoText, name);
                continue;
            };
            if !is_plain_name(name) {
                omissions.record(Omission::UnsafeName, format!("{}: {name:?}", report.id));
                continue;
            }
            if !names.insert(name.clone()) {
                omissions.record(Omission::Duplicate, format!("{}: image {name}", report.id));
                continue;
            }
            let file = files.image(name);
            pairs.push(Pair {
                subject: SubjectId(report.id.clone()),
                study: StudyId(report.id.clone()),
                name: name.into(),
                source: file.map_or_else(|| format!("{name}.png").into(), Into::into),
                is_there: file.is_some(),
                view: String::new(),
                split: None,
                text: text.as_str().into(),
                labels: labels.clone(),
            });
        }
    }
    Found {
        pairs,
        label_columns: mesh_columns(),
        reports,
        last_paragraphs: 0,
        omissions,
    }
}

fn read(path: &Path) -> Result<String, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > MAX_REPORT_BYTES {
        return Err(format!("more than {MAX_REPORT_BYTES} bytes"));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    utf_8(bytes).map_err(|byte| format!("not UTF-8, byte {byte}"))
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
