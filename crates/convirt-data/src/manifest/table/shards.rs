//! WebDataset shards as a table: tar archives in which the files of a sample have one name with
//! several endings ([the format](https://github.com/webdataset/webdataset)).
//!
//! ```text
//!   000.tar                     image           text               patient
//!   ├─ 7.jpg                    000.tar/7.jpg   No effusion.       p10
//!   ├─ 7.txt    No effusion. ─►
//!   └─ 7.json   {"patient": "p10"}
//! ```
//!
//! A sample has an image and a text, `.txt`, or a `.json` whose fields become columns, with the text
//! among them. Its image is named by the path into the archive, so that it can be read later, in any
//! order.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use csv::{ByteRecord, Position};
use rayon::prelude::*;
use serde_json::Value;

use super::{Table, check_cells};
use crate::files::{
    ArchiveIndex, DataFile, FileError, Member, is_archive, member_path, path_text, read_start,
};
use crate::image::{MAX_TEXT, has_image_name};
use crate::manifest::table::error::TableError;

/// Most shards of a pattern.
const MAX_SHARDS: usize = 100_000;

/// Name of the column of images, and that of texts of `.txt` members.
const COLUMNS: [&str; 2] = ["image", "text"];

/// The members of a sample.
#[derive(Default)]
struct Sample {
    image: Option<PathBuf>,
    text: Option<PathBuf>,
    fields: Option<PathBuf>,
}

/// A sample as cells, by their columns.
type Cells = BTreeMap<String, Vec<u8>>;

/// Returns the shards that a path names, in their order; `None` if it names no tar archives.
///
/// `{000..127}` stands for all numbers between, with zeros in front if they have some, and `{a,b}`
/// for each of the words.
///
/// ```
/// use std::path::Path;
///
/// use convirt_data::shards;
///
/// let names = shards(Path::new("mimic/train-{08..10}.tar")).unwrap();
/// assert_eq!(names[0], Path::new("mimic/train-08.tar"));
/// assert_eq!(names[2], Path::new("mimic/train-10.tar"));
/// assert_eq!(shards(Path::new("pairs.csv")), None);
/// ```
pub fn shards(path: &Path) -> Option<Vec<PathBuf>> {
    if !is_archive(path) {
        return None;
    }
    let name = path.file_name()?.to_str()?;
    let names = expanded(name).into_iter();
    Some(names.map(|name| path.with_file_name(name)).collect())
}

impl Table {
    /// Reads the samples of shards: a row for each, in their order.
    pub(super) fn of_shards(pattern: &Path, shards: &[PathBuf]) -> Result<Self, TableError> {
        let of_shards = shards.par_iter().map(|shard| {
            let index = ArchiveIndex::open(shard).map_err(FileError::read(shard))?;
            Ok(samples(shard, index.members()))
        });
        let samples: Result<Vec<Vec<Sample>>, TableError> = of_shards.collect();
        let samples: Vec<Sample> = samples?.into_iter().flatten().collect();
        if samples.is_empty() {
            let path = pattern.to_path_buf();
            return Err(TableError::NoSamples { path });
        }
        let folder = pattern.parent().unwrap_or(Path::new(""));
        let rows = samples.par_iter().map(|sample| sample.cells(folder));
        let rows: io::Result<Vec<Cells>> = rows.collect();
        let rows = rows.map_err(FileError::read(pattern))?;
        let named: BTreeSet<&String> = rows.iter().flat_map(BTreeMap::keys).collect();
        let first = COLUMNS
            .into_iter()
            .filter(|name| named.iter().any(|it| it == name));
        let others = named
            .iter()
            .filter(|name| !COLUMNS.contains(&name.as_str()));
        let header: Vec<String> = first
            .map(String::from)
            .chain(others.map(|it| it.to_string()))
            .collect();
        let records = rows.iter().enumerate().map(|(row, cells)| {
            let cell = |name: &String| cells.get(name).map_or(&[][..], Vec::as_slice);
            let mut record = ByteRecord::from(header.iter().map(cell).collect::<Vec<_>>());
            let mut position = Position::new();
            position.set_line(row as u64 + 1);
            record.set_position(Some(position));
            check_cells(pattern, row + 1, &record).map(|()| record)
        });
        let rows: Result<Vec<ByteRecord>, TableError> = records.collect();
        Ok(Self {
            header,
            rows: rows?,
        })
    }
}

/// Groups the members of a shard by their names up to the first full stop, in order of appearance.
fn samples(shard: &Path, members: &[Member]) -> Vec<Sample> {
    let (mut samples, mut places) = (Vec::<Sample>::new(), BTreeMap::new());
    for member in members {
        let start = member.0.rfind('/').map_or(0, |slash| slash + 1);
        let Some(stop) = member.0[start..].find('.').filter(|stop| *stop > 0) else {
            continue;
        };
        let (key, ending) = member.0.split_at(start + stop);
        let ending = ending[1..].to_lowercase();
        let path = member_path(shard, member);
        let sample = *places.entry(key).or_insert_with(|| {
            samples.push(Sample::default());
            samples.len() - 1
        });
        let sample = &mut samples[sample];
        match ending.as_str() {
            "txt" => sample.text = Some(path),
            "json" => sample.fields = Some(path),
            ending if !ending.contains('.') && has_image_name(&path) => sample.image = Some(path),
            _ => {}
        }
    }
    samples.retain(|sample| sample.image.is_some() || sample.text.is_some());
    samples
}

