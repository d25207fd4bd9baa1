//! The columns of a table of pairs, given or recognized by their names and content.

mod names;
mod profile;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use super::choice::Choice;
use super::column::Column;
use super::error::ManifestError;
use super::row::{check_header, root};
use super::study::Split;
use super::table::Table;
use crate::files::Roots;
use names::{GROUPS, IMAGES, SPLITS, TEXTS, rank};
use profile::Profile;

/// Minimum number of words of a cell, on average, for a column of texts.
const MIN_TEXT_WORDS: f64 = 3.0;

/// Which columns of a table of pairs to use. By default all are recognized.
///
/// - images: the column with the paths of image files
/// - texts: the column with texts of several words, or with the paths of text files
/// - groups: a column named `subject_id`, `patient` or similar; failing that, `study_id` or similar;
///   at least half of its cells are filled
/// - split: a column named `split` or similar, with `train` and `valid` or `test` in at least half of
///   its filled cells
///
/// A group or split column with a wrong cell is recognized all the same: to pass over it would put a
/// patient on both sides of the split. Its rows are read as if the column were given: a blank group
/// makes a bad row, an unknown word in the split is an error.
///
/// If several columns have the content, a usual name decides (`image`, `path`, …; `text`, `report`,
/// …), then for texts the number of words, then the order.
///
/// # Examples
///
/// ```
/// use convirt_data::{Column, ColumnChoices};
///
/// let folder = tempfile::tempdir()?;
/// image::GrayImage::new(8, 8).save(folder.path().join("a.png"))?;
/// let csv = folder.path().join("pairs.csv");
/// std::fs::write(&csv, "Patient ID,File,Findings\np1,a.png,The lungs are clear.\n")?;
///
/// let columns = ColumnChoices::new(&csv).recognize()?;
/// assert_eq!(columns.image, Column::Name("File".into()));
/// assert_eq!(columns.text, Some(Column::Name("Findings".into())));
/// assert!(!columns.text_from_files);
/// assert_eq!(columns.group, Some(Column::Name("Patient ID".into())));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnChoices {
    /// The CSV.
    pub csv_file: PathBuf,
    /// Folder that image paths are relative to; `None`: the folder of the CSV.
    pub img_root_dir: Option<PathBuf>,
    /// Folder that text paths are relative to; `None`: the folder of the CSV.
    pub text_root_dir: Option<PathBuf>,
    /// Whether files outside of the folder of the CSV, `img_root_dir` and `text_root_dir` are looked
    /// at. Without it, only the names of such files count.
    pub allow_outside_roots: bool,
    /// Column of the image path.
    pub image: Choice<Column>,
    /// Column of the text or its path; `Given(None)`: images without texts.
    pub text: Choice<Option<Column>>,
    /// Whether the text column contains paths of text files instead of texts.
    pub text_from_files: Choice<bool>,
    /// Column of the group; `Given(None)`: no such column.
    pub group: Choice<Option<Column>>,
    /// Column of the split; `Given(None)`: no such column.
    pub split: Choice<Option<Column>>,
}

/// The columns of a table of pairs.
///
/// `Display` names them in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairColumns {
    /// Column of the image path.
    pub image: Column,
    /// Column of the text or its path; `None`: images without texts.
    pub text: Option<Column>,
    /// Whether the text column contains paths of text files instead of texts.
    pub text_from_files: bool,
    /// Column of the group, if there is one.
    pub group: Option<Column>,
    /// Column of the split, if there is one.
    pub split: Option<Column>,
    /// Names of the columns that are not used, in the order of the table.
    pub unused: Vec<String>,
    /// Number of rows of the table, unusable ones included.
    pub rows: usize,
    /// Number of different groups, if there is a group column.
    pub groups: Option<usize>,
    /// Number of rows on each side, if there is a split column.
    pub sides: BTreeMap<Split, usize>,
    /// Mean number of words of a text, rounded, unless texts are in files of their own.
    pub words: Option<usize>,
    /// What a user should know about columns that were not used although their names suggest it.
    pub remarks: Vec<String>,
}

