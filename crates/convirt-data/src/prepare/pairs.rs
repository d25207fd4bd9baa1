//! From pairs found to the manifest written.
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

/// An image and its report, as the data set has them.
pub(super) struct Pair {
    pub(super) subject: SubjectId,
    pub(super) study: StudyId,
    /// Path of the image to be written, below the folder of images and without an ending.
    pub(super) name: PathBuf,
    /// Image file, from the root; where it should be if it is not there.
    pub(super) source: PathBuf,
    pub(super) is_there: bool,
    pub(super) view: String,
    /// DICOM file that tells the view, from the root, where no table does.
    pub(super) view_file: Option<PathBuf>,
    pub(super) split: Option<Split>,
    pub(super) text: Arc<str>,
    /// One for each label column.
    pub(super) labels: Arc<[String]>,
}

/// What was found in a data set.
pub(super) struct Found {
    pub(super) pairs: Vec<Pair>,
    pub(super) label_columns: Vec<String>,
    pub(super) reports: usize,
    pub(super) last_paragraphs: usize,
    pub(super) omissions: Omissions,
    /// Files that are nothing of the data set.
    pub(super) passed_over: PassedOver,
}

/// What is done with it, whatever the data set.
pub(super) struct Job<'a> {
    pub(super) dataset: &'static str,
    pub(super) root: &'a Path,
    pub(super) out: &'a Path,
    pub(super) images: Option<&'a PreparedImages>,
    /// Draws the split; `None` keeps that of the pairs.
    pub(super) split: Option<SplitConfig>,
}

impl Job<'_> {
    /// Takes hold of the folder, so that a wrong one is an error before the work and not after.
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

    /// Writes images and manifest.
    pub(super) fn finish(
        &self,
        folder: &OutFolder,
        found: Found,
        progress: impl Fn(Progress) + Sync,
    ) -> Result<Prepared, PrepareError> {
        let mut prepared = Prepared {
            manifest: folder.path().join(MANIFEST),
            image_root: self.images.is_none().then(|| self.root.to_owned()),
            reports: found.reports,
            last_paragraphs: found.last_paragraphs,
            omissions: found.omissions,
            passed_over: found.passed_over,
            ..Prepared::default()
        };
        let mut pairs = match self.images {
            Some(images) => {
                self.with_images(images, folder, found.pairs, &mut prepared, progress)?
            }
            None => found.pairs,
        };
        prepared.images_absent = pairs.iter().filter(|pair| !pair.is_there).count();
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
            .table(&pairs, &found.label_columns)
            .map_err(FileError::write(&prepared.manifest))?;
        folder.write(Path::new(MANIFEST), &table)?;
        Ok(prepared)
    }

    /// Writes the images and leaves out the pairs whose image cannot be.
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
        let mut kept = Vec::with_capacity(pairs.len());
        for (pair, written) in pairs.into_iter().zip(written) {
            match written {
                Ok(Written::Made) => prepared.images_made += 1,
                Ok(Written::Kept) => prepared.images_kept += 1,
                Err((reason, what)) => {
                    prepared.omissions.record(reason, what);
                    continue;
                }
            }
            kept.push(pair);
        }
        Ok(kept)
    }

    /// Writes an image; the outer error ends the preparation, the inner one leaves out the pair.
    fn write_image(
        &self,
        images: &PreparedImages,
        folder: &OutFolder,
        pair: &Pair,
    ) -> Result<Result<Written, (Omission, String)>, PrepareError> {
        if !pair.is_there {
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

/// The folder of a data set, by its whole path.
pub(super) fn root_of(folder: &Path) -> Result<PathBuf, FileError> {
    fs::canonicalize(folder).map_err(FileError::read(folder))
}

/// Writes a path as a manifest has it on every system.
pub(super) fn slashed(path: &Path) -> String {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(path_text(Path::new(name))),
        _ => None,
    });
    names.collect::<Vec<_>>().join("/")
}

/// Divides the pairs by patient.
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
