//! Which images a run trained on, validated on, or left for a test.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use convirt_data::{
    FileError, Grouped, NewFile, SettingError, Split, SplitStudies, open_regular, path_text,
    read_regular,
};

use super::error::RunError;
use super::folder::RunDir;
use crate::config::DEFAULT_RUNS_DIR;
use crate::error::Error;
use crate::inference::find_run;
use crate::weights::checksums;

/// Name of the file in a run's folder.
const FILE: &str = "split.csv";

/// Its columns.
const COLUMNS: [&str; 4] = ["row", "split", "content", "image"];

/// Maximum size of the file, in bytes: ten million rows.
const MAX_BYTES: u64 = 1 << 30;

/// The sides of the split that a run's images were on. Images are recognized by the content of
/// their files, in any table.
///
/// # Examples
///
/// ```no_run
/// use convirt::data::{Manifest, ManifestConfig};
/// use convirt::run::{RowChoice, RunSplit};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let studies = Manifest::read(&ManifestConfig::new("pairs.csv"))?.studies;
/// if let Some(split) = RunSplit::load("latest".as_ref())? {
///     let selection = split.select(studies, RowChoice::HeldOut);
///     println!("{selection}");
///     assert_eq!(selection.trained, 0);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RunSplit {
    run: String,
    sides: HashMap<u64, Split>,
}

/// Which rows of a table to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowChoice {
    /// Rows that were not trained on: the test rows, or the validation rows if there is no test.
    #[default]
    HeldOut,
    /// The rows of one side of the split.
    Side(Split),
    /// All rows.
    All,
}

/// Rows chosen from a table. `Display` says in a line which and how many.
#[derive(Clone, Debug)]
pub struct Selection<T> {
    /// The chosen rows, in the order of the table.
    pub rows: Vec<T>,
    /// Number of chosen rows that the run trained on.
    pub trained: usize,
    /// Number of rows of the table that the run knows, by side: train, valid, test.
    pub known: [usize; 3],
    /// Number of rows of the table.
    pub total: usize,
    choice: RowChoice,
    run: String,
}

impl RunSplit {
    /// Returns the record of a split, as a table.
    pub(crate) fn table(split: &SplitStudies) -> Vec<u8> {
        let mut table = csv::Writer::from_writer(Vec::new());
        let in_memory = "writing to memory cannot fail";
        table.write_record(COLUMNS).expect(in_memory);
        let sides = [
            (Split::Train, &split.train),
            (Split::Valid, &split.valid),
            (Split::Test, &split.test),
        ];
        for (side, studies) in sides {
            for study in studies {
                let row = study.row.to_string();
                let content = format!("{:016x}", study.image_content);
                let image = path_text(&study.image);
                table
                    .write_record([row.as_str(), side.name(), &content, &image])
                    .expect(in_memory);
            }
        }
        table.into_inner().expect(in_memory)
    }

    /// Writes the record of a split into the folder of its run.
    pub(crate) fn save(table: &[u8], run: &RunDir) -> Result<(), Error> {
        let path = run.path().join(FILE);
        NewFile::write_whole(&path, table).map_err(FileError::write(&path))?;
        Ok(checksums::record(run.path(), &[FILE])?)
    }

    /// Adds the record of a split to the one of a run that is resumed on other data: what it has
    /// trained on stays known.
    pub(crate) fn add(table: &[u8], run: &RunDir) -> Result<(), Error> {
        let path = run.path().join(FILE);
        let mut whole = read_regular(&path, MAX_BYTES).map_err(FileError::read(&path))?;
        let header = table.iter().position(|byte| *byte == b'\n');
        whole.extend_from_slice(&table[header.map_or(0, |end| end + 1)..]);
        Self::save(&whole, run)
    }

    /// Reads the record of a run, which is given by a path or a name as in [`RunDir::open`], by its
    /// model folder or by one of its checkpoints. `None` if there is no run with a record.
    ///
    /// # Errors
    ///
    /// - [`RunNameError`](crate::inference::RunNameError) if several runs have the name
    /// - [`RunError::BrokenSplit`] or [`WeightsError::Changed`](crate::weights::WeightsError) if
    ///   the record is damaged
    pub fn load(run: &Path) -> Result<Option<Self>, Error> {
        let found = find_run(Path::new(DEFAULT_RUNS_DIR), run)?;
        let path = found.unwrap_or_else(|| run.to_path_buf());
        // The run itself, or the run around a model folder, a file in it, or a checkpoint.
        let folders = path.ancestors().take(3);
        let mut folders = folders.filter(|folder| !folder.as_os_str().is_empty());
        let Some(folder) = folders.find(|folder| has_record(folder)) else {
            return Ok(None);
        };
        let file = folder.join(FILE);
        checksums::verify(&file)?;
        let bytes = read_regular(&file, MAX_BYTES).map_err(FileError::read(&file))?;
        let broken = |row| RunError::BrokenSplit {
            path: file.clone(),
            row,
        };
        let mut table = csv::Reader::from_reader(&*bytes);
        let mut sides: HashMap<u64, Split> = HashMap::new();
        for (row, record) in (1..).zip(table.records()) {
            let record = record.map_err(|_| broken(row))?;
            let side = record.get(1).and_then(|side| side.parse().ok());
            let content = record
                .get(2)
                .map(|content| u64::from_str_radix(content, 16));
            let (Some(side), Some(Ok(content))) = (side, content) else {
                return Err(broken(row).into());
            };
            // A copy of a training image was trained on, whatever its own side.
            let earlier = sides.entry(content).or_insert(side);
            *earlier = (*earlier).min(side);
        }
        let name = folder.file_name().unwrap_or(folder.as_os_str());
        Ok(Some(Self {
            run: name.to_string_lossy().into_owned(),
            sides,
        }))
    }