impl ColumnChoices {
    /// Recognizes all columns of `csv_file`; paths are relative to its folder.
    pub fn new(csv_file: impl Into<PathBuf>) -> Self {
        Self {
            csv_file: csv_file.into(),
            img_root_dir: None,
            text_root_dir: None,
            allow_outside_roots: false,
            image: Choice::Auto,
            text: Choice::Auto,
            text_from_files: Choice::Auto,
            group: Choice::Auto,
            split: Choice::Auto,
        }
    }

    /// Reads the CSV and recognizes the columns that are not given, from rows spread over the
    /// table. Without a row, only names decide.
    ///
    /// # Errors
    ///
    /// - `TableError`: the CSV cannot be read
    /// - [`ManifestError::MissingColumn`], [`ManifestError::AmbiguousColumn`],
    ///   [`ManifestError::ColumnOutOfRange`]: a given column does not exist
    /// - [`ManifestError::NoImageColumn`], [`ManifestError::ImagesElsewhere`],
    ///   [`ManifestError::NoTextColumn`]: a column is not recognized
    /// - [`ManifestError::TextsTakenForPaths`], [`ManifestError::PathsTakenForTexts`]:
    ///   `text_from_files` is given, and the column holds the other
    /// - [`ManifestError::DataInHeader`]: the CSV has no header row
    pub fn recognize(&self) -> Result<PairColumns, ManifestError> {
        let csv = self.csv_file.as_path();
        let image_root = root(self.img_root_dir.as_deref(), csv);
        let text_root = root(self.text_root_dir.as_deref(), csv);
        let table = Table::read(csv)?;
        let roots = [root(None, csv), image_root, text_root];
        let roots = Roots::new(roots, self.allow_outside_roots);
        let profiles = Profile::of_columns(&table, [image_root, text_root], &roots);
        let position = |column: &Column, setting| column.position(&table.header, csv, setting);

        // A given column is not recognized as something else.
        let mut taken = Vec::new();
        for (choice, setting) in [
            (&self.text, "text_col"),
            (&self.group, "group_col"),
            (&self.split, "split_col"),
        ] {
            if let Choice::Given(Some(column)) = choice {
                taken.push(position(column, setting)?);
            }
        }
        let image = match &self.image {
            Choice::Given(column) => position(column, "image_col")?,
            Choice::Auto => {
                let position = self.image_position(&table, &profiles, &taken, image_root)?;
                let column = Column::Position(position);
                check_header(&table.header, csv, &column, position, image_root, &roots)?;
                position
            }
        };
        taken.push(image);
        let mut remarks = Vec::new();
        let split = match &self.split {
            Choice::Given(None) => None,
            Choice::Given(Some(column)) => Some(position(column, "split_col")?),
            Choice::Auto => split_position(&table, &taken, &mut remarks),
        };
        taken.extend(split);
        let group = match &self.group {
            Choice::Given(None) => None,
            Choice::Given(Some(column)) => Some(position(column, "group_col")?),
            Choice::Auto => group_position(&table, &taken, &mut remarks),
        };
        taken.extend(group);
        let text = match &self.text {
            Choice::Given(None) => None,
            Choice::Given(Some(column)) => Some(position(column, "text_col")?),
            Choice::Auto => Some(self.text_position(&table, &profiles, &taken)?),
        };
        taken.extend(text);
        let text_from_files = match text {
            Some(text) => self.text_from_files(&table, &profiles[text], text)?,
            None => false,
        };
        let column = |position: usize| column_at(&table.header, position);
        let unused = (0..table.header.len()).filter(|position| !taken.contains(position));
        Ok(PairColumns {
            image: column(image),
            text: text.map(column),
            text_from_files,
            group: group.map(column),
            split: split.map(column),
            unused: unused
                .map(|position| table.header[position].clone())
                .collect(),
            rows: table.rows.len(),
            groups: group.map(|group| filled_cells(&table, group).collect::<HashSet<_>>().len()),
            sides: split.map_or_else(BTreeMap::new, |split| count_sides(&table, split)),
            words: text
                .filter(|_| !text_from_files)
                .map(|text| profiles[text].mean_words().round() as usize),
            remarks,
        })
    }

