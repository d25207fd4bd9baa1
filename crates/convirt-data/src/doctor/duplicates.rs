//! Detection of duplicate and near-duplicate images.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::finding::{FindingKind, Problem};
use super::image_check::{PerceptualHash, near_pairs};
use super::{Examination, ImageFacts, Row};
use crate::manifest::Split;

/// Files named in a finding.
const FILES_NAMED: usize = 3;

/// Rows with equal images.
struct EqualImages {
    /// Positions of the rows, in order.
    rows: Vec<usize>,
    hash: PerceptualHash,
}

impl Examination<'_> {
    /// Adds a finding for each set of equal images and each near-duplicate pair, of the most severe
    /// kind that applies.
    pub(super) fn compare_images(&mut self, is_drawn: bool) {
        let sets = self.equal_images();
        for set in &sets {
            self.compare_equal(&set.rows, is_drawn);
        }
        let hashes: Vec<_> = sets.iter().map(|set| set.hash).collect();
        near_pairs(&hashes, |one, other, bits| {
            self.compare_near(&sets[one].rows, &sets[other].rows, bits, is_drawn);
        });
    }

    /// Groups usable rows by equal image, in the order of their first rows.
    ///
    /// Blank images are excluded: they are all similar, and a finding of their own.
    fn equal_images(&self) -> Vec<EqualImages> {
        let key = |row: &Row| {
            let facts = self.facts(row)?;
            Some((facts.pixels, facts.perceptual_hash?))
        };
        let sets = self.rows_by_key(|row| {
            let (pixels, _) = key(row).filter(|_| row.is_usable)?;
            Some(pixels)
        });
        let sets = sets.into_iter().filter_map(|rows| {
            let (_, hash) = key(&self.rows[rows[0]])?;
            Some(EqualImages { rows, hash })
        });
        sets.collect()
    }

    fn compare_equal(&mut self, rows: &[usize], is_drawn: bool) {
        if rows.len() == 1 {
            return;
        }
        let [files, bytes, groups, texts] = [
            self.distinct(rows, |row| row.image.map_or(0, u64::from)),
            self.distinct(rows, |row| self.facts(row).map_or(0, |facts| facts.bytes)),
            self.distinct(rows, |row| row.group),
            self.distinct(rows, |row| row.text),
        ];
        let sides = self.sides(rows);
        let has_groups = self.config.manifest.group.is_some();
        let (kind, place) = if sides.are_several() {
            (FindingKind::LeakedImage, sides.to_string())
        } else if groups > 1 && (files > 1 || has_groups) {
            (FindingKind::RepeatedImage, format!("{groups} groups"))
        } else if files > 1 {
            (FindingKind::RepeatedInGroup, format!("{} rows", rows.len()))
        } else if texts > 1 {
            (
                FindingKind::ConflictingTexts,
                format!("rows of {texts} texts"),
            )
        } else {
            (FindingKind::RepeatedPair, format!("{} rows", rows.len()))
        };
        let what = match (files, bytes) {
            (1, _) => "one file".into(),
            (_, 1) => format!("{files} files of equal bytes"),
            _ => format!("{files} files of equal pixels"),
        };
        self.remove_copies(rows, kind, is_drawn);
        let files = self.files(rows);
        let problem = Problem::new(kind, format!("{what} in {place}"));
        self.add(rows, problem.with_extent(rows.len() as f64), || files);
    }

    fn compare_near(&mut self, one: &[usize], other: &[usize], bits: u32, is_drawn: bool) {
        // The first row of each comes first, so that the finding shows both images.
        let mut rows = vec![one[0], other[0]];
        rows.extend(one[1..].iter().chain(&other[1..]));
        let sides = self.sides(&rows);
        let (kind, place) = if sides.are_several() {
            (FindingKind::LeakedNearDuplicate, format!(", in {sides}"))
        } else if self.distinct(&rows, |row| row.group) > 1 {
            (FindingKind::SimilarImage, String::new())
        } else {
            (FindingKind::SimilarInGroup, String::new())
        };
        self.remove_copies(&rows, kind, is_drawn);
        let files = self.files(&rows[..2]);
        let detail = format!("differ in {bits} of 256 bits{place}");
        // The more alike, the worse.
        let problem = Problem::new(kind, detail).with_extent(-f64::from(bits));
        self.add(&rows, problem, || files);
    }

    /// Removes copies from a cleaned manifest, so that none is on two sides.
    fn remove_copies(&mut self, rows: &[usize], kind: FindingKind, is_drawn: bool) {
        if !is_drawn || self.sides(rows).last() == Some(Split::Test) {
            self.keep_last_side(rows, kind);
            return;
        }
        // Validation is drawn again from the remaining rows, which may separate any two groups.
        let first = rows.iter().min().map(|&row| self.rows[row].group);
        let others = rows
            .iter()
            .filter(|&&row| Some(self.rows[row].group) != first);
        for row in others {
            self.removed.entry(row + 1).or_insert(kind);
        }
    }

    fn facts(&self, row: &Row) -> Option<ImageFacts> {
        self.image_facts[row.image? as usize]
    }

    fn distinct(&self, rows: &[usize], key: impl Fn(&Row) -> u64) -> usize {
        let keys: BTreeSet<_> = rows.iter().map(|&row| key(&self.rows[row])).collect();
        keys.len()
    }

    fn files(&self, rows: &[usize]) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for cells in rows.iter().filter_map(|&row| self.cells(row).ok()) {
            if files.len() < FILES_NAMED && !files.contains(&cells.image) {
                files.push(cells.image);
            }
        }
        files
    }
}
