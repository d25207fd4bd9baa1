//! Cleaned manifests, without the rows that have errors.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::texts::repaired;
use super::{Diagnosis, FindingKind, Severity};
use crate::doctor::error::DoctorError;
use crate::files::{FileError, NewFile, printable};
use crate::manifest::{ManifestError, RowReader};

/// Summary of a cleaned manifest that was written.
///
/// # Examples
///
/// ```
/// use convirt_data::{DoctorConfig, ManifestConfig};
///
/// # let folder = tempfile::tempdir()?;
/// # for (level, name) in [(40, "a.png"), (90, "b.png")] {
/// #     let gradient = |x, y| image::Luma([(level + 2 * x + y) as u8]);
/// #     image::GrayImage::from_fn(40, 40, gradient).save(folder.path().join(name))?;
/// # }
/// let csv = folder.path().join("pairs.csv");
/// std::fs::write(
///     &csv,
///     "image,text\n\
///      a.png,The lungs are clear.\n\
///      b.png,A small right effusion.\n\
///      missing.png,The heart is enlarged.\n",
/// )?;
/// let diagnosis = DoctorConfig::new(ManifestConfig::new(csv)).examine(|_| ())?;
/// let cleaned = diagnosis.write_cleaned(&folder.path().join("cleaned.csv"))?;
/// assert!(!std::fs::read_to_string(&cleaned.path)?.contains("missing.png"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cleaned {
    /// The new manifest.
    pub path: PathBuf,
    /// Number of its rows.
    pub rows: usize,
    /// Rows left out, by reason.
    pub removed: BTreeMap<FindingKind, usize>,
    /// Texts in the CSV whose encoding was repaired.
    pub mended_texts: usize,
    /// Texts in files that need repair; files are not changed.
    pub texts_in_files: usize,
    /// Whether a side of the split was empty before cleaning.
    pub has_empty_side: bool,
    /// Folder that image paths are relative to, if they were relative to the manifest and it was
    /// written to another folder.
    pub image_root: Option<PathBuf>,
    /// The same for texts.
    pub text_root: Option<PathBuf>,
}

impl Diagnosis {
    /// Writes a copy of the manifest without the rows that have errors; columns and order stay.
    ///
    /// If an image or group is on several sides of the split, only its rows on one side are kept:
    /// test rows if there are any, else validation rows. If the split is drawn, one group of each
    /// duplicated image is kept. Texts in the CSV are repaired where that is unambiguous: wrong
    /// encodings are decoded and stray characters removed. Text files are not changed.
    ///
    /// The file appears complete or not at all.
    ///
    /// # Errors
    ///
    /// [`DoctorError::OverwritesInput`] when `path` is the manifest itself;
    /// [`ManifestError::NoStudies`] when no row would be left; [`FileError::Write`].
    pub fn write_cleaned(&self, path: &Path) -> Result<Cleaned, DoctorError> {
        let csv = self.manifest();
        if is_same(csv, path) {
            return Err(DoctorError::OverwritesInput { path: path.into() });
        }
        let mut cleaned = Cleaned {
            path: path.into(),
            rows: 0,
            removed: BTreeMap::new(),
            mended_texts: 0,
            texts_in_files: 0,
            has_empty_side: self.get(FindingKind::EmptySide).is_some(),
            image_root: None,
            text_root: None,
        };
        if self.config.text_from_files {
            let kinds = [FindingKind::Mojibake, FindingKind::StrayCharacters];
            let rows = kinds
                .into_iter()
                .filter_map(|kind| Some(&self.get(kind)?.rows));
            cleaned.texts_in_files = rows.flatten().collect::<BTreeSet<_>>().len();
        }
        let content = self
            .content(&mut cleaned)
            .map_err(FileError::write(path))??;
        if cleaned.rows == 0 {
            return Err(DoctorError::Manifest(ManifestError::NoStudies {
                path: csv.into(),
                rows: self.table.rows.len(),
                summary: cleaned.to_string(),
            }));
        }
        NewFile::write_whole(path, &content).map_err(FileError::write(path))?;
        let folder = |path: &Path| path.parent().unwrap_or(Path::new("")).to_owned();
        if !is_same(&folder(csv), &folder(path)) {
            let config = &self.config;
            let images_are_relative = config.img_root_dir.is_none();
            let texts_are_relative = config.text_from_files && config.text_root_dir.is_none();
            cleaned.image_root = images_are_relative.then(|| folder(csv));
            cleaned.text_root = texts_are_relative.then(|| folder(csv));
        }
        Ok(cleaned)
    }

    fn content(&self, cleaned: &mut Cleaned) -> io::Result<Result<Vec<u8>, ManifestError>> {
        let reader = match RowReader::new(&self.config, &self.table.header) {
            Ok(reader) => reader,
            Err(error) => return Ok(Err(error)),
        };
        let mut table = csv::Writer::from_writer(Vec::new());
        table.write_record(&self.table.header)?;
        for (number, record) in (1..).zip(&self.table.rows) {
            if let Some(kind) = self.removed.get(&number) {
                *cleaned.removed.entry(*kind).or_default() += 1;
                continue;
            }
            cleaned.rows += 1;
            let column = reader.text_column();
            let column = column.filter(|_| !self.config.text_from_files);
            let text = column.and_then(|column| str::from_utf8(&record[column]).ok());
            match text.and_then(repaired) {
                Some(text) => {
                    cleaned.mended_texts += 1;
                    let cells = record.iter().enumerate();
                    table.write_record(cells.map(|(at, cell)| {
                        if Some(at) == column {
                            text.as_bytes()
                        } else {
                            cell
                        }
                    }))?;
                }
                None => table.write_byte_record(record)?,
            }
        }
        let bytes = table.into_inner();
        bytes
            .map(Ok)
            .map_err(|error| io::Error::other(error.to_string()))
    }
}

impl super::Examination<'_> {
    /// Removes rows from a cleaned manifest that have an error of their own.
    pub(super) fn remove_unusable(&mut self) {
        for findings in self.ledger.iter() {
            let is_own_error = matches!(
                findings.kind,
                FindingKind::Unusable(_) | FindingKind::NoSide | FindingKind::BlankImage
            );
            if is_own_error && findings.kind.severity() == Severity::Error {
                let rows = findings.rows.iter();
                self.removed.extend(rows.map(|&row| (row, findings.kind)));
            }
        }
    }
}

/// Whether two paths lead to the same file or folder.
fn is_same(one: &Path, other: &Path) -> bool {
    let canonical = |path: &Path| {
        if path.as_os_str().is_empty() {
            fs::canonicalize(".")
        } else {
            fs::canonicalize(path)
        }
    };
    match (canonical(one), canonical(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

impl fmt::Display for Cleaned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let removed: usize = self.removed.values().sum();
        let path = printable(self.path.display());
        write!(f, "{path}: {} rows, {removed} left out", self.rows)?;
        for (kind, rows) in &self.removed {
            write!(f, "\n  {kind}: {rows}")?;
        }
        if self.mended_texts > 0 {
            write!(f, "\n{} texts mended", self.mended_texts)?;
        }
        if self.texts_in_files > 0 {
            write!(
                f,
                "\n{} texts in files stay as they are",
                self.texts_in_files
            )?;
        }
        if self.has_empty_side {
            write!(f, "\na side of the split stays empty")?;
        }
        Ok(())
    }
}