    fn image_position(
        &self,
        table: &Table,
        profiles: &[Profile],
        taken: &[usize],
        root: &Path,
    ) -> Result<usize, ManifestError> {
        let path = || self.csv_file.clone();
        let free = || (0..profiles.len()).filter(|it| !taken.contains(it));
        let holds_images = free().filter(|&it| profiles[it].images > 0);
        let by_name = |position: &usize| rank(IMAGES, &table.header[*position]);
        let best = holds_images.min_by_key(|position| {
            let share = profiles[*position].share(profiles[*position].images);
            (by_name(position), (1000.0 * (1.0 - share)) as usize)
        });
        if let Some(position) = best {
            return Ok(position);
        }
        let named = free().filter(|&it| profiles[it].image_names > 0);
        let Some(position) = named.min_by_key(by_name) else {
            return Err(ManifestError::NoImageColumn {
                path: path(),
                root: root.into(),
                found: table.header.clone(),
            });
        };
        if profiles[position].outside > 0 {
            // The manifest names the row.
            return Ok(position);
        }
        Err(ManifestError::ImagesElsewhere {
            path: path(),
            column: table.header[position].as_str().into(),
            root: root.into(),
            example: profiles[position].example.as_str().into(),
            setting: "img_root_dir",
        })
    }

    fn text_position(
        &self,
        table: &Table,
        profiles: &[Profile],
        taken: &[usize],
    ) -> Result<usize, ManifestError> {
        let is_text =
            |profile: &Profile| profile.holds_paths() || profile.mean_words() >= MIN_TEXT_WORDS;
        // Of the wrong kind is a column that `text_from_files` contradicts; if there is no other,
        // that is an error of its own.
        let is_of_wrong_kind = |position: usize| {
            let from_files = self.text_from_files.given();
            from_files.is_some_and(|given| *given != profiles[position].holds_paths())
        };
        let candidates = (0..profiles.len()).filter(|it| !taken.contains(it));
        let best = candidates
            .filter(|&position| is_text(&profiles[position]))
            .min_by(|&one, &other| {
                let name = |position: usize| rank(TEXTS, &table.header[position]);
                let words = |position: usize| profiles[position].mean_words();
                let by_words = words(other).total_cmp(&words(one));
                let by_kind = is_of_wrong_kind(one).cmp(&is_of_wrong_kind(other));
                by_kind.then(name(one).cmp(&name(other))).then(by_words)
            });
        // Without a fitting column, one of a usual name is read, and its rows tell what is wrong.
        best.or_else(|| named_position(table, TEXTS, taken, |_| true))
            .ok_or_else(|| ManifestError::NoTextColumn {
                path: self.csv_file.clone(),
                found: table.header.clone(),
                setting: "text_col",
            })
    }

    fn text_from_files(
        &self,
        table: &Table,
        profile: &Profile,
        position: usize,
    ) -> Result<bool, ManifestError> {
        let path = self.csv_file.clone();
        let column = table.header[position].clone();
        let example = profile.example.clone();
        let is_text = !profile.holds_paths() && profile.mean_words() >= MIN_TEXT_WORDS;
        match self.text_from_files {
            Choice::Auto => Ok(profile.holds_paths()),
            Choice::Given(true) if is_text => Err(ManifestError::TextsTakenForPaths {
                path,
                column,
                example,
                setting: "text_from_files",
            }),
            Choice::Given(false) if profile.share(profile.text_files) >= 0.5 => {
                Err(ManifestError::PathsTakenForTexts {
                    path,
                    column,
                    example,
                    setting: "text_from_files",
                })
            }
            Choice::Given(given) => Ok(given),
        }
    }
}

impl fmt::Display for PairColumns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "images in `{}`", self.image)?;
        match &self.text {
            Some(text) if self.text_from_files => write!(f, ", paths of texts in `{text}`")?,
            Some(text) => write!(f, ", texts in `{text}`")?,
            None => {}
        }
        match &self.group {
            Some(group) => write!(f, ", groups by `{group}`")?,
            None if self.sides.contains_key(&Split::Valid) => {}
            None if self.text.is_some() => write!(f, ", equal texts and images in one group")?,
            None => write!(f, ", equal images in one group")?,
        }
        match &self.split {
            Some(split) => write!(f, ", split by `{split}`"),
            None => write!(f, ", split at random"),
        }
    }
}

