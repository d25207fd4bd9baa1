//! A patient of the phantom: an anatomy, and one to four studies with their files.

use std::path::{Path, PathBuf};

use image::ImageResult;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::report;
use crate::chest::{Finding, Side, course, draws};
use crate::drawing::{Anatomy, Exposure, FileKind};

/// The columns of `pairs.csv`.
pub(crate) const COLUMNS: [&str; 14] = [
    "image",
    "text",
    "subject_id",
    "study_id",
    "view",
    "split",
    "no_finding",
    "cardiomegaly",
    "effusion_right",
    "effusion_left",
    "consolidation",
    "nodule",
    "pneumothorax",
    "support_devices",
];

/// A patient with the findings of all studies.
pub(crate) struct Patient {
    seed: u64,
    index: usize,
    anatomy: Anatomy,
    /// The findings of each study, in chronological order.
    courses: Vec<Vec<Finding>>,
}

/// The files of a study, in memory; paths are relative to the phantom's folder.
pub(crate) struct StudyFiles {
    pub report: (PathBuf, String),
    pub images: Vec<(PathBuf, Vec<u8>)>,
    /// A row of `pairs.csv` for each image.
    pub rows: Vec<[String; COLUMNS.len()]>,
}

/// The purpose of random numbers. Each has its own stream, so that a change of one does not affect
/// the others.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Build = 0,
    Image = 1,
    Report = 2,
}

impl Patient {
    /// Draws patient `index` of the phantom with `seed`; it does not depend on the number of
    /// patients.
    pub fn new(seed: u64, index: usize) -> Self {
        let mut rng = stream(seed, index, Purpose::Build, 0);
        let anatomy = Anatomy::sample(&mut rng);
        let studies = [1, 1, 2, 2, 2, 3, 3, 4][rng.random_range(0..8)];
        let mut courses = vec![draws::sample(&mut rng)];
        while courses.len() < studies {
            let next = course::next_study(&courses[courses.len() - 1], &mut rng);
            courses.push(next);
        }
        Self {
            seed,
            index,
            anatomy,
            courses,
        }
    }

    /// Draws all studies and encodes their files in memory.
    ///
    /// # Errors
    ///
    /// When an image cannot be encoded.
    pub fn studies(&self, longer_side: u32) -> ImageResult<Vec<StudyFiles>> {
        (0..self.courses.len())
            .map(|study| self.study(study, longer_side))
            .collect()
    }

    fn study(&self, study: usize, longer_side: u32) -> ImageResult<StudyFiles> {
        let findings = &self.courses[study];
        let previous = study
            .checked_sub(1)
            .map(|previous| self.courses[previous].as_slice());
        let mut words = stream(self.seed, self.index, Purpose::Report, study);
        let text = report::write(findings, previous, &mut words);

        let mut rng = stream(self.seed, self.index, Purpose::Image, study);
        let subject = format!("{}", 10_000_000 + scatter(self.index));
        let study_id = format!("{}", 50_000_000 + scatter(4 * self.index + study));
        let folder = Path::new(&format!("p{}", &subject[..2])).join(format!("p{subject}"));
        let report = Path::new("reports")
            .join(&folder)
            .join(format!("s{study_id}.txt"));
        let bedridden = findings
            .iter()
            .any(|finding| matches!(finding, Finding::EndotrachealTube { .. }));
        let view = if bedridden || rng.random_bool(0.25) {
            "AP"
        } else {
            "PA"
        };

        let mut files = StudyFiles {
            report: (report, text),
            images: Vec::new(),
            rows: Vec::new(),
        };
        let count = if rng.random_bool(0.08) { 2 } else { 1 };
        for _ in 0..count {
            let grey =
                Exposure::sample(longer_side, &mut rng).take(&self.anatomy, findings, &mut rng);
            let kind = FileKind::sample(&mut rng);
            let name = format!("{}.{}", identifier(&mut rng), kind.extension());
            let path = Path::new("images")
                .join(&folder)
                .join(format!("s{study_id}"))
                .join(name);
            let facts = [
                cell(&path),
                cell(&files.report.0),
                subject.clone(),
                study_id.clone(),
                view.to_string(),
                self.split().to_string(),
            ];
            let labels = labels(findings).map(|label| u8::from(label).to_string());
            let mut cells = facts.into_iter().chain(labels);
            files
                .rows
                .push(std::array::from_fn(|_| cells.next().unwrap_or_default()));
            files.images.push((path, kind.encode(&grey)?));
        }
        Ok(files)
    }

    /// Returns the split: three of every 20 patients are held out, including the second patient.
    fn split(&self) -> &'static str {
        match self.index % 20 {
            1 | 8 | 14 => "validate",
            _ => "train",
        }
    }
}

/// Returns the labels in the order of [`COLUMNS`].
fn labels(findings: &[Finding]) -> [bool; 8] {
    let any = |is_kind: fn(&Finding) -> bool| findings.iter().any(is_kind);
    let effusion_on = |label_side: Side| {
        findings
            .iter()
            .any(|finding| matches!(finding, Finding::Effusion { side, .. } if *side == label_side))
    };
    [
        findings.is_empty(),
        any(|finding| matches!(finding, Finding::Cardiomegaly { .. })),
        effusion_on(Side::Right),
        effusion_on(Side::Left),
        any(|finding| matches!(finding, Finding::Consolidation { .. })),
        any(|finding| matches!(finding, Finding::Nodule { .. })),
        any(|finding| matches!(finding, Finding::Pneumothorax { .. })),
        any(Finding::is_device),
    ]
}

/// Returns the random numbers of one purpose. The four numbers are the generator's key, so that all
/// streams differ.
fn stream(seed: u64, patient: usize, purpose: Purpose, study: usize) -> ChaCha8Rng {
    let mut key = [0; 32];
    let words = [seed, patient as u64, purpose as u64, study as u64];
    for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// Permutes the numbers 0–9,999,999: the factor has no divisor in common with ten million.
fn scatter(index: usize) -> usize {
    index % 10_000_000 * 7_368_787 % 10_000_000
}

/// Returns an image name in the style of MIMIC-CXR: five groups of eight hexadecimal digits.
fn identifier(rng: &mut ChaCha8Rng) -> String {
    let groups: Vec<String> = (0..5)
        .map(|_| format!("{:08x}", rng.random::<u32>()))
        .collect();
    groups.join("-")
}

/// Returns a path with `/` as its separator, the same on every system.
fn cell(path: &Path) -> String {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}
