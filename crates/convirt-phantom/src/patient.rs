//! A patient of the phantom: a build, and one to four studies with files and names.

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

/// A patient and what happened to them.
pub(crate) struct Patient {
    seed: u64,
    index: usize,
    anatomy: Anatomy,
    /// The findings of each study, in the order of time.
    courses: Vec<Vec<Finding>>,
}

/// A study ready to be written; paths are relative to the phantom's folder.
pub(crate) struct StudyFiles {
    pub report: (PathBuf, String),
    pub images: Vec<(PathBuf, Vec<u8>)>,
    /// A row of `pairs.csv` for each image.
    pub rows: Vec<[String; COLUMNS.len()]>,
}

/// Which random numbers are drawn: each purpose has its own, so that none disturbs another.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Build = 0,
    Image = 1,
    Report = 2,
}

impl Patient {
    /// Draws patient `index` of the phantom of `seed`, whatever the number of patients.
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

    /// Draws and writes out all studies, in memory.
    ///
    /// # Errors
    ///
    /// Where an image cannot be encoded.
    pub fn studies(&self, longer_side: u32) -> ImageResult<Vec<StudyFiles>> {
        (0..self.courses.len())
            .map(|study| self.study(study, longer_side))
            .collect()
    }

    fn study(&self, study: usize, longer_side: u32) -> ImageResult<StudyFiles> {
        let findings = &self.courses[study];
        let previous = study
            .checked_sub(1)
            .map(|earlier| self.courses[earlier].as_slice());
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

    /// Every 20 patients three are held out, the second of all among them.
    fn split(&self) -> &'static str {
        match self.index % 20 {
            1 | 8 | 14 => "validate",
            _ => "train",
        }
    }
}

/// The labels in the order of [`COLUMNS`].
fn labels(findings: &[Finding]) -> [bool; 8] {
    let any = |is: fn(&Finding) -> bool| findings.iter().any(is);
    let effusion = |wanted: Side| {
        findings
            .iter()
            .any(|finding| matches!(finding, Finding::Effusion { side, .. } if *side == wanted))
    };
    [
        findings.is_empty(),
        any(|finding| matches!(finding, Finding::Cardiomegaly { .. })),
        effusion(Side::Right),
        effusion(Side::Left),
        any(|finding| matches!(finding, Finding::Consolidation { .. })),
        any(|finding| matches!(finding, Finding::Nodule { .. })),
        any(|finding| matches!(finding, Finding::Pneumothorax { .. })),
        any(Finding::is_device),
    ]
}

/// The random numbers of one purpose: keyed, not mixed, so that no two streams meet.
fn stream(seed: u64, patient: usize, purpose: Purpose, study: usize) -> ChaCha8Rng {
    let mut key = [0; 32];
    let words = [seed, patient as u64, purpose as u64, study as u64];
    for (place, word) in key.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// Spreads numbers over 0–9,999,999 without giving any twice: the factor has no divisor in common
/// with ten million.
fn scatter(index: usize) -> usize {
    index % 10_000_000 * 7_368_787 % 10_000_000
}

/// An image's name as DICOM archives give them: five groups of eight hexadecimal digits.
fn identifier(rng: &mut ChaCha8Rng) -> String {
    let groups: Vec<String> = (0..5)
        .map(|_| format!("{:08x}", rng.random::<u32>()))
        .collect();
    groups.join("-")
}

/// A path as a CSV on every system holds it.
fn cell(path: &Path) -> String {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}