/// Returns a column by its name, or by its position if the name is blank or not the only one.
fn column_at(header: &[String], position: usize) -> Column {
    let name = header[position].trim();
    let same = header.iter().filter(|other| other.trim() == name).count();
    if name.is_empty() || same > 1 {
        Column::Position(position)
    } else {
        Column::Name(name.to_string())
    }
}

/// Returns the trimmed cells of a column that are not blank; cells that are not UTF-8 or missing
/// count as blank.
fn filled_cells(table: &Table, position: usize) -> impl Iterator<Item = &str> {
    let cells = table.rows.iter().map(move |row| {
        let cell = row.get(position).unwrap_or_default();
        str::from_utf8(cell).unwrap_or_default().trim()
    });
    cells.filter(|cell| !cell.is_empty())
}

/// Counts the rows on each side of a split column; other cells are passed over.
fn count_sides(table: &Table, split: usize) -> BTreeMap<Split, usize> {
    let mut sides = BTreeMap::new();
    for side in filled_cells(table, split).filter_map(|cell| cell.parse().ok()) {
        *sides.entry(side).or_default() += 1;
    }
    sides
}

/// Returns the position of the best known name that is not taken, with `is_usable`.
fn named_position(
    table: &Table,
    names: &[&str],
    taken: &[usize],
    mut is_usable: impl FnMut(usize) -> bool,
) -> Option<usize> {
    let mut named: Vec<usize> = (0..table.header.len())
        .filter(|&it| !taken.contains(&it) && rank(names, &table.header[it]) < names.len())
        .collect();
    named.sort_by_key(|&position| rank(names, &table.header[position]));
    named.into_iter().find(|&position| is_usable(position))
}

fn split_position(table: &Table, taken: &[usize], remarks: &mut Vec<String>) -> Option<usize> {
    named_position(table, SPLITS, taken, |position| {
        let sides = count_sides(table, position);
        let known: usize = sides.values().sum();
        let filled = filled_cells(table, position).count();
        let unknown = filled_cells(table, position).find_map(|word| word.parse::<Split>().err());
        let problem = match unknown {
            Some(_) if 2 * known >= filled => return true,
            Some(error) => error.to_string(),
            None if sides.contains_key(&Split::Train) && sides.len() > 1 => return true,
            None => "it does not have both train and valid or test".to_string(),
        };
        remarks.push(unused_remark(table, position, "split", &problem));
        false
    })
}

fn group_position(table: &Table, taken: &[usize], remarks: &mut Vec<String>) -> Option<usize> {
    named_position(table, GROUPS, taken, |position| {
        let rows = table.rows.len();
        let blank = rows - filled_cells(table, position).count();
        let is_usable = 2 * blank <= rows;
        if !is_usable {
            let problem = format!("{blank} of its {rows} cells are blank");
            remarks.push(unused_remark(table, position, "group", &problem));
        }
        is_usable
    })
}

