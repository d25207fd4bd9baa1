//! The result of an examination.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use super::Examination;
use super::finding::{FindingKind, Findings, Severity};
use crate::files::printable;
use crate::manifest::{ManifestConfig, Split, Table};

/// The size of a data set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataCounts {
    /// Rows of the CSV.
    pub rows: usize,
    /// Usable rows.
    pub usable: usize,
    /// Image files named by the rows.
    pub images: usize,
    /// Groups among the usable rows; `None` without a group column.
    pub groups: Option<usize>,
    /// Distinct texts among the usable rows, ignoring whitespace; `None` without a text column.
    pub texts: Option<usize>,
    /// Usable rows with the most frequent text.
    pub most_frequent_text: usize,
    /// Usable rows on each side of the split, from the split column or drawn.
    pub by_side: BTreeMap<Split, usize>,
}

/// The findings about a data set.
///
/// `Display` shows them as a table. [`DoctorConfig`](super::DoctorConfig) has an example.
#[derive(Debug)]
pub struct Diagnosis {
    pub(super) counts: DataCounts,
    pub(super) findings: Vec<Findings>,
    pub(super) unchecked: Vec<String>,
    pub(super) config: ManifestConfig,
    pub(super) removed: BTreeMap<usize, FindingKind>,
    pub(super) table: Table,
}

impl Diagnosis {
    /// Returns the CSV that was examined.
    pub fn manifest(&self) -> &Path {
        &self.config.csv_file
    }

    /// Returns the size of the data set.
    pub fn counts(&self) -> &DataCounts {
        &self.counts
    }

    /// Returns the findings by kind, the most severe kinds first.
    pub fn findings(&self) -> &[Findings] {
        &self.findings
    }

    /// Returns the findings of one kind.
    pub fn get(&self, kind: FindingKind) -> Option<&Findings> {
        self.findings.iter().find(|findings| findings.kind == kind)
    }

    /// Returns the checks that were not done, with reasons.
    pub fn unchecked(&self) -> &[String] {
        &self.unchecked
    }

    /// Counts the findings of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        let findings = self.findings.iter();
        let of_severity = findings.filter(|findings| findings.kind.severity() == severity);
        of_severity.map(|findings| findings.count).sum()
    }
}

impl Examination<'_> {
    pub(super) fn counts(&self) -> DataCounts {
        let usable = || self.rows.iter().filter(|row| row.is_usable);
        let groups: BTreeSet<_> = usable().map(|row| row.group).collect();
        let (mut texts, mut by_side) = (BTreeMap::new(), BTreeMap::new());
        for row in usable() {
            *texts.entry(row.text).or_default() += 1;
            if let Some(side) = row.side {
                *by_side.entry(side).or_default() += 1;
            }
        }
        DataCounts {
            rows: self.rows.len(),
            usable: usable().count(),
            images: self.image_facts.len(),
            groups: self.config.manifest.group.as_ref().map(|_| groups.len()),
            texts: self.config.manifest.text.as_ref().map(|_| texts.len()),
            most_frequent_text: texts.into_values().max().unwrap_or(0),
            by_side,
        }
    }
}

impl fmt::Display for DataCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rows,
            usable,
            images,
            ..
        } = self;
        write!(f, "{rows} rows, {usable} usable; {images} images")?;
        if let Some(groups) = self.groups {
            write!(f, ", {groups} groups")?;
        }
        if let Some(texts) = self.texts {
            let repeats = self.most_frequent_text;
            write!(
                f,
                ", {texts} distinct texts, the most frequent {repeats} times"
            )?;
        }
        for (i, (side, rows)) in self.by_side.iter().enumerate() {
            let before = if i == 0 { "; " } else { ", " };
            write!(f, "{before}{side} {rows}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manifest = printable(self.manifest().display());
        writeln!(f, "{manifest}: {}", self.counts)?;
        let names: Vec<_> = self.findings.iter().map(|it| it.kind.to_string()).collect();
        let width = names.iter().map(|name| name.chars().count()).max();
        let width = width.unwrap_or(0);
        for (findings, name) in self.findings.iter().zip(&names) {
            let rows = findings.rows.len();
            let share = 100.0 * rows as f64 / self.counts.rows.max(1) as f64;
            let severity = findings.kind.severity();
            write!(
                f,
                "\n{severity:<8} {name:<width$} {rows:>7} rows {share:>5.1} %"
            )?;
            match (&findings.remark[..], findings.examples.first()) {
                ("", Some(first)) => write!(f, "   {first}")?,
                (remark, _) => write!(f, "   {}", printable(remark))?,
            }
        }
        for unchecked in &self.unchecked {
            write!(f, "\nnot checked: {}", printable(unchecked))?;
        }
        let counts = Severity::ALL.map(|severity| severity.counted(self.count(severity)));
        write!(f, "\n\n{}", counts.join(", "))
    }
}