    /// Returns the side of an image, by the hash of its content; `None` if the run does not know
    /// it.
    pub fn side(&self, image_content: u64) -> Option<Split> {
        self.sides.get(&image_content).copied()
    }

    /// Returns the name of the run.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Counts the rows whose images the run had on each side: train, valid, test. The others are
    /// unknown to it.
    pub fn count(&self, rows: &[impl Grouped]) -> [usize; 3] {
        let mut known = [0; 3];
        for side in rows.iter().filter_map(|row| self.side(row.image_content())) {
            known[side as usize] += 1;
        }
        known
    }

    /// Counts the rows whose images the run trained on.
    pub fn trained(&self, rows: &[impl Grouped]) -> usize {
        self.count(rows)[Split::Train as usize]
    }

    /// Chooses rows of a table by the sides that the run had their images on. Rows that the run does
    /// not know count as held out.
    pub fn select<T: Grouped>(&self, rows: Vec<T>, choice: RowChoice) -> Selection<T> {
        let total = rows.len();
        let known = self.count(&rows);
        let has_test = known[Split::Test as usize] > 0;
        let is_chosen = |row: &T| match (choice, self.side(row.image_content())) {
            (RowChoice::All, _) | (RowChoice::HeldOut, None | Some(Split::Test)) => true,
            (RowChoice::HeldOut, Some(Split::Valid)) => !has_test,
            (RowChoice::HeldOut, Some(Split::Train)) => false,
            (RowChoice::Side(wanted), side) => side == Some(wanted),
        };
        let rows: Vec<T> = rows.into_iter().filter(is_chosen).collect();
        Selection {
            trained: self.trained(&rows),
            rows,
            known,
            total,
            choice,
            run: self.run.clone(),
        }
    }
}

/// Returns whether a folder has the record of a run's split: other files have its name, too.
fn has_record(folder: &Path) -> bool {
    let path = folder.join(FILE);
    let is_ours = || {
        let mut table = csv::Reader::from_reader(open_regular(&path).ok()?);
        Some(table.headers().ok()? == COLUMNS.as_slice())
    };
    path.is_file() && (checksums::is_recorded(&path) || is_ours().unwrap_or(false))
}

impl<T> Selection<T> {
    /// Returns whether the run knows a row of the table.
    pub fn is_known(&self) -> bool {
        self.known.iter().any(|rows| *rows > 0)
    }
}

impl<T> fmt::Display for Selection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, total, run) = (self.rows.len(), self.total, &self.run);
        let [_, _, test] = self.known;
        match self.choice {
            RowChoice::All => write!(f, "all {total} rows"),
            RowChoice::Side(side) => write!(f, "{rows} of {total} rows: {side} of the run {run}"),
            RowChoice::HeldOut if !self.is_known() => {
                write!(
                    f,
                    "all {total} rows: the run {run} has seen none of these images"
                )
            }
            RowChoice::HeldOut => {
                let side = if test > 0 { Split::Test } else { Split::Valid };
                let held_out = self.known[side as usize];
                write!(
                    f,
                    "{rows} of {total} rows: {held_out} held out by the run {run} ({side})"
                )?;
                match rows - held_out {
                    0 => Ok(()),
                    unknown => write!(f, " and {unknown} unknown to it"),
                }
            }
        }
    }
}

impl FromStr for RowChoice {
    type Err = SettingError;

