//! What a preparation made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use super::Omissions;
use crate::files::PassedOver;
use crate::manifest::{Split, StudyId, SubjectId};

/// What a preparation made and what it left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prepared {
    /// The manifest: one row a pair, columns `image`, `text`, `subject_id`, `study_id`, `view`,
    /// `split` and labels.
    pub manifest: PathBuf,
    /// Folder that its image paths start from; `None`: that of the manifest.
    pub image_root: Option<PathBuf>,
    /// Pairs, which is the rows of the manifest.
    pub pairs: usize,
    /// Pairs on each side of the split; those without a side under `None`.
    pub by_split: BTreeMap<Option<Split>, usize>,
    /// Subjects among the pairs.
    pub subjects: usize,
    /// Studies among the pairs, each with one report.
    pub studies: usize,
    /// Reports read.
    pub reports: usize,
    /// Reports of which the last paragraph was taken, for want of findings and impression.
    pub last_paragraphs: usize,
    /// Images written by this run.
    pub images_made: usize,
    /// Images written by an earlier run.
    pub images_kept: usize,
    /// Pairs whose image file is not there, where images were not asked for.
    pub images_absent: usize,
    /// What was left out.
    pub omissions: Omissions,
    /// Files that are neither images nor reports, where a folder was looked through.
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

    /// Returns the keys of a configuration that make a training read the manifest, as
    /// (`dataset.` key, value in YAML).
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

/// What was made and what was left out, for the end of a run.
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
