//! MIMIC-CXR and MIMIC-CXR-JPG, as PhysioNet distributes them.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::labels::StudyLabels;
use super::pairs::{Found, Job, Pair, root_of};
use super::report_files::{ReportFiles, files_folder, study_path};
use super::table::{Table, find};
use super::views::is_asked_for;
use super::{Omission, Omissions, Prepared, PreparedImages};
use crate::files::{FileError, PassedOver};
use crate::manifest::{ManifestError, Split, SplitConfig, StudyId, SubjectId};
use crate::prepare::error::PrepareError;
use crate::progress::{Progress, Stage, Steps};
use crate::text::Sections;

/// Endings of image files, the one to take first.
const IMAGE_ENDINGS: [&str; 3] = ["jpg", "png", DICOM];

/// Ending of the files that tell the view.
const DICOM: &str = "dcm";

/// Name of the reports' zip file.
const REPORTS_ZIP: &str = "mimic-cxr-reports.zip";

/// How to prepare MIMIC-CXR.
#[derive(Debug, Clone, PartialEq)]
pub struct MimicConfig {
    /// Folder with `files/p10/p10000032/s50414267/….jpg` or `….dcm`.
    pub root: PathBuf,
    /// Folder with the tables, `.csv` or `.csv.gz`; `None`: the root.
    ///
    /// `mimic-cxr-2.0.0-metadata` names the images and their views, and without it
    /// `cxr-record-list` the images alone, whose DICOM files then tell the views; `-split` has the
    /// official split, `-chexpert` and `-negbio` have labels, which are taken if they are there.
    pub tables: Option<PathBuf>,
    /// Reports' zip file, or the folder with `files/p10/p10000032/s50414267.txt`; `None`:
    /// `mimic-cxr-reports.zip` in the root, or else the root itself.
    pub reports: Option<PathBuf>,
    /// Folder to write into: new, empty, or left by an earlier run.
    pub out: PathBuf,
    /// Views to take, as the metadata or the DICOM files call them; none: all.
    pub views: Vec<String>,
    /// How to divide the pairs.
    pub split: MimicSplit,
    /// How to write the images; `None` leaves them where they are, or are to be.
    pub images: Option<PreparedImages>,
}

/// How to divide the pairs of MIMIC-CXR.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MimicSplit {
    /// As `mimic-cxr-2.0.0-split` says: train, validate and test.
    Official,
    /// By patient, in training and validation.
    ByPatient(SplitConfig),
}

/// An image of the tables.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    subject: String,
    study: String,
    image: String,
    /// `None` where the table does not tell the views.
    view: Option<String>,
    split: Option<Split>,
}

/// The text of a report, and whether it is its last paragraph.
type ReportText = (Arc<str>, bool);

/// Reports by patient and study.
type Reports = HashMap<(String, String), Result<ReportText, (Omission, String)>>;

