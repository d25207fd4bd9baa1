//! The split: its empty sides, the drawing of validation, and groups and texts on several sides.

use std::collections::BTreeSet;
use std::fmt;

use super::finding::{FindingKind, Problem};
use super::texts::excerpt;
use super::{Examination, Row};
use crate::manifest::{
    ManifestError, Split, check_equal_texts, held_out_in_sequence, joined_groups,
    small_validation_warning,
};

/// A set of sides of a split, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sides(u8);

impl Sides {
    const ALL: [Split; 3] = [Split::Train, Split::Valid, Split::Test];

    /// Collects the sides of rows.
    pub(super) fn from_rows<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Self {
        let sides = rows.into_iter().filter_map(|row| row.side);
        Self(sides.fold(0, |bits, side| bits | 1 << side as u8))
    }

    pub(super) fn are_several(self) -> bool {
        self.0.count_ones() > 1
    }

    /// Returns the last side: test before validation before training.
    pub(super) fn last(self) -> Option<Split> {
        self.iter().last()
    }

    fn iter(self) -> impl Iterator<Item = Split> {
        let is_there = move |side: &Split| self.0 & 1 << *side as u8 != 0;
        Self::ALL.into_iter().filter(is_there)
    }
}

impl fmt::Display for Sides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Split::name).collect();
        f.write_str(&names.join(" and "))
    }
}

