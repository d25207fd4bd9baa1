//! OpenI, the chest X-rays of Indiana University: an XML file a report.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use rayon::prelude::*;

use super::labels::{mesh_columns, mesh_labels};
use super::openi_files::{Files, ReportFile};
use super::openi_report::OpenIReport;
use super::pairs::{Found, Job, Pair, root_of};
use super::{Omission, Omissions, Prepared, PreparedImages};
use crate::files::is_plain_name;
use crate::manifest::{SplitConfig, StudyId, SubjectId};
use crate::prepare::error::PrepareError;
use crate::progress::{Progress, Stage, Steps};

/// How to prepare OpenI.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenIConfig {
    /// Folder with images as PNG, JPEG or DICOM, at any depth.
    pub root: PathBuf,
    /// Reports: a folder of XML files at any depth, or a tar archive of them, gzipped or not.
    /// `None`: those below the root or, where there are none, `NLMCXR_reports.tgz` in it.
    pub reports: Option<PathBuf>,
    /// Folder to write into: new, empty, or left by an earlier run.
    pub out: PathBuf,
    /// Views to take, as DICOM files name them; none: all.
    ///
    /// Reports and PNG files do not tell the view of an image. One whose DICOM file is not there
    /// is of no view that could be asked for.
    pub views: Vec<String>,
    /// How to write the images; `None` leaves them where they are, or are to be.
    pub images: Option<PreparedImages>,
    /// How to divide the reports; there is no telling which of them are of one patient. `None`
    /// leaves it to the training.
    pub split: Option<SplitConfig>,
}

impl OpenIConfig {
    /// Takes all views, writes images of 256 pixels and holds out a tenth of the pairs.
    pub fn new(root: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            reports: None,
            out: out.into(),
            views: Vec::new(),
            images: Some(PreparedImages::default()),
            split: Some(SplitConfig {
                valid_size: 0.1,
                seed: 0,
            }),
        }
    }

    /// Writes one manifest, `pairs.csv`, with a row for each image of the views asked for that has
    /// a report with findings or impression, and the images. The report is subject and study at
    /// once.
    ///
    /// `progress` hears from any thread. A run that was interrupted goes on where it stopped.
    ///
    /// # Errors
    ///
    /// - [`FileError::Read`](crate::FileError::Read), [`PrepareError::NoReports`]: no such data set
    /// - [`PrepareError::NoSuchView`], [`PrepareError::UnknownViews`]: no image of the views asked
    ///   for
    /// - [`PrepareError::NotAPreparation`], [`PrepareError::OtherPreparation`],
    ///   [`PrepareError::FolderInUse`], `FileError::Write`: `out` cannot be used
    /// - [`PrepareError::NothingPrepared`]: not one pair
    /// - `SettingError::OutOfRange`, `ManifestError::TooFewGroups`: a size out of range
    pub fn prepare(&self, progress: impl Fn(Progress) + Sync) -> Result<Prepared, PrepareError> {
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
        let files = Files::below(&root, out.as_deref())?;
        let reports = ReportFile::list(self.reports.as_deref(), &root, &files)?;
        let mut found = found(&files, reports, &progress);
        job.choose_views(&mut found, &self.views, &progress)?;
        job.finish(&folder, found, progress)
    }
}

fn found(files: &Files, reports: Vec<ReportFile>, progress: &(impl Fn(Progress) + Sync)) -> Found {
    let steps = Steps::new(Stage::Reports, reports.len(), progress);
    let reports: Vec<_> = reports
        .into_par_iter()
        .map(|file| {
            let name = file.name().display().to_string();
            let report = file.read().and_then(|xml| OpenIReport::parse(&xml));
            steps.one_more();
            (name, report)
        })
        .collect();

    let mut omissions = Omissions::default();
    let mut by_id: BTreeMap<(usize, String), OpenIReport> = BTreeMap::new();
    for (file, report) in reports {
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
                view_file: files.dicom(name).map(Into::into),
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
        passed_over: files.passed_over.clone(),
    }
}