impl MimicConfig {
    /// Takes frontal views (PA and AP) and the official split, and writes images of 256 pixels.
    pub fn new(root: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            tables: None,
            reports: None,
            out: out.into(),
            views: ["PA", "AP"].map(Into::into).into(),
            split: MimicSplit::Official,
            images: Some(PreparedImages::default()),
        }
    }

    /// Writes one manifest, `pairs.csv`, with a row for each image of the views asked for whose
    /// report has findings, impression or, for want of both, a last paragraph; and the images.
    ///
    /// `progress` hears from any thread. A run that was interrupted goes on where it stopped.
    ///
    /// # Errors
    ///
    /// - [`PrepareError::NoTable`], `TableError::Csv`, `TableError::NoColumn`,
    ///   `TableError::Cell`, [`ManifestError::SplitCell`], [`PrepareError::NoSuchView`],
    ///   [`PrepareError::UnknownViews`], [`FileError::Read`]: tables or reports cannot be used
    /// - [`PrepareError::NotAPreparation`], [`PrepareError::OtherPreparation`],
    ///   [`PrepareError::FolderInUse`], [`FileError::Write`]: `out` cannot be used
    /// - [`PrepareError::NothingPrepared`]: not one pair
    /// - `SettingError::OutOfRange`, [`ManifestError::TooFewGroups`]: a size out of range
    pub fn prepare(&self, progress: impl Fn(Progress) + Sync) -> Result<Prepared, PrepareError> {
        let root = root_of(&self.root)?;
        let job = Job {
            dataset: "mimic-cxr",
            root: &root,
            out: &self.out,
            images: self.images.as_ref(),
            split: match self.split {
                MimicSplit::Official => None,
                MimicSplit::ByPatient(config) => Some(config),
            },
        };
        let mut omissions = Omissions::default();
        let records = self.records(&mut omissions)?;
        let labels = self.labels()?;
        let reports = self.report_files()?;
        let folder = job.open()?;
        let texts = read_reports(&records, &reports, &progress);
        let mut found = pairs(&root, records, &texts, &labels, omissions);
        job.choose_views(&mut found, &self.views, &progress)?;
        job.finish(&folder, found, progress)
    }

    fn tables(&self) -> &Path {
        self.tables.as_deref().unwrap_or(&self.root)
    }

    /// Lists the images of the views asked for, as far as the table tells them, by subject, study
    /// and name.
    fn records(&self, omissions: &mut Omissions) -> Result<Vec<Record>, PrepareError> {
        let splits = match self.split {
            MimicSplit::Official => Some(self.official_split()?),
            MimicSplit::ByPatient(_) => None,
        };
        let (path, has_views) = self.image_table()?;
        let mut table = Table::open(&path)?;
        let image = table.column("dicom_id")?;
        let subject = table.column("subject_id")?;
        let study = table.column("study_id")?;
        let view = if has_views {
            Some(table.column("ViewPosition")?)
        } else {
            None
        };
        let mut records = Vec::new();
        let mut found_views = BTreeSet::new();
        while let Some(row) = table.next_row()? {
            let record = Record {
                subject: row.number(subject)?.into(),
                study: row.number(study)?.into(),
                image: row.name(image)?.into(),
                view: view.map(|view| row.cell(view).into()),
                split: splits
                    .as_ref()
                    .and_then(|splits| splits.get(row.cell(image)).copied()),
            };
            found_views.extend(record.view.clone());
            if let Some(view) = &record.view
                && !is_asked_for(view, &self.views)
            {
                let what = format!("{} ({view})", record.image);
                omissions.record(Omission::OtherView, what);
            } else if splits.is_some() && record.split.is_none() {
                omissions.record(Omission::NoSplit, &record.image);
            } else {
                records.push(record);
            }
        }
        let all = omissions.count(Omission::OtherView);
        if records.is_empty() && all > 0 && omissions.count(Omission::NoSplit) == 0 {
            return Err(PrepareError::NoSuchView {
                path,
                asked: self.views.clone(),
                found: found_views.into_iter().collect(),
            });
        }
        let files = files_folder(&self.root);
        let tells_view = |record: &Record| files.join(image_path(record, DICOM)).is_file();
        if !has_views && !self.views.is_empty() && !records.iter().any(tells_view) {
            return Err(PrepareError::NoTable {
                folder: self.tables().into(),
                looked_for: "mimic-cxr-2.0.0-metadata.csv or .csv.gz",
                hint: "it tells the views and comes with MIMIC-CXR-JPG; without it and without \
                       DICOM files, take all views",
            });
        }
        // Numbers without leading zeros sort by their length first.
        records.sort_by(|a, b| {
            let key = |record: &Record| (record.subject.len(), record.study.len());
            let names = |record: &Record| (record.subject.clone(), record.study.clone());
            (key(a), names(a), &a.image).cmp(&(key(b), names(b), &b.image))
        });
        records.dedup_by(|later, earlier| {
            let is_same = later.image == earlier.image && later.study == earlier.study;
            if is_same {
                omissions.record(Omission::Duplicate, &later.image);
            }
            is_same
        });
        Ok(records)
    }

    /// Finds the table that lists the images, and whether it tells their views.
    fn image_table(&self) -> Result<(PathBuf, bool), PrepareError> {
        let folder = self.tables();
        if let Some(metadata) = find(folder, "mimic-cxr-", "-metadata")? {
            return Ok((metadata, true));
        }
        let records = find(folder, "cxr-record-list", "")?;
        let records = records.ok_or_else(|| PrepareError::NoTable {
            folder: folder.into(),
            looked_for: "mimic-cxr-2.0.0-metadata or cxr-record-list, .csv or .csv.gz",
            hint: "one of them must list the images",
        })?;
        Ok((records, false))
    }

    fn official_split(&self) -> Result<HashMap<String, Split>, PrepareError> {
        let folder = self.tables();
        let path = find(folder, "mimic-cxr-", "-split")?.ok_or_else(|| PrepareError::NoTable {
            folder: folder.into(),
            looked_for: "mimic-cxr-2.0.0-split.csv or .csv.gz",
            hint: "the official split, it comes with MIMIC-CXR-JPG; without it, split by patient",
        })?;
        let mut table = Table::open(&path)?;
        let (image, split) = (table.column("dicom_id")?, table.column("split")?);
        let mut splits: HashMap<String, Split> = HashMap::new();
        while let Some(row) = table.next_row()? {
            let side = row
                .cell(split)
                .parse()
                .map_err(|cause| ManifestError::SplitCell {
                    path: path.clone(),
                    row: row.row(),
                    cause,
                })?;
            let name = row.name(image)?.to_owned();
            if splits.get(&name).is_some_and(|earlier| *earlier != side) {
                let expected = "named once: an earlier row has another split for it";
                return Err(row.error(image, expected).into());
            }
            splits.insert(name, side);
        }
        Ok(splits)
    }

    fn labels(&self) -> Result<Vec<StudyLabels>, PrepareError> {
        let mut labels = Vec::new();
        for (end, prefix) in [("-chexpert", ""), ("-negbio", "negbio_")] {
            if let Some(path) = find(self.tables(), "mimic-cxr-", end)? {
                labels.push(StudyLabels::read(&path, prefix)?);
            }
        }
        Ok(labels)
    }

    fn report_files(&self) -> Result<ReportFiles, FileError> {
        let zip = self.root.join(REPORTS_ZIP);
        let inferred = if zip.is_file() {
            zip
        } else {
            self.root.clone()
        };
        ReportFiles::open(self.reports.as_ref().unwrap_or(&inferred))
    }
}

