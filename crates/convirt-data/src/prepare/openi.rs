//! Preparation of OpenI, the chest X-rays of Indiana University, with one XML file for each report.

mod archive;
mod report;
mod files;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use rayon::prelude::*;

use super::labels::{mesh_columns, mesh_labels};
use super::pairs::{Pair, Preparation, SourcePairs, canonical_root};
use super::{Omission, Omissions, Prepared, PreparedImages};
use crate::files::is_plain_name;
use crate::manifest::{SplitConfig, StudyId, SubjectId};
use crate::prepare::error::PrepareError;
use crate::progress::{Progress, Stage, Steps};
use files::{Files, ReportFile};
use report::OpenIReport;

/// Configures the preparation of OpenI.
///
/// # Examples
///
/// ```
/// use convirt_data::OpenIConfig;
///
/// # let folder = tempfile::tempdir()?;
/// # let root = folder.path().join("openi");
/// # std::fs::create_dir(&root)?;
/// # for report in 1..4 {
/// #     let xml = format!(
/// #         "<eCitation><uId id=\"CXR{report}\"/><Abstract>\
/// #          <AbstractText Label=\"FINDINGS\">The lungs are clear.</AbstractText></Abstract>\
/// #          <parentImage id=\"CXR{report}_IM-1\"/></eCitation>"
/// #     );
/// #     std::fs::write(root.join(format!("{report}.xml")), xml)?;
/// #     image::GrayImage::new(40, 40).save(root.join(format!("CXR{report}_IM-1.png")))?;
/// # }
/// // `root` contains three reports, 1.xml to 3.xml, with an image each.
/// let prepared = OpenIConfig::new(root, folder.path().join("prepared")).prepare(|_| ())?;
/// assert_eq!((prepared.pairs, prepared.images_made), (3, 3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct OpenIConfig {
    /// Folder of the images, as PNG, JPEG or DICOM, at any depth.
    pub root: PathBuf,
    /// The reports: a folder of XML files at any depth, or a tar archive of them, gzipped or not.
    /// `None`: the XML files below `root`, or else `NLMCXR_reports.tgz` in `root`.
    pub reports: Option<PathBuf>,
    /// Output folder: new, empty, or left by an earlier run.
    pub out: PathBuf,
    /// Views to include, named as in DICOM files; empty: all.
    ///
    /// Reports and PNG files do not contain the view. An image without a DICOM file has an unknown
    /// view and is only included if this list is empty.
    pub views: Vec<String>,
    /// How to write the images; `None`: the manifest refers to the original files.
    pub images: Option<PreparedImages>,
    /// How to split the reports, whose patients are unknown; `None`: without a split.
    pub split: Option<SplitConfig>,
}

impl OpenIConfig {
    /// Includes all views, writes images of 256 pixels and holds out a tenth of the pairs.
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

    /// Writes the manifest `pairs.csv` and the images.
    ///
    /// The manifest has a row for each image of the requested views whose report has findings or
    /// impression. The id of the report is both subject and study. `progress` may be called from
    /// any thread. An interrupted run can be repeated and continues where it stopped: an image that is
    /// there is kept if it was made from the same file, as [`PreparedImages`] explains.
    ///
    /// # Errors
    ///
    /// - [`FileError::Read`](crate::FileError::Read), [`PrepareError::NoReports`]: the data set
    ///   cannot be read
    /// - [`PrepareError::NoSuchView`], [`PrepareError::UnknownViews`]: no image has one of the
    ///   requested views
    /// - [`PrepareError::NotAPreparation`], [`PrepareError::OtherPreparation`],
    ///   [`PrepareError::FolderInUse`], `FileError::Write`: `out` cannot be used
    /// - [`PrepareError::NothingPrepared`]: there are no pairs
    /// - `SettingError::OutOfRange`, `ManifestError::TooFewGroups`: a size out of range
    pub fn prepare(&self, progress: impl Fn(Progress) + Sync) -> Result<Prepared, PrepareError> {
        let root = canonical_root(&self.root)?;
        let preparation = Preparation {
            dataset: "openi",
            root: &root,
            out: &self.out,
            images: self.images.as_ref(),
            split: self.split,
        };
        let folder = preparation.open()?;
        let out = fs::canonicalize(folder.path()).ok();
        let files = Files::below(&root, out.as_deref())?;
        let reports = ReportFile::list(self.reports.as_deref(), &root, &files)?;
        let mut pairs = read_pairs(&files, reports, &progress);
        preparation.choose_views(&mut pairs, &self.views, &progress)?;
        preparation.finish(&folder, pairs, progress)
    }
}

/// Reads the reports and pairs their images with their texts.
fn read_pairs(
    files: &Files,
    reports: Vec<ReportFile>,
    progress: &(impl Fn(Progress) + Sync),
) -> SourcePairs {
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
                exists: file.is_some(),
                view: String::new(),
                view_file: files.dicom(name).map(Into::into),
                split: None,
                text: text.as_str().into(),
                labels: labels.clone(),
            });
        }
    }
    SourcePairs {
        pairs,
        label_columns: mesh_columns(),
        reports,
        last_paragraphs: 0,
        omissions,
        passed_over: files.passed_over.clone(),
    }
}
