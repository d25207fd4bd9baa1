//! The common steps of all preparations: images, split and manifest.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::folder::{Contents, OutFolder};
use super::images::{Written, image_path};
use super::{Omission, Omissions, Prepared, PreparedImages};
use crate::files::{FileError, PassedOver, path_text};
use crate::image::{DECODER_VERSION, DecodeLimits};
use crate::manifest::{ManifestError, Split, SplitConfig, StudyId, SubjectId, held_out_groups};
use crate::prepare::error::PrepareError;
use crate::progress::{Progress, Stage, Steps};

/// Name of the manifest.
const MANIFEST: &str = "pairs.csv";

/// Columns of every manifest, before those of the labels.
const COLUMNS: [&str; 6] = ["image", "text", "subject_id", "study_id", "view", "split"];

/// An image and its report in the original data set.
pub(super) struct Pair {
    pub(super) subject: SubjectId,
    pub(super) study: StudyId,
    /// Path of the image to write, relative to the folder of images and without extension.
    pub(super) name: PathBuf,
    /// Path of the image file, relative to the root; it may not exist.
    pub(super) source: PathBuf,
    /// Whether the image file exists.
    pub(super) exists: bool,
    pub(super) view: String,
    /// DICOM file to read the view from, relative to the root, if no table contains the view.
    pub(super) view_file: Option<PathBuf>,
    pub(super) split: Option<Split>,
    pub(super) text: Arc<str>,
    /// One for each label column.
    pub(super) labels: Arc<[String]>,
}

/// The pairs of the original data set.
pub(super) struct SourcePairs {
    pub(super) pairs: Vec<Pair>,
    pub(super) label_columns: Vec<String>,
    pub(super) reports: usize,
    pub(super) last_paragraphs: usize,
    pub(super) omissions: Omissions,
    /// Files that do not belong to the data set.
    pub(super) passed_over: PassedOver,
}

/// The common steps of a preparation.
pub(super) struct Preparation<'a> {
    pub(super) dataset: &'static str,
    pub(super) root: &'a Path,
    pub(super) out: &'a Path,
    pub(super) images: Option<&'a PreparedImages>,
    /// How to draw a split; `None` keeps the split of the pairs.
    pub(super) split: Option<SplitConfig>,
}