/// Reads the report of each study.
fn read_reports(
    records: &[Record],
    files: &ReportFiles,
    progress: &(impl Fn(Progress) + Sync),
) -> Reports {
    let mut studies: Vec<_> = records
        .iter()
        .map(|record| (&record.subject, &record.study))
        .collect();
    studies.dedup();
    let steps = Steps::new(Stage::Reports, studies.len(), progress);
    studies
        .into_par_iter()
        .map_init(
            || files.clone(),
            |files, (subject, study)| {
                let text = files
                    .read(subject, study)
                    .and_then(|report| text(&report, study));
                steps.one_more();
                ((subject.clone(), study.clone()), text)
            },
        )
        .collect()
}

fn text(report: &str, study: &str) -> Result<ReportText, (Omission, String)> {
    let sections = Sections::parse(report);
    if let Some(text) = sections.findings_and_impression() {
        return Ok((text.into(), false));
    }
    match sections.last_paragraph() {
        Some(text) => Ok((text.into(), true)),
        None => Err((Omission::NoText, format!("study {study}"))),
    }
}

/// Pairs each image with the report of its study.
fn pairs(
    root: &Path,
    records: Vec<Record>,
    texts: &Reports,
    labels: &[StudyLabels],
    mut omissions: Omissions,
) -> Found {
    let files = files_folder(root);
    let files = files.strip_prefix(root).unwrap_or(Path::new(""));
    let pairs: Vec<Result<Pair, (Omission, String)>> = records
        .into_par_iter()
        .map(|record| {
            let numbers = (record.subject.clone(), record.study.clone());
            let (text, _) = texts[&numbers].as_ref().map_err(Clone::clone)?;
            let candidates = IMAGE_ENDINGS.map(|ending| files.join(image_path(&record, ending)));
            let is_unknown = record.view.is_none();
            let dicom = is_unknown.then(|| files.join(image_path(&record, DICOM)));
            let there = candidates.iter().find(|path| root.join(path).is_file());
            Ok(Pair {
                source: there.unwrap_or(&candidates[0]).clone(),
                is_there: there.is_some(),
                name: image_name(&record),
                view_file: dicom.filter(|path| root.join(path).is_file()),
                labels: labels
                    .iter()
                    .flat_map(|labels| labels.of(&record.subject, &record.study))
                    .collect(),
                subject: SubjectId(record.subject),
                study: StudyId(record.study),
                view: record.view.unwrap_or_default(),
                split: record.split,
                text: Arc::clone(text),
            })
        })
        .collect();
    let mut kept = Vec::with_capacity(pairs.len());
    for pair in pairs {
        match pair {
            Ok(pair) => kept.push(pair),
            Err((reason, what)) => omissions.record(reason, what),
        }
    }
    let read = texts.values().filter(|text| {
        !matches!(
            text,
            Err((Omission::MissingReport | Omission::UnreadableReport, _))
        )
    });
    let last_paragraphs = texts.values().flatten().filter(|(_, is_last)| *is_last);
    Found {
        pairs: kept,
        label_columns: labels
            .iter()
            .flat_map(|labels| labels.columns.clone())
            .collect(),
        reports: read.count(),
        last_paragraphs: last_paragraphs.count(),
        omissions,
        passed_over: PassedOver::default(),
    }
}

/// The name of an image, from the folder of the patients' folders and without an ending.
fn image_name(record: &Record) -> PathBuf {
    let study = format!("s{}", record.study);
    study_path(&record.subject).join(study).join(&record.image)
}

/// The image file of an ending, from the folder of the patients' folders.
fn image_path(record: &Record, ending: &str) -> PathBuf {
    let mut path = image_name(record).into_os_string();
    path.push(".");
    path.push(ending);
    path.into()
}
