//! The summary of a preparation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use super::Omissions;
use crate::files::PassedOver;
use crate::manifest::{Split, StudyId, SubjectId};

/// The result of a preparation, with what was left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prepared {
    /// The manifest, with one row for each pair and the columns `image`, `text`, `subject_id`,
    /// `study_id`, `view`, `split` and labels.
    pub manifest: PathBuf,
    /// Folder that its image paths are relative to; `None`: the folder of the manifest.
    pub image_root: Option<PathBuf>,
    /// Number of pairs, the rows of the manifest.
    pub pairs: usize,
    /// Number of pairs on each side of the split; `None` for pairs without a side.
    pub by_split: BTreeMap<Option<Split>, usize>,
    /// Number of subjects.
    pub subjects: usize,
    /// Number of studies, each with one report.
    pub studies: usize,
    /// Number of reports read.
    pub reports: usize,
    /// Number of reports without findings and impression, whose last paragraph was used.
    pub last_paragraphs: usize,
    /// Number of images written by this run.
    pub images_made: usize,
    /// Number of images kept, which an earlier run made from the same files.
    pub images_kept: usize,
    /// Number of pairs whose image file does not exist, if images are not written.
    pub images_absent: usize,
    /// Images and reports that were left out.
    pub omissions: Omissions,
    /// Files that are neither images nor reports, if a folder was searched.
    pub passed_over: PassedOver,
}

impl Prepared {
    pub(super) fn count<'a>(
        &mut self,
        pairs: impl Iterator<Item = (&'a SubjectId, &'a StudyId, Option<Split>)>,
    ) {
        let (mut subjects, mut studies) = (BTreeSet::new(), BTreeSet::new());
        for (subject, study, split) in pairs {
            self.pairs += 1;
            *self.by_split.entry(split).or_default() += 1;
            subjects.insert(subject);
            studies.insert(study);
        }
        (self.subjects, self.studies) = (subjects.len(), studies.len());
    }

    /// Returns the configuration for training on the manifest: keys of the `dataset` section with
    /// their values in YAML.
    pub fn config_keys(&self) -> Vec<(&'static str, String)> {
        let quoted =
            |path: &PathBuf| format!("'{}'", path.display().to_string().replace('\'', "''"));
        let root = self.image_root.as_ref();
        vec![
            ("csv_file", quoted(&self.manifest)),
            ("phantom", "null".into()),
            ("img_root_dir", root.map_or_else(|| "null".into(), quoted)),
            ("text_from_files", "False".into()),
            ("img_path_col", "image".into()),
            ("text_col", "text".into()),
            ("group_col", "subject_id".into()),
            ("split_col", "split".into()),
        ]
    }
}

/// A summary for the end of a run.
impl fmt::Display for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pairs,
            studies,
            subjects,
            reports,
            ..
        } = self;
        writeln!(
            f,
            "{}: {pairs} pairs of {studies} studies and {subjects} subjects, {reports} reports read",
            self.manifest.display()
        )?;
        for (split, pairs) in &self.by_split {
            let split = split.map_or("without a split", Split::name);
            writeln!(f, "  {split}: {pairs}")?;
        }
        if self.last_paragraphs > 0 {
            writeln!(
                f,
                "{} reports have neither findings nor impression: their last paragraph was taken",
                self.last_paragraphs
            )?;
        }
        if self.image_root.is_none() {
            writeln!(
                f,
                "images: {} made, {} of an earlier run kept",
                self.images_made, self.images_kept
            )?;
        } else if self.images_absent > 0 {
            writeln!(
                f,
                "images: {} of the pairs' are not there",
                self.images_absent
            )?;
        }
        if self.passed_over.total() > 0 {
            writeln!(f, "{}", self.passed_over)?;
        }
        write!(f, "{}", self.omissions)
    }
}