impl Preparation<'_> {
    /// Locks the output folder. This is done first, so that a wrong folder is an early error.
    pub(super) fn open(&self) -> Result<OutFolder, PrepareError> {
        if let Some(images) = self.images {
            images.check()?;
        }
        let contents = Contents {
            dataset: self.dataset.into(),
            longer_side: self.images.map(|images| images.longer_side),
            exif_orientation: self
                .images
                .map_or_else(DecodeLimits::default, |images| images.limits)
                .exif_orientation,
            version: DECODER_VERSION,
        };
        OutFolder::open(self.out, &contents)
    }

    /// Writes the images and the manifest.
    pub(super) fn finish(
        &self,
        folder: &OutFolder,
        source: SourcePairs,
        progress: impl Fn(Progress) + Sync,
    ) -> Result<Prepared, PrepareError> {
        let mut prepared = Prepared {
            manifest: folder.path().join(MANIFEST),
            image_root: self.images.is_none().then(|| self.root.to_owned()),
            reports: source.reports,
            last_paragraphs: source.last_paragraphs,
            omissions: source.omissions,
            passed_over: source.passed_over,
            ..Prepared::default()
        };
        let mut pairs = match self.images {
            Some(images) => {
                self.with_images(images, folder, source.pairs, &mut prepared, progress)?
            }
            None => source.pairs,
        };
        prepared.images_absent = pairs.iter().filter(|pair| !pair.exists).count();
        if pairs.is_empty() {
            return Err(PrepareError::NothingPrepared {
                path: self.root.into(),
                summary: prepared.omissions.to_string(),
            });
        }
        if let Some(config) = &self.split {
            draw_split(&mut pairs, config)?;
        }
        prepared.count(
            pairs
                .iter()
                .map(|pair| (&pair.subject, &pair.study, pair.split)),
        );
        let table = self
            .table(&pairs, &source.label_columns)
            .map_err(FileError::write(&prepared.manifest))?;
        folder.write(Path::new(MANIFEST), &table)?;
        Ok(prepared)
    }

    /// Writes the images; leaves out the pairs whose image cannot be written.
    fn with_images(
        &self,
        images: &PreparedImages,
        folder: &OutFolder,
        pairs: Vec<Pair>,
        prepared: &mut Prepared,
        progress: impl Fn(Progress) + Sync,
    ) -> Result<Vec<Pair>, PrepareError> {
        let steps = Steps::new(Stage::Images, pairs.len(), &progress);
        let written: Vec<Result<Written, (Omission, String)>> = pairs
            .par_iter()
            .map(|pair| {
                let written = self.write_image(images, folder, pair);
                steps.one_more();
                written
            })
            .collect::<Result<_, PrepareError>>()?;
        let mut complete = Vec::with_capacity(pairs.len());
        for (pair, written) in pairs.into_iter().zip(written) {
            match written {
                Ok(Written::Made) => prepared.images_made += 1,
                Ok(Written::Reused) => prepared.images_kept += 1,
                Err((reason, what)) => {
                    prepared.omissions.record(reason, what);
                    continue;
                }
            }
            complete.push(pair);
        }
        Ok(complete)
    }

    /// Writes an image. The outer error ends the preparation, the inner one leaves out the pair.
    fn write_image(
        &self,
        images: &PreparedImages,
        folder: &OutFolder,
        pair: &Pair,
    ) -> Result<Result<Written, (Omission, String)>, PrepareError> {
        if !pair.exists {
            return Ok(Err((Omission::MissingImage, slashed(&pair.source))));
        }
        let source = self.root.join(&pair.source);
        match images.write(&source, folder, &image_path(&pair.name)) {
            Ok(written) => Ok(Ok(written)),
            Err(PrepareError::Image(error)) => {
                Ok(Err((Omission::UnreadableImage, error.to_string())))
            }
            Err(error) => Err(error),
        }
    }

    fn table(&self, pairs: &[Pair], label_columns: &[String]) -> io::Result<Vec<u8>> {
        let mut table = csv::Writer::from_writer(Vec::new());
        let labels = label_columns.iter().map(String::as_str);
        table.write_record(COLUMNS.into_iter().chain(labels))?;
        for pair in pairs {
            let image = match self.images {
                Some(_) => image_path(&pair.name),
                None => pair.source.clone(),
            };
            let image = slashed(&image);
            let cells = [
                image.as_str(),
                &*pair.text,
                &pair.subject.0,
                &pair.study.0,
                &pair.view,
                pair.split.map_or("", Split::name),
            ];
            table.write_record(
                cells
                    .into_iter()
                    .chain(pair.labels.iter().map(String::as_str)),
            )?;
        }
        table
            .into_inner()
            .map_err(|error| io::Error::other(error.to_string()))
    }
}

/// Returns the absolute path of a data set's folder.
pub(super) fn canonical_root(folder: &Path) -> Result<PathBuf, FileError> {
    fs::canonicalize(folder).map_err(FileError::read(folder))
}

/// Writes a path with slashes on every platform.
pub(super) fn slashed(path: &Path) -> String {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(path_text(Path::new(name))),
        _ => None,
    });
    names.collect::<Vec<_>>().join("/")
}

/// Draws a split by patient.
fn draw_split(pairs: &mut [Pair], config: &SplitConfig) -> Result<(), ManifestError> {
    let patients = pairs.iter().map(|pair| pair.subject.0.as_str());
    let held_out = held_out_groups(patients, config)?;
    for pair in pairs {
        pair.split = Some(if held_out.contains(&pair.subject.0) {
            Split::Valid
        } else {
            Split::Train
        });
    }
    Ok(())
}