impl Sample {
    /// Reads the cells of a sample; images are named relative to `folder`.
    fn cells(&self, folder: &Path) -> io::Result<Cells> {
        let mut cells = Cells::new();
        if let Some(fields) = &self.fields {
            let fields: Result<Value, _> = serde_json::from_slice(&read(fields)?);
            // Without its fields a row lacks cells, and is left out and listed.
            let fields = fields.unwrap_or_default();
            for (name, value) in fields.as_object().into_iter().flatten() {
                let text = match value {
                    Value::String(text) => text.clone(),
                    Value::Number(_) | Value::Bool(_) => value.to_string(),
                    _ => continue,
                };
                cells.insert(name.clone(), text.into_bytes());
            }
        }
        if let Some(text) = &self.text {
            cells.insert(COLUMNS[1].to_string(), read(text)?);
        }
        let image = self.image.as_deref().unwrap_or(Path::new(""));
        let image = path_text(image.strip_prefix(folder).unwrap_or(image));
        cells.insert(COLUMNS[0].to_string(), image.into_owned().into_bytes());
        Ok(cells)
    }
}

/// Reads a text, up to a byte more than the longest.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_start(DataFile::open(path)?, MAX_TEXT + 1)
}

/// Replaces the first pair of braces by all that it stands for, and so on.
fn expanded(name: &str) -> Vec<String> {
    let braces = name.find('{').and_then(|open| {
        let close = open + name[open..].find('}')?;
        Some((open, alternatives(&name[open + 1..close])?, close + 1))
    });
    let Some((open, alternatives, close)) = braces else {
        return vec![name.to_string()];
    };
    let rest = expanded(&name[close..]);
    let all = alternatives.iter().flat_map(|middle| {
        let start = format!("{}{middle}", &name[..open]);
        rest.iter().map(move |rest| format!("{start}{rest}"))
    });
    all.take(MAX_SHARDS).collect()
}

/// Returns what `000..127` or `a,b` stands for; `None` for anything else.
fn alternatives(inside: &str) -> Option<Vec<String>> {
    if let Some((first, last)) = inside.split_once("..") {
        let is_padded = [first, last]
            .iter()
            .any(|it| it.len() > 1 && it.starts_with('0'));
        let width = if is_padded {
            first.len().max(last.len())
        } else {
            0
        };
        let numbers: RangeInclusive<usize> = first.parse().ok()?..=last.parse().ok()?;
        let numbers = numbers.take(MAX_SHARDS);
        return Some(numbers.map(|number| format!("{number:0width$}")).collect());
    }
    let words = inside.split(',').map(String::from);
    inside.contains(',').then(|| words.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::write_archive;

    #[test]
    fn braces_stand_for_numbers_and_words() {
        for (pattern, names) in [
            ("a.tar", &["a.tar"][..]),
            ("{9..11}.tar", &["9.tar", "10.tar", "11.tar"]),
            ("{099..100}.tar", &["099.tar", "100.tar"]),
            (
                "{a,b}-{0..1}.tar",
                &["a-0.tar", "a-1.tar", "b-0.tar", "b-1.tar"],
            ),
            ("{a}.tar", &["{a}.tar"]),
            ("{.tar", &["{.tar"]),
            ("{3..1}.tar", &[]),
        ] {
            assert_eq!(expanded(pattern), names, "{pattern}");
        }
        assert_eq!(expanded("{0..18446744073709551615}.tar").len(), MAX_SHARDS);
    }

    #[test]
    fn samples_become_rows_with_their_fields_as_columns() {
        let folder = tempfile::tempdir().unwrap();
        let shard = |number: usize| folder.path().join(format!("{number:03}.tar"));
        write_archive(
            &shard(0),
            &[
                ("p1/7.jpg", b"..."),
                ("p1/7.txt", b"No effusion."),
                (
                    "p1/7.json",
                    br#"{"patient": "p1", "age": 63, "nested": {"a": 1}}"#,
                ),
                ("p2/7.PNG", b"..."),
                ("p2/7.txt", b"A nodule."),
                ("README", b"no sample"),
                ("notes.md", b"no sample"),
            ],
        );
        write_archive(
            &shard(1),
            &[
                ("8.seg.png", b"of another kind"),
                ("8.dcm", b"..."),
                ("8.json", br#"{"patient": "p3", "text": "Clear."}"#),
                ("9.txt", b"without an image"),
                ("9.json", b"{broken"),
            ],
        );
        let pattern = folder.path().join("{000..001}.tar");
        let table = Table::read(&pattern).unwrap();
        assert_eq!(table.header, ["image", "text", "age", "patient"]);
        let rows = [
            ["000.tar/p1/7.jpg", "No effusion.", "63", "p1"],
            ["000.tar/p2/7.PNG", "A nodule.", "", ""],
            ["001.tar/8.dcm", "Clear.", "", "p3"],
            ["", "without an image", "", ""],
        ];
        assert_eq!(table.rows, rows.map(|row| ByteRecord::from(row.to_vec())));
    }

    #[test]
    fn shards_without_a_sample_and_missing_ones_are_errors_that_name_them() {
        let folder = tempfile::tempdir().unwrap();
        let pattern = folder.path().join("{0..1}.tar");
        write_archive(&folder.path().join("0.tar"), &[("README", b"")]);
        let error = Table::read(&pattern).unwrap_err().to_string();
        assert!(error.contains("1.tar"), "{error}");
        write_archive(&folder.path().join("1.tar"), &[]);
        let error = Table::read(&pattern).unwrap_err().to_string();
        assert!(error.contains("{0..1}.tar: no sample"), "{error}");
    }
}