impl Examination<'_> {
    /// Checks the columns of the split and of the groups: gaps in the split, and groups on several
    /// sides.
    pub(super) fn check_columns(&mut self) {
        let csv = &self.config.manifest.csv_file;
        for remark in &self.config.column_remarks {
            let problem = Problem::new(FindingKind::UnusedColumn, remark);
            self.ledger.add(&[], problem, || vec![csv.clone()]);
        }
        if self.given_sides().last().is_some() {
            let blank = (1..).zip(&self.rows);
            let blank = blank.filter(|(_, row)| row.is_read && row.side.is_none());
            for number in blank.map(|(number, _)| number) {
                let detail = "an empty cell, while other rows have a side";
                let problem = Problem::new(FindingKind::NoSide, detail);
                self.ledger.add(&[number], problem, || vec![csv.clone()]);
            }
        }
        let Some(column) = &self.config.manifest.group else {
            let problem = Problem::new(FindingKind::NoGroups, "no group_col");
            self.ledger.add(&[], problem, || vec![csv.clone()]);
            return;
        };
        for rows in self.on_several_sides(|row| row.group) {
            let detail = format!("one value of `{column}` in {}", self.sides(&rows));
            self.keep_last_side(&rows, FindingKind::LeakedGroup);
            let problem = Problem::new(FindingKind::LeakedGroup, detail);
            let problem = problem.with_extent(rows.len() as f64);
            self.add(&rows, problem, || vec![csv.clone()]);
        }
    }

    /// Draws validation as [`split`](crate::split) does, unless the split column gives it; returns
    /// whether it was drawn.
    pub(super) fn draw_valid(&mut self) -> Result<bool, ManifestError> {
        let given: Vec<_> = self.given_sides().iter().collect();
        let missing = match given[..] {
            [] | [Split::Train, _, ..] => None,
            [Split::Train] => Some(Split::Valid),
            _ => Some(Split::Train),
        };
        if let Some(side) = missing {
            self.add_empty_side(format!("no row that can be used is marked as {side}"));
        }
        if missing.is_some() || given.contains(&Split::Valid) {
            return Ok(false);
        }
        // Rows without a side where no row has one, and else the training rows.
        let source = given.first().copied();
        let is_drawn = |row: &Row| row.is_read && row.side == source;
        if self.reader.groups_texts() {
            let drawn = self.rows.iter_mut().filter(|row| is_drawn(row));
            drawn.for_each(|row| row.group = row.text);
        }
        // Images are compared by content; for undecodable ones, only the path is known.
        let image = |row: &Row| {
            let number = row.image?;
            let facts = self.image_facts.get(number as usize)?.as_ref();
            Some(facts.map_or((u64::from(number), false), |facts| (facts.bytes, true)))
        };
        let drawn = self.rows.iter().filter(|row| is_drawn(row));
        let groups = joined_groups(drawn.map(|row| (row.group, image(row))));
        match held_out_in_sequence(groups.iter().copied(), self.config.split.valid_size) {
            Ok(held_out) => {
                let drawn = self.rows.iter_mut().filter(|row| is_drawn(row));
                for (row, group) in drawn.zip(groups) {
                    let is_held_out = held_out.contains(&group);
                    row.side = Some(if is_held_out {
                        Split::Valid
                    } else {
                        Split::Train
                    });
                }
            }
            Err(error @ ManifestError::TooFewGroups { .. }) => {
                self.add_empty_side(error.to_string());
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Returns the sides of the rows that can be read.
    fn given_sides(&self) -> Sides {
        Sides::from_rows(self.rows.iter().filter(|row| row.is_read))
    }

    fn add_empty_side(&mut self, detail: String) {
        let csv = &self.config.manifest.csv_file;
        let problem = Problem::new(FindingKind::EmptySide, detail);
        self.ledger.add(&[], problem, || vec![csv.clone()]);
    }

    /// Finds texts on several sides.
    pub(super) fn compare_texts(&mut self) {
        if self.config.manifest.text.is_none() {
            return;
        }
        let kind = FindingKind::LeakedText;
        let leaked = self.on_several_sides(|row| row.text);
        let mut known = 0;
        for rows in &leaked {
            let held_out = rows.iter().filter(|&&row| self.is_held_out(row)).count();
            known += held_out;
            let (trained, text) = (rows.len() - held_out, self.text(rows[0]));
            let file = self
                .cells(rows[0])
                .map(|cells| self.reader.text_file(&cells));
            let text = text.as_deref().map_or_else(|_| String::new(), excerpt);
            let detail = format!("{text}, {trained} in training, {held_out} held out");
            let problem = Problem::new(kind, detail).with_extent(rows.len() as f64);
            self.add(rows, problem, || file.into_iter().collect());
        }
        if known > 0 {
            let held_out = (0..self.rows.len())
                .filter(|&row| self.is_held_out(row))
                .count();
            let share = 100.0 * known as f64 / held_out as f64;
            let remark = format!("{known} of {held_out} held-out rows ({share:.1} %) share theirs");
            self.ledger.remark(kind, remark);
        }
    }

    /// Checks that training texts differ and that the validation set is large enough.
    pub(super) fn check_contrast(&mut self) {
        let csv = &self.config.manifest.csv_file;
        let on = |side| {
            let rows = self.rows.iter();
            rows.filter(move |row| row.is_usable && row.side == Some(side))
        };
        let trained = on(Split::Train)
            .map(|row| row.text)
            .collect::<BTreeSet<_>>();
        if self.config.manifest.text.is_some() && trained.len() == 1 {
            let rows = on(Split::Train).count();
            if let Err(error) = check_equal_texts(rows) {
                let file = vec![csv.clone()];
                let problem = Problem::new(FindingKind::EqualTexts, error.to_string());
                self.ledger.add(&[], problem, || file);
            }
        }
        let valid = on(Split::Valid).count();
        if let Some(detail) = small_validation_warning(valid, self.config.batch_size) {
            let file = vec![csv.clone()];
            let problem = Problem::new(FindingKind::SmallValidation, detail);
            self.ledger.add(&[], problem, || file);
        }
    }

    fn is_held_out(&self, row: usize) -> bool {
        let row = &self.rows[row];
        row.is_usable && matches!(row.side, Some(Split::Valid | Split::Test))
    }

    /// Groups usable rows by key and returns the groups that are on several sides.
    fn on_several_sides(&self, key: impl Fn(&Row) -> u64) -> Vec<Vec<usize>> {
        let mut sets = self.rows_by_key(|row| row.is_usable.then(|| key(row)));
        sets.retain(|rows| self.sides(rows).are_several());
        sets
    }

    pub(super) fn sides(&self, rows: &[usize]) -> Sides {
        Sides::from_rows(rows.iter().map(|&row| &self.rows[row]))
    }

    /// Removes the rows that are not on the last side from a cleaned manifest.
    pub(super) fn keep_last_side(&mut self, rows: &[usize], kind: FindingKind) {
        let last = self.sides(rows).last();
        let is_removed = |side: Option<Split>| side.is_some() && side != last;
        let removed = rows.iter().filter(|&&row| is_removed(self.rows[row].side));
        for row in removed {
            self.removed.entry(row + 1).or_insert(kind);
        }
    }
}