    fn from_str(word: &str) -> Result<Self, SettingError> {
        match word.trim().to_ascii_lowercase().as_str() {
            "all" => Ok(Self::All),
            word => word
                .parse()
                .map(Self::Side)
                .map_err(|_| SettingError::UnknownWord {
                    setting: "split",
                    word: word.into(),
                    known: "train, valid, test or all",
                }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use convirt_data::{Report, Study};

    use super::*;

    fn study(row: usize, content: u64) -> Study {
        Study {
            row,
            image: PathBuf::from(format!("{row}.png")),
            image_size: [8, 8],
            image_content: content,
            report: Report::default(),
            group: String::new(),
            split: None,
        }
    }

    /// A run that trained on images 1 to 3, validated on 4 and 5, and left `test` alone.
    fn split(test: &[u64]) -> RunSplit {
        let runs = tempfile::tempdir().unwrap();
        let run = RunDir::create(runs.path(), "a").unwrap();
        let side = |contents: &[u64]| {
            let studies = contents
                .iter()
                .map(|&content| study(content as usize, content));
            studies.collect::<Vec<_>>()
        };
        let studies = SplitStudies {
            train: side(&[1, 2, 3]),
            valid: side(&[4, 5]),
            test: side(test),
        };
        assert!(RunSplit::load(run.path()).unwrap().is_none());
        RunSplit::save(&RunSplit::table(&studies), &run).unwrap();
        // From the run, its model folder and a checkpoint.
        for inside in ["model", "checkpoint/model-8.bpk"] {
            let path = run.path().join(inside);
            assert!(RunSplit::load(&path).unwrap().is_some(), "{inside}");
        }
        RunSplit::load(run.path()).unwrap().unwrap()
    }

    fn rows(selection: &Selection<Study>) -> Vec<usize> {
        selection.rows.iter().map(|study| study.row).collect()
    }

    #[test]
    fn what_was_trained_on_stays_known_when_a_run_is_resumed_on_other_data() {
        let runs = tempfile::tempdir().unwrap();
        let run = RunDir::create(runs.path(), "a").unwrap();
        let table = |train: u64, valid: u64| {
            let side = |content: u64| vec![study(1, content)];
            RunSplit::table(&SplitStudies {
                train: side(train),
                valid: side(valid),
                test: Vec::new(),
            })
        };
        RunSplit::save(&table(1, 2), &run).unwrap();
        RunSplit::add(&table(3, 1), &run).unwrap();
        let split = RunSplit::load(run.path()).unwrap().unwrap();
        let all = (1..=3).map(|content| study(1, content)).collect();
        let selection = split.select(all, RowChoice::All);
        assert_eq!((selection.trained, selection.known), (2, [2, 1, 0]));
    }

    #[test]
    fn held_out_are_the_test_rows_or_else_the_validation_rows_and_unknown_ones() {
        let table = || {
            (1..=8)
                .map(|row| study(row, row as u64))
                .collect::<Vec<_>>()
        };
        let selection = split(&[]).select(table(), RowChoice::HeldOut);
        assert_eq!(
            (rows(&selection), selection.trained),
            (vec![4, 5, 6, 7, 8], 0)
        );
        let selection = split(&[6, 7]).select(table(), RowChoice::HeldOut);
        assert_eq!(rows(&selection), [6, 7, 8]);
        let text = selection.to_string();
        assert!(
            text.starts_with("3 of 8 rows: 2 held out by the run "),
            "{text}"
        );
        assert!(text.ends_with("(test) and 1 unknown to it"), "{text}");
    }

    #[test]
    fn a_side_or_all_rows_can_be_chosen_and_trained_rows_are_counted() {
        let table = || {
            (1..=8)
                .map(|row| study(row, row as u64))
                .collect::<Vec<_>>()
        };
        let split = split(&[6]);
        let train = split.select(table(), RowChoice::Side(Split::Train));
        assert_eq!((rows(&train), train.trained), (vec![1, 2, 3], 3));
        let all = split.select(table(), RowChoice::All);
        assert_eq!((all.rows.len(), all.trained, all.known), (8, 3, [3, 2, 1]));
    }

    #[test]
    fn a_copy_of_a_training_image_was_trained_on() {
        let selection = split(&[3]).select(vec![study(9, 3)], RowChoice::HeldOut);
        assert!(selection.rows.is_empty());
    }

    #[test]
    fn another_file_of_its_name_is_no_record_and_a_damaged_one_is() {
        let runs = tempfile::tempdir().unwrap();
        let run = RunDir::create(runs.path(), "a").unwrap();
        let file = run.path().join(FILE);
        let of_mimic = "dicom_id,study_id,subject_id,split\n1,2,3,train\n";
        std::fs::write(&file, of_mimic).unwrap();
        assert!(RunSplit::load(&run.model()).unwrap().is_none());
        let studies = SplitStudies {
            train: vec![study(1, 1)],
            valid: Vec::new(),
            test: Vec::new(),
        };
        RunSplit::save(&RunSplit::table(&studies), &run).unwrap();
        std::fs::write(&file, of_mimic).unwrap();
        let error = RunSplit::load(&run.model()).unwrap_err().to_string();
        assert!(error.contains("split.csv"), "{error}");
    }

    #[test]
    fn a_damaged_record_is_an_error_that_names_the_row() {
        let runs = tempfile::tempdir().unwrap();
        let run = RunDir::create(runs.path(), "a").unwrap();
        std::fs::write(
            run.path().join(FILE),
            "row,split,content,image\n1,train,xyz,a.png\n",
        )
        .unwrap();
        let message = RunSplit::load(run.path()).unwrap_err().to_string();
        assert!(
            message.contains("split.csv") && message.contains("row 1"),
            "{message}"
        );
    }

    #[test]
    fn choices_are_parsed() {
        assert_eq!("all".parse::<RowChoice>().unwrap(), RowChoice::All);
        let valid = RowChoice::Side(Split::Valid);
        assert_eq!("dev".parse::<RowChoice>().unwrap(), valid);
        let error = "held".parse::<RowChoice>().unwrap_err().to_string();
        assert!(error.contains("train, valid, test or all"), "{error}");
    }
}
