//! Preparation of MIMIC-CXR and MIMIC-CXR-JPG, as distributed by PhysioNet.

mod report_files;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::labels::StudyLabels;
use super::pairs::{Pair, Preparation, SourcePairs, canonical_root};
use super::table::{Table, find};
use super::views::is_requested;
use super::{Omission, Omissions, Prepared, PreparedImages};
use crate::files::{FileError, PassedOver};
use crate::manifest::{ManifestError, Split, SplitConfig, StudyId, SubjectId};
use crate::prepare::error::PrepareError;
use crate::progress::{Progress, Stage, Steps};
use crate::text::Sections;
use report_files::{ReportFiles, files_folder, study_path};

/// Extensions of image files, in order of preference.
const IMAGE_EXTENSIONS: [&str; 3] = ["jpg", "png", DICOM];

/// Extension of the files that contain the view.
const DICOM: &str = "dcm";

/// Name of the reports' zip file.
const REPORTS_ZIP: &str = "mimic-cxr-reports.zip";

/// Configures the preparation of MIMIC-CXR.
///
/// # Examples
///
/// ```
/// use std::fs;
///
/// use convirt_data::{MimicConfig, MimicSplit, SplitConfig};
///
/// # let folder = tempfile::tempdir()?;
/// # let root = folder.path().join("mimic-cxr");
/// # let mut metadata = "dicom_id,subject_id,study_id,ViewPosition\n".to_string();
/// # for patient in 10..13 {
/// #     let study = root.join(format!("files/p{patient}/p{patient}/s5"));
/// #     fs::create_dir_all(&study)?;
/// #     image::GrayImage::new(40, 40).save(study.join(format!("i{patient}.png")))?;
/// #     fs::write(study.with_extension("txt"), "FINDINGS: The lungs are clear.\n")?;
/// #     metadata += &format!("i{patient},{patient},5,PA\n");
/// # }
/// # fs::write(root.join("mimic-cxr-2.0.0-metadata.csv"), metadata)?;
/// let out = folder.path().join("prepared");
/// let split = SplitConfig { valid_size: 0.3, seed: 0 };
/// let prepared = MimicConfig {
///     split: MimicSplit::ByPatient(split),
///     ..MimicConfig::new(root, out)
/// }
/// .prepare(|_progress| ())?;
/// assert_eq!((prepared.pairs, prepared.subjects), (3, 3));
/// let csv = fs::read_to_string(prepared.manifest)?;
/// assert!(csv.contains("images/p10/p10/s5/i10.png,The lungs are clear.,10,5,PA,"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct MimicConfig {
    /// Folder that contains `files/p10/p10000032/s50414267/….jpg` or `….dcm`.
    pub root: PathBuf,
    /// Folder of the tables, `.csv` or `.csv.gz`; `None`: `root`.
    ///
    /// `mimic-cxr-2.0.0-metadata` lists the images and their views. Without it, `cxr-record-list`
    /// lists the images, and the views are read from DICOM files. `-split` contains the official
    /// split. `-chexpert` and `-negbio` contain labels and are optional.
    pub tables: Option<PathBuf>,
    /// The zip file of the reports, or the folder that contains
    /// `files/p10/p10000032/s50414267.txt`; `None`: `mimic-cxr-reports.zip` in `root`, or else
    /// `root`.
    pub reports: Option<PathBuf>,
    /// Output folder: new, empty, or left by an earlier run.
    pub out: PathBuf,
    /// Views to include, named as in the metadata or the DICOM files; empty: all.
    pub views: Vec<String>,
    /// How to split the pairs.
    pub split: MimicSplit,
    /// How to write the images; `None`: the manifest refers to the original files.
    pub images: Option<PreparedImages>,
}

/// How to split the pairs of MIMIC-CXR.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MimicSplit {
    /// The official split in `mimic-cxr-2.0.0-split`: train, validate and test.
    Official,
    /// A random split by patient into training and validation.
    ByPatient(SplitConfig),
}

/// An image listed in the tables.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    subject: String,
    study: String,
    image: String,
    /// `None` if the table does not contain views.
    view: Option<String>,
    split: Option<Split>,
}

/// The text of a report, and whether it is only the last paragraph.
type ReportText = (Arc<str>, bool);

/// Reports by patient and study.
type Reports = HashMap<(String, String), Result<ReportText, (Omission, String)>>;

impl MimicConfig {
    /// Includes frontal views (PA and AP), uses the official split, and writes images of 256
    /// pixels.
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