fn unused_remark(table: &Table, position: usize, role: &str, problem: &str) -> String {
    let name = table.header[position].trim();
    format!("column `{name}` is not used as the {role}: {problem}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::GrayImage;
    use tempfile::TempDir;

    use super::*;
    use crate::manifest::{Manifest, ManifestConfig};
    use crate::skips::SkipReason;

    /// A folder with `pairs.csv`, two images and a text file.
    fn folder(csv: &str) -> (TempDir, ColumnChoices) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.png", "b.png"] {
            GrayImage::new(8, 8).save(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("a.txt"), "The lungs are clear.").unwrap();
        let path = folder.path().join("pairs.csv");
        fs::write(&path, csv).unwrap();
        let choices = ColumnChoices::new(path);
        (folder, choices)
    }

    fn recognize(csv: &str) -> Result<PairColumns, String> {
        let (_folder, choices) = folder(csv);
        choices.recognize().map_err(|error| error.to_string())
    }

    fn name(name: &str) -> Column {
        Column::Name(name.into())
    }

    #[test]
    fn columns_are_recognized_by_content_whatever_their_names_and_order() {
        let columns = recognize("a,b,c\n1,The lungs are clear.,a.png\n2,A large heart here.,b.png");
        let columns = columns.unwrap();
        assert_eq!(columns.image, name("c"));
        assert_eq!(columns.text, Some(name("b")));
        assert!(!columns.text_from_files);
        assert_eq!((columns.group, columns.split), (None, None));
        assert_eq!(columns.unused, ["a"]);
    }

    #[test]
    fn usual_names_decide_between_columns_with_the_same_content() {
        let columns = recognize(
            "lateral,Image Path,history,impression,study_id,SubjectID,Split\n\
             a.png,b.png,Cough and fever for three days now.,The lungs are clear.,7,1,train\n\
             b.png,a.png,Cough.,A small effusion.,8,2,val\n",
        )
        .unwrap();
        assert_eq!(columns.image, name("Image Path"));
        assert_eq!(columns.text, Some(name("impression")));
        assert_eq!(columns.group, Some(name("SubjectID")));
        assert_eq!(columns.split, Some(name("Split")));
        assert_eq!(
            columns.to_string(),
            "images in `Image Path`, texts in `impression`, groups by `SubjectID`, split by `Split`"
        );
    }

    #[test]
    fn paths_of_text_files_are_told_from_texts() {
        let columns = recognize("image,text\na.png,a.txt\nb.png,a.txt\n").unwrap();
        assert!(columns.text_from_files);
        // Missing files are paths too: their rows say what is missing.
        let columns = recognize("image,text\na.png,x.txt\nb.png,y.txt\n").unwrap();
        assert!(columns.text_from_files);
    }

    #[test]
    fn given_columns_are_kept_and_none_means_none() {
        let (_folder, choices) =
            folder("image,text,patient,split\na.png,The lungs are clear.,1,train\n");
        let columns = ColumnChoices {
            image: Choice::Given(Column::Position(0)),
            text: Choice::Given(None),
            group: Choice::Given(None),
            split: Choice::Given(None),
            ..choices
        };
        let columns = columns.recognize().unwrap();
        assert_eq!(columns.image, name("image"));
        assert_eq!(
            (columns.text, columns.group, columns.split),
            (None, None, None)
        );
        assert_eq!(columns.unused, ["text", "patient", "split"]);
    }

    #[test]
    fn a_split_of_other_words_and_a_group_that_is_mostly_blank_are_remarked_on() {
        let columns = recognize(
            "image,text,patient,split\n\
             a.png,The lungs are clear.,1,3\n\
             b.png,A small effusion.,,4\n\
             b.png,A small effusion.,,train\n",
        )
        .unwrap();
        assert_eq!((columns.group, columns.split), (None, None));
        assert_eq!(
            columns.remarks,
            [
                "column `split` is not used as the split: `3` is no split; write train (training), \
                 valid (validate, validation, val, dev) or test",
                "column `patient` is not used as the group: 2 of its 3 cells are blank",
            ]
        );
        let columns = recognize("image,text,split\na.png,The lungs are clear.,train\n").unwrap();
        assert_eq!(columns.split, None);
        let remark = &columns.remarks[0];
        assert!(remark.contains("both train and valid or test"), "{remark}");
    }

    #[test]
    fn what_stays_on_one_side_is_named_where_validation_is_drawn() {
        let named = |sides: [&str; 2]| {
            let rows = sides.map(|side| format!("a.png,The lungs are clear.,{side}\n"));
            let columns = recognize(&format!("image,text,split\n{}", rows.concat()));
            columns.unwrap().to_string()
        };
        let drawn = named(["train", "test"]);
        let groups = ", equal texts and images in one group, split by `split`";
        assert!(drawn.ends_with(groups), "{drawn}");
        let given = named(["train", "valid"]);
        assert!(
            given.ends_with("texts in `text`, split by `split`"),
            "{given}"
        );
    }

    #[test]
    fn a_wrong_cell_of_the_split_or_the_group_is_as_wrong_as_in_a_column_that_is_given() {
        let rows = |number: usize, cells: &str| {
            let row = |row| format!("a.png,The lungs are clear of edema.,{row}{cells}\n");
            (0..number).map(row).collect::<String>()
        };
        // Among more rows than are sampled; the first of these positions is in the sample.
        for before in [128, 130] {
            for (wrong, is_given) in [(",train", false), ("9,tset", false), (",train", true)] {
                let csv = format!(
                    "image,text,patient,split\n{}a.png,The lungs are clear.,{wrong}\n{}",
                    rows(before, ",train"),
                    rows(70, ",test"),
                );
                let (_folder, mut choices) = folder(&csv);
                if is_given {
                    choices.group = Choice::Given(Some(name("patient")));
                    choices.split = Choice::Given(Some(name("split")));
                }
                let columns = choices.recognize().unwrap();
                assert_eq!(columns.group, Some(name("patient")));
                assert_eq!(columns.split, Some(name("split")));
                assert_eq!(columns.remarks, [""; 0]);
                assert_eq!(columns.groups, Some(before), "a blank cell is no group");
                let config = ManifestConfig::with_columns(&choices.csv_file, &columns);
                let row = before + 1;
                match Manifest::read(&config) {
                    Ok(manifest) => {
                        let skips = manifest.skips.list();
                        assert_eq!(skips.len(), 1);
                        assert_eq!(
                            (skips[0].row, skips[0].reason),
                            (row, SkipReason::EmptyCell)
                        );
                        assert_eq!(wrong, ",train");
                    }
                    Err(error) => {
                        let error = error.to_string();
                        let expected = format!("pairs.csv: row {row}: `tset` is no split");
                        assert!(error.contains(&expected), "{error}");
                    }
                }
            }
        }
    }

    #[test]
    fn texts_taken_for_paths_and_the_reverse_are_errors_that_say_so() {
        let with = |csv: &str, from_files| {
            let (_folder, choices) = folder(csv);
            let text_from_files = Choice::Given(from_files);
            let choices = ColumnChoices {
                text_from_files,
                text: Choice::Given(Some(name("text"))),
                ..choices
            };
            choices.recognize().map_err(|error| error.to_string())
        };
        let texts = "image,text\na.png,The lungs are clear.\n";
        let paths = "image,text\na.png,a.txt\n";
        let error = with(texts, true).unwrap_err();
        assert!(
            error.contains("`text` holds texts") && error.contains("lungs"),
            "{error}"
        );
        let error = with(paths, false).unwrap_err();
        assert!(
            error.contains("`text` holds paths") && error.contains("a.txt"),
            "{error}"
        );
        assert!(with(texts, false).is_ok() && with(paths, true).is_ok());
    }

    #[test]
    fn files_outside_of_the_roots_are_recognized_by_their_names_and_not_looked_at() {
        let (elsewhere, _) = folder("");
        let file = |name| elsewhere.path().join(name).display().to_string();
        let (image, text) = (file("a.png"), file("pairs.csv"));
        let named = format!("a,b\n{image},The lungs are clear.\n");
        assert_eq!(recognize(&named).unwrap().image, name("a"));
        let (_folder, choices) = folder(&format!("image,text\na.png,{text}\n"));
        let text_from_files = |allow_outside_roots| {
            let choices = ColumnChoices {
                allow_outside_roots,
                ..choices.clone()
            };
            choices.recognize().unwrap().text_from_files
        };
        assert!(!text_from_files(false) && text_from_files(true));
    }

    #[test]
    fn what_is_not_recognized_is_an_error_that_says_where_it_looked() {
        let error = recognize("a,b\n1,2\n").unwrap_err();
        assert!(
            error.contains("no column holds paths of image files"),
            "{error}"
        );
        let error = recognize("image,text\np1/x.png,The lungs are clear.\n").unwrap_err();
        assert!(
            error.contains("p1/x.png") && error.contains("img_root_dir"),
            "{error}"
        );
        let error = recognize("image,class\na.png,normal\n").unwrap_err();
        assert!(error.contains("no column holds texts"), "{error}");
        let error = recognize("a.png,The lungs are clear.\nb.png,A small effusion.\n").unwrap_err();
        assert!(error.contains("header"), "{error}");
    }
}
