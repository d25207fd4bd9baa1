//! Images that are the same, or nearly.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::finding::FindingKind;
use super::likeness::{Likeness, near_pairs};
use super::{Examination, ImageFacts, Row};

/// Files that a finding names.
const FILES_NAMED: usize = 3;

/// Rows whose images are equal.
struct EqualImages {
    /// By position, in order.
    rows: Vec<usize>,
    likeness: Likeness,
}

impl Examination<'_> {
    /// Looks for images that are equal or near, each set or pair under the worst that it does.
    pub(super) fn compare_images(&mut self, are_drawn: bool) {
        let sets = self.equal_images();
        for set in &sets {
            self.compare_equal(&set.rows, are_drawn);
        }
        let likenesses: Vec<_> = sets.iter().map(|set| set.likeness).collect();
        near_pairs(&likenesses, |one, other, bits| {
            self.compare_near(&sets[one].rows, &sets[other].rows, bits, are_drawn);
        });
    }

    /// Gathers usable rows by their image, in the order of their first rows. Blank images are all
    /// alike, and found already.
    fn equal_images(&self) -> Vec<EqualImages> {
        let seen = |row: &Row| {
            let facts = self.facts(row)?;
            Some((facts.pixels, facts.likeness?))
        };
        let sets = self.rows_alike(|row| {
            let (pixels, _) = seen(row).filter(|_| row.is_usable)?;
            Some(pixels)
        });
        let sets = sets.into_iter().filter_map(|rows| {
            let (_, likeness) = seen(&self.rows[rows[0]])?;
            Some(EqualImages { rows, likeness })
        });
        sets.collect()
    }

    fn compare_equal(&mut self, rows: &[usize], are_drawn: bool) {
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
        self.give_up(rows, kind, are_drawn);
        let files = self.files(rows);
        self.add(kind, rows, || (files, format!("{what} in {place}")));
    }

    fn compare_near(&mut self, one: &[usize], other: &[usize], bits: u32, are_drawn: bool) {
        // The first of each come first, so that a finding shows both.
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
        self.give_up(&rows, kind, are_drawn);
        let files = self.files(&rows[..2]);
        let detail = format!("differ in {bits} of 256 bits{place}");
        self.add(kind, &rows, || (files, detail));
    }

    /// Leaves copies out of a cleaned manifest, so that none is on two sides.
    fn give_up(&mut self, rows: &[usize], kind: FindingKind, are_drawn: bool) {
        if !are_drawn {
            self.keep_last_side(rows, kind);
            return;
        }
        // With fewer rows the sides are drawn anew, and any two groups may come apart.
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
