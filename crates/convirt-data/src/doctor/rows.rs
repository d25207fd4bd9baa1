//! Checks of a single row and its text.

use std::collections::HashMap;
use std::path::PathBuf;

use csv::ByteRecord;
use rayon::prelude::*;

use super::finding::{FindingKind, Problem};
use super::image_check::hash_of;
use super::views::{other_view, view_column};
use super::{CHUNK_SIZE, Examination, Row, texts};
use crate::image::Fault;
use crate::manifest::{Cells, Report, RowReader, Split, seeded_hash, text_group, too_short};
use crate::progress::{Progress, Stage, Steps};

/// The result of checking a row.
struct RowCheck {
    row: Row,
    image: Option<PathBuf>,
    /// Its problems, each with the file that has it.
    problems: Vec<(PathBuf, Problem)>,
}

/// Checks rows.
struct RowChecker<'a> {
    reader: &'a RowReader<'a>,
    csv: PathBuf,
    min_words: usize,
    seed: u64,
    view: Option<usize>,
}

impl Examination<'_> {
    /// Checks each row and its text, but not its image.
    pub(super) fn check_rows(&mut self, progress: &(impl Fn(Progress) + Sync)) {
        let manifest = &self.config.manifest;
        let checker = RowChecker {
            reader: self.reader,
            csv: manifest.csv_file.clone(),
            min_words: manifest.min_words,
            seed: self.config.split.seed,
            view: view_column(&self.table.header),
        };
        if checker.view.is_none() {
            let remark =
                "views: no column `view` or `ViewPosition`; only names and DICOM headers were read";
            self.unchecked.push(remark.into());
        }
        let mut images = HashMap::new();
        let steps = Steps::new(Stage::Rows, self.table.rows.len(), progress);
        for records in self.table.rows.chunks(CHUNK_SIZE) {
            let checks: Vec<_> = records
                .par_iter()
                .map(|record| {
                    let check = checker.check(record);
                    steps.one_more();
                    check
                })
                .collect();
            for check in checks {
                let number = self.rows.len() + 1;
                for (file, problem) in check.problems {
                    self.ledger.add(&[number], problem, || vec![file]);
                }
                let image = check.image.map(|path| {
                    let next = images.len() as u32;
                    *images.entry(hash_of(&path)).or_insert(next)
                });
                self.rows.push(Row { image, ..check.row });
            }
        }
    }
}

impl RowChecker<'_> {
    fn check(&self, record: &ByteRecord) -> RowCheck {
        let mut check = RowCheck {
            row: Row {
                image: None,
                group: 0,
                text: 0,
                side: None,
                is_read: false,
                is_usable: false,
            },
            image: None,
            problems: Vec::new(),
        };
        let cells = match self.reader.cells(record) {
            Ok(cells) => cells,
            Err(fault) => {
                check.add_fault(fault, self.csv.clone());
                return check;
            }
        };
        let view = self
            .view
            .map_or("".into(), |column| String::from_utf8_lossy(&record[column]));
        if let Some(detail) = other_view(&view, &cells.image) {
            let problem = Problem::new(FindingKind::OtherView, detail);
            check.problems.push((cells.image.clone(), problem));
        }
        check.row.group = seeded_hash(self.seed, &self.reader.group_of(&cells));
        let has_side = self.side(&cells, &mut check);
        let is_text = self.text(&cells, &mut check);
        check.row.is_read = has_side && is_text;
        check.row.is_usable = check.row.is_read;
        check.image = Some(cells.image);
        check
    }

    /// Reads the cell of the split column; returns whether it is valid or empty.
    fn side(&self, cells: &Cells, check: &mut RowCheck) -> bool {
        if cells.split.trim().is_empty() {
            return true;
        }
        match cells.split.parse::<Split>() {
            Ok(side) => check.row.side = Some(side),
            Err(unknown) => {
                let problem = Problem::new(FindingKind::NoSide, unknown.to_string());
                check.problems.push((self.csv.clone(), problem));
            }
        }
        check.row.side.is_some()
    }

    /// Checks the text; returns whether it is usable.
    fn text(&self, cells: &Cells, check: &mut RowCheck) -> bool {
        let file = self.reader.text_file(cells);
        let text = match self.reader.text(cells) {
            Ok(Some(text)) => text,
            Ok(None) => return true,
            Err(fault) => {
                check.add_fault(fault, file);
                return false;
            }
        };
        let problems = texts::problems(&text).into_iter();
        let problems = problems.map(|problem| (file.clone(), problem));
        check.problems.extend(problems);
        check.row.text = seeded_hash(self.seed, &text_group(&text));
        let report = Report::new(text, self.min_words);
        let is_long = !report.sentences.is_empty();
        if !is_long {
            let (reason, detail) = too_short(self.min_words);
            let detail = format!("{}, {detail}", texts::excerpt(&report.text));
            check.add_fault((reason, detail), file);
        }
        is_long
    }
}

impl RowCheck {
    fn add_fault(&mut self, (reason, detail): Fault, file: PathBuf) {
        let problem = Problem::new(FindingKind::Unusable(reason), detail);
        self.problems.push((file, problem));
    }
}