    /// Writes the manifest `pairs.csv` and the images.
    ///
    /// The manifest has a row for each image of the requested views whose report has findings or
    /// impression or, without both, a last paragraph. `progress` may be called from any thread. An
    /// interrupted run can be repeated and continues where it stopped: an image that is there is kept
    /// if it was made from the same file, as [`PreparedImages`] explains.
    ///
    /// # Errors
    ///
    /// - [`PrepareError::NoTable`], `TableError::Csv`, `TableError::NoColumn`,
    ///   `TableError::Cell`, [`ManifestError::SplitCell`], [`PrepareError::NoSuchView`],
    ///   [`PrepareError::UnknownViews`], [`FileError::Read`]: tables or reports cannot be used
    /// - [`PrepareError::NotAPreparation`], [`PrepareError::OtherPreparation`],
    ///   [`PrepareError::FolderInUse`], [`FileError::Write`]: `out` cannot be used
    /// - [`PrepareError::NothingPrepared`]: there are no pairs
    /// - `SettingError::OutOfRange`, [`ManifestError::TooFewGroups`]: a size out of range
    pub fn prepare(&self, progress: impl Fn(Progress) + Sync) -> Result<Prepared, PrepareError> {
        let root = canonical_root(&self.root)?;
        let preparation = Preparation {
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
        let folder = preparation.open()?;
        let texts = read_reports(&records, &reports, &progress);
        let mut pairs = read_pairs(&root, records, &texts, &labels, omissions);
        preparation.choose_views(&mut pairs, &self.views, &progress)?;
        preparation.finish(&folder, pairs, progress)
    }

    fn tables(&self) -> &Path {
        self.tables.as_deref().unwrap_or(&self.root)
    }

    /// Lists the images of the requested views, if the table contains views, sorted by subject,
    /// study and name.
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
        let mut existing_views = BTreeSet::new();
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
            existing_views.extend(record.view.clone());
            if let Some(view) = &record.view
                && !is_requested(view, &self.views)
            {
                let what = format!("{} ({view})", record.image);
                omissions.record(Omission::OtherView, what);
            } else if splits.is_some() && record.split.is_none() {
                omissions.record(Omission::NoSplit, &record.image);
            } else {
                records.push(record);
            }
        }
        let other_views = omissions.count(Omission::OtherView);
        if records.is_empty() && other_views > 0 && omissions.count(Omission::NoSplit) == 0 {
            return Err(PrepareError::NoSuchView {
                path,
                asked: self.views.clone(),
                found: existing_views.into_iter().collect(),
            });
        }
        let files = files_folder(&self.root);
        let has_view = |record: &Record| files.join(image_path(record, DICOM)).is_file();
        if !has_views && !self.views.is_empty() && !records.iter().any(has_view) {
            return Err(PrepareError::NoTable {
                folder: self.tables().into(),
                looked_for: "mimic-cxr-2.0.0-metadata.csv or .csv.gz",
                hint: "it tells the views and comes with MIMIC-CXR-JPG; without it and without \
                       DICOM files, take all views",
            });
        }
        // Numbers without leading zeros are ordered by length first.
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

    /// Finds the table that lists the images, and whether it contains their views.
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
                    .and_then(|report| report_text(&report, study));
                steps.one_more();
                ((subject.clone(), study.clone()), text)
            },
        )
        .collect()
}

fn report_text(report: &str, study: &str) -> Result<ReportText, (Omission, String)> {
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
fn read_pairs(
    root: &Path,
    records: Vec<Record>,
    texts: &Reports,
    labels: &[StudyLabels],
    mut omissions: Omissions,
) -> SourcePairs {
    let files = files_folder(root);
    let files = files.strip_prefix(root).unwrap_or(Path::new(""));
    let pairs: Vec<Result<Pair, (Omission, String)>> = records
        .into_par_iter()
        .map(|record| {
            let numbers = (record.subject.clone(), record.study.clone());
            let (text, _) = texts[&numbers].as_ref().map_err(Clone::clone)?;
            let candidates =
                IMAGE_EXTENSIONS.map(|extension| files.join(image_path(&record, extension)));
            let is_unknown = record.view.is_none();
            let dicom = is_unknown.then(|| files.join(image_path(&record, DICOM)));
            let existing = candidates.iter().find(|path| root.join(path).is_file());
            Ok(Pair {
                source: existing.unwrap_or(&candidates[0]).clone(),
                exists: existing.is_some(),
                name: image_name(&record),
                view_file: dicom.filter(|path| root.join(path).is_file()),
                labels: labels
                    .iter()
                    .flat_map(|labels| labels.get(&record.subject, &record.study))
                    .collect(),
                subject: SubjectId(record.subject),
                study: StudyId(record.study),
                view: record.view.unwrap_or_default(),
                split: record.split,
                text: Arc::clone(text),
            })
        })
        .collect();
    let mut complete = Vec::with_capacity(pairs.len());
    for pair in pairs {
        match pair {
            Ok(pair) => complete.push(pair),
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
    SourcePairs {
        pairs: complete,
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

/// Returns the path of an image without its extension, relative to the folder of all patients.
fn image_name(record: &Record) -> PathBuf {
    let study = format!("s{}", record.study);
    study_path(&record.subject).join(study).join(&record.image)
}

/// Returns the path of an image file, relative to the folder of all patients.
fn image_path(record: &Record, extension: &str) -> PathBuf {
    let mut path = image_name(record).into_os_string();
    path.push(".");
    path.push(extension);
    path.into()
}
