//! Each row by itself.

use std::collections::HashMap;
use std::path::PathBuf;

use csv::ByteRecord;
use rayon::prelude::*;

use super::finding::FindingKind;
use super::image_look::hash_of;
use super::views::{other_view, view_column};
use super::{AT_ONCE, Examination, Row, texts};
use crate::image::Fault;
use crate::manifest::{Cells, Report, RowReader, Split, seeded_hash, too_short};
use crate::progress::{Progress, Stage, Steps};

/// A row that was looked at.
struct RowLook {
    row: Row,
    image: Option<PathBuf>,
    complaints: Vec<Complaint>,
}

/// What is wrong with a row, and where.
struct Complaint {
    kind: FindingKind,
    file: PathBuf,
    detail: String,
}

/// Looks at rows.
struct RowExaminer<'a> {
    reader: &'a RowReader<'a>,
    csv: PathBuf,
    min_words: usize,
    seed: u64,
    view: Option<usize>,
}

impl Examination<'_> {
    /// Looks at each row and its text, but not at its image.
    pub(super) fn look_at_rows(&mut self, progress: &(impl Fn(Progress) + Sync)) {
        let manifest = &self.config.manifest;
        let examiner = RowExaminer {
            reader: self.reader,
            csv: manifest.csv_file.clone(),
            min_words: manifest.min_words,
            seed: self.config.split.seed,
            view: view_column(&self.table.header),
        };
        if examiner.view.is_none() {
            let remark =
                "views: no column `view` or `ViewPosition`; only names and DICOM headers were read";
            self.unchecked.push(remark.into());
        }
        let mut images = HashMap::new();
        let steps = Steps::new(Stage::Rows, self.table.rows.len(), progress);
        for records in self.table.rows.chunks(AT_ONCE) {
            let looks: Vec<_> = records
                .par_iter()
                .map(|record| {
                    let look = examiner.look(record);
                    steps.one_more();
                    look
                })
                .collect();
            for look in looks {
                let number = self.rows.len() + 1;
                for Complaint { kind, file, detail } in look.complaints {
                    self.ledger.add(kind, &[number], || (vec![file], detail));
                }
                let image = look.image.map(|path| {
                    let next = images.len() as u32;
                    *images.entry(hash_of(&path)).or_insert(next)
                });
                self.rows.push(Row { image, ..look.row });
            }
        }
    }
}

impl RowExaminer<'_> {
    fn look(&self, record: &ByteRecord) -> RowLook {
        let mut look = RowLook {
            row: Row {
                image: None,
                group: 0,
                text: 0,
                side: None,
                is_read: false,
                is_usable: false,
            },
            image: None,
            complaints: Vec::new(),
        };
        let cells = match self.reader.cells(record) {
            Ok(cells) => cells,
            Err(fault) => {
                look.complain_of(fault, self.csv.clone());
                return look;
            }
        };
        let view = self
            .view
            .map_or("".into(), |column| String::from_utf8_lossy(&record[column]));
        if let Some(detail) = other_view(&view, &cells.image) {
            look.complain(FindingKind::OtherView, cells.image.clone(), detail);
        }
        let has_side = self.side(&cells, &mut look);
        let is_text = self.text(&cells, &mut look);
        look.row.is_read = has_side && is_text;
        look.row.is_usable = look.row.is_read;
        look.image = Some(cells.image);
        look
    }

    /// Reads the word of the split column; whether it is one, or there is none.
    fn side(&self, cells: &Cells, look: &mut RowLook) -> bool {
        if cells.split.trim().is_empty() {
            return true;
        }
        match cells.split.parse::<Split>() {
            Ok(side) => look.row.side = Some(side),
            Err(unknown) => {
                let detail = unknown.to_string();
                look.complain(FindingKind::NoSide, self.csv.clone(), detail);
            }
        }
        look.row.side.is_some()
    }

    /// Looks at the text; whether a run can read it.
    fn text(&self, cells: &Cells, look: &mut RowLook) -> bool {
        let file = self.reader.text_file(cells);
        let text = match self.reader.text(cells) {
            Ok(Some(text)) => text,
            Ok(None) => {
                look.row.group = seeded_hash(self.seed, &self.reader.group_of(cells, ""));
                return true;
            }
            Err(fault) => {
                look.complain_of(fault, file);
                return false;
            }
        };
        for (kind, detail) in texts::complaints(&text) {
            look.complain(kind, file.clone(), detail);
        }
        let words: Vec<_> = text.split_whitespace().collect();
        look.row.text = hash_of(&words);
        look.row.group = seeded_hash(self.seed, &self.reader.group_of(cells, &text));
        let report = Report::new(text, self.min_words);
        let is_long = !report.sentences.is_empty();
        if !is_long {
            let (reason, detail) = too_short(self.min_words);
            let detail = format!("{}, {detail}", texts::excerpt(&report.text));
            look.complain_of((reason, detail), file);
        }
        is_long
    }
}

impl RowLook {
    fn complain(&mut self, kind: FindingKind, file: PathBuf, detail: String) {
        self.complaints.push(Complaint { kind, file, detail });
    }

    fn complain_of(&mut self, (reason, detail): Fault, file: PathBuf) {
        self.complain(FindingKind::Unusable(reason), file, detail);
    }
}
