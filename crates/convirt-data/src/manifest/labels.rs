//! The CSV of labelled images, for training and testing classifiers.

mod columns;
mod draw;
mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::column::Column;
use super::row::usable_rows;
use super::split::joined_groups::joined_groups;
use super::split::{Grouped, Sides, split_by_column};
use super::study::Split;
use super::table::Table;
use crate::image::{DecodeLimits, resolve_hash_collisions};
use crate::manifest::error::ManifestError;
use crate::setting::{SettingError, check};
use crate::skips::Skips;

pub use columns::{BlankPolicy, LabelColumns, UncertainPolicy};
pub use draw::{assign_folds, draw_fraction, hold_out};
use rows::RowReader;

/// Where the labelled images are and how to read them.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledConfig {
    /// The CSV in UTF-8, with a header row. Cells are separated by commas or, if the header row has
    /// them instead, by semicolons, tabs or bars; they may be quoted.
    pub csv_file: PathBuf,
    /// Folder that image paths are relative to; `None`: the folder of the CSV.
    pub img_root_dir: Option<PathBuf>,
    /// Whether the table may name files outside of its own folder and `img_root_dir`.
    pub allow_outside_roots: bool,
    /// Column of the image path.
    pub image: Column,
    /// Columns of the labels.
    pub labels: LabelColumns,
    /// Column of the group that is never divided by a split, such as the patient; `None`: each
    /// image is its own group.
    pub group: Option<Column>,
    /// Column of the split: train, valid or test; empty cells have no side.
    pub split: Option<Column>,
    /// Largest tolerated fraction of bad rows, from 0 to 1.
    pub max_bad_share: f64,
    /// Limits on the size of images.
    pub limits: DecodeLimits,
}

/// The labelled images of a CSV, and its skipped rows.
///
/// # Examples
///
/// ```
/// use convirt_data::{
///     BlankPolicy, Column, LabelColumns, LabelledConfig, LabelledManifest, Labels,
///     UncertainPolicy,
/// };
///
/// let folder = tempfile::tempdir()?;
/// for name in ["a.png", "b.png"] {
///     image::GrayImage::new(8, 8).save(folder.path().join(name))?;
/// }
/// let csv = folder.path().join("labels.csv");
/// std::fs::write(&csv, "Path,Edema,Fracture\na.png,1,-1\nb.png,0,\n")?;
/// let labels = LabelColumns::Findings {
///     columns: vec![Column::Name("Edema".into()), Column::Name("Fracture".into())],
///     uncertain: UncertainPolicy::Ignore,
///     blank: BlankPolicy::Zeros,
/// };
/// let manifest = LabelledManifest::read(&LabelledConfig::new(csv, labels))?;
/// assert_eq!(manifest.labels.names(), ["Edema", "Fracture"]);
/// assert_eq!(manifest.images[0].targets, [Some(true), None]);
/// assert_eq!(manifest.images[1].targets, [Some(false), Some(false)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LabelledManifest {
    /// The names of the targets.
    pub labels: Labels,
    /// The usable rows, in the order of the CSV.
    pub images: Vec<LabelledImage>,
    /// The skipped rows.
    pub skips: Skips,
}

/// What a classifier predicts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Labels {
    /// Exactly one of three or more classes.
    Classes(Vec<String>),
    /// Independent findings, each present or absent. Two classes become a single finding, the
    /// positive class.
    Findings(Vec<String>),
}

/// One image with its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledImage {
    /// Row of the CSV, counted from 1 after the header.
    pub row: usize,
    /// Path of the image file.
    pub image: PathBuf,
    /// Hash of the file's content: equal for equal files.
    pub image_content: u64,
    /// Group that is never divided by a split, such as the patient.
    pub group: String,
    /// Side of the split, if the CSV has a split column.
    pub split: Option<Split>,
    /// Whether each of the [`Labels`] is present; `None` where unknown.
    pub targets: Vec<Option<bool>>,
}

impl LabelledConfig {
    /// Reads image paths from the first column of `csv_file` and tolerates 1 % bad rows.
    pub fn new(csv_file: impl Into<PathBuf>, labels: LabelColumns) -> Self {
        Self {
            csv_file: csv_file.into(),
            img_root_dir: None,
            allow_outside_roots: false,
            image: Column::Position(0),
            labels,
            group: None,
            split: None,
            max_bad_share: 0.01,
            limits: DecodeLimits::default(),
        }
    }
}

impl Labels {
    /// Returns the names of classes or findings.
    pub fn names(&self) -> &[String] {
        match self {
            Self::Classes(names) | Self::Findings(names) => names,
        }
    }
}

impl LabelledManifest {
    /// Reads the CSV and the headers of the images, on all cores.
    ///
    /// Absolute paths ignore `img_root_dir`. Rows are skipped and listed when they are ragged or
    /// not UTF-8, lack a cell or an image, or when all their findings are unknown.
    ///
    /// # Errors
    ///
    /// - `FileError::Read`, `TableError::Csv`, `TableError::UnclosedQuote`,
    ///   `TableError::NoHeader`, [`ManifestError::DataInHeader`], `TableError::HeaderNotUtf8`,
    ///   `FileError::NotUtf8`, `TableError::AmbiguousSeparator`: the CSV cannot be read
    /// - [`ManifestError::MissingColumn`], [`ManifestError::AmbiguousColumn`],
    ///   [`ManifestError::ColumnOutOfRange`]: a column does not exist
    /// - [`TableError::Cell`](crate::TableError::Cell): a finding is neither 1, 0, −1 nor blank
    /// - [`ManifestError::SplitCell`]: a cell of the split column is unknown
    /// - [`ManifestError::OneClass`], [`ManifestError::UnknownClass`],
    ///   [`ManifestError::PositiveOfSeveral`]: the class column has only one class, lacks the
    ///   positive class, or has several beside it
    /// - [`ManifestError::ListedClasses`]: cells seem to list several classes
    /// - `TooManyBadRows`: the fraction of bad rows exceeds `max_bad_share`
    /// - [`ManifestError::NoStudies`]: no row is usable
    /// - [`SettingError::OutOfRange`]: `max_bad_share` is not from 0 to 1
    pub fn read(config: &LabelledConfig) -> Result<Self, ManifestError> {
        check(
            "max_bad_share",
            config.max_bad_share,
            0.0..=1.0,
            "from 0 to 1",
        )?;
        let csv = config.csv_file.as_path();
        let table = Table::read(csv)?;
        let reader = RowReader::new(config, &table.header)?;
        reader.check_header(&table.header)?;

        let skips = Skips::new(csv, table.rows.len(), config.max_bad_share);
        let rows = usable_rows(&table, &skips, |row, record| reader.row(row, record))?;
        let (mut images, mut classes) = (Vec::new(), Vec::new());
        for row in rows {
            images.push(row.image);
            classes.push(row.class);
        }
        let labels = match &config.labels {
            LabelColumns::Findings { .. } => Labels::Findings(reader.label_names()),
            LabelColumns::Class { positive, .. } => {
                let classes: Vec<String> = classes.into_iter().flatten().collect();
                let column = &reader.label_names()[0];
                check_for_lists(&classes, csv, column)?;
                name_classes(&mut images, &classes, positive.as_deref(), csv, column)?
            }
            LabelColumns::List { separator, .. } => {
                if separator.is_empty() {
                    return Err(ManifestError::Setting(SettingError::UnknownWord {
                        setting: "label_separator",
                        word: separator.clone(),
                        known: "a sign or more",
                    }));
                }
                let lists: Vec<String> = classes.into_iter().flatten().collect();
                let column = &reader.label_names()[0];
                name_findings(&mut images, &lists, separator, csv, column)?
            }
        };
        resolve_hash_collisions(
            images
                .iter_mut()
                .map(|row| (&*row.image, &mut row.image_content)),
        );
        if images.iter().all(|image| image.split.is_none()) {
            join_groups(&mut images);
        }
        Ok(Self {
            labels,
            images,
            skips,
        })
    }
}

/// Merges groups that contain the same image, so that no image is on two sides of a split.
fn join_groups(images: &mut [LabelledImage]) {
    let rows = images
        .iter()
        .map(|row| (row.group.as_str(), row.image_content));
    let groups: Vec<String> = joined_groups(rows).into_iter().map(String::from).collect();
    for (image, group) in images.iter_mut().zip(groups) {
        image.group = group;
    }
}

/// Splits images by their split column, or else holds out about `test_size` of the groups as test
/// set, stratified by label.
///
/// Where the column has no test rows, the validation rows become the test set.
///
/// # Errors
///
/// - [`ManifestError::RowWithoutSplit`], [`ManifestError::LeakedGroups`],
///   [`ManifestError::EmptySplit`]: the split column has gaps, puts a group on two sides, or leaves
///   the training or the test set empty
/// - those of [`hold_out`]
pub fn split_labelled(
    images: Vec<LabelledImage>,
    labels: &Labels,
    test_size: f64,
    seed: u64,
) -> Result<Sides<LabelledImage>, ManifestError> {
    if images.iter().all(|image| image.split.is_none()) {
        let held_out = hold_out(&images, labels, test_size, seed)?;
        let numbered = images.into_iter().enumerate();
        let (test, train): (Vec<_>, Vec<_>) =
            numbered.partition(|(position, _)| held_out.binary_search(position).is_ok());
        let images = |numbered: Vec<(_, LabelledImage)>| {
            numbered.into_iter().map(|(_, image)| image).collect()
        };
        return Ok(Sides {
            train: images(train),
            valid: Vec::new(),
            test: images(test),
        });
    }
    let mut sides = split_by_column(images)?;
    if sides.test.is_empty() {
        std::mem::swap(&mut sides.test, &mut sides.valid);
    }
    if sides.test.is_empty() {
        Err(ManifestError::EmptySplit { split: Split::Test })
    } else {
        Ok(sides)
    }
}

impl Grouped for LabelledImage {
    fn row(&self) -> usize {
        self.row
    }

    fn image(&self) -> &Path {
        &self.image
    }

    fn image_content(&self) -> u64 {
        self.image_content
    }

    fn group(&self) -> &str {
        &self.group
    }

    fn side(&self) -> Option<Split> {
        self.split
    }
}

/// Returns the names in a cell that lists findings.
fn names_in<'a>(list: &'a str, separator: &'a str) -> impl Iterator<Item = &'a str> {
    let names = list.split(separator).map(str::trim);
    names.filter(|name| !name.is_empty())
}

/// Characters that separate lists but may also occur in names ("fibrosis, mild").
const LIST_SIGNS: [&str; 5] = [";", ",", "/", "+", "&"];

/// Rejects class cells that seem to be lists: "A|B" where another cell contains "A" or "B", or
/// "A, B" where both are cells. As a class of its own, the list would exclude both.
fn check_for_lists(classes: &[String], csv: &Path, column: &str) -> Result<(), ManifestError> {
    const BAR: &str = "|";
    let distinct: BTreeSet<&str> = classes.iter().map(String::as_str).collect();
    let mut cells_with: BTreeMap<&str, usize> = BTreeMap::new();
    for name in distinct.iter().flat_map(|cell| names_in(cell, BAR)) {
        *cells_with.entry(name).or_default() += 1;
    }
    let mut lists = distinct.iter().filter(|cell| cell.contains(BAR));
    let list = lists.find(|list| names_in(list, BAR).any(|name| cells_with[name] > 1));
    let list = list.map(|list| (list, BAR));
    let list = list.or_else(|| {
        distinct.iter().find_map(|cell| {
            let lists = |sign: &&str| {
                cell.contains(sign) && cell.split(sign).all(|name| distinct.contains(name.trim()))
            };
            Some((cell, LIST_SIGNS.into_iter().find(lists)?))
        })
    });
    match list {
        None => Ok(()),
        Some((list, separator)) => Err(ManifestError::ListedClasses {
            path: csv.into(),
            column: column.into(),
            cell: list.to_string(),
            separator,
        }),
    }
}

/// Sets the targets of each image from its list of findings.
fn name_findings(
    images: &mut [LabelledImage],
    lists: &[String],
    separator: &str,
    csv: &Path,
    column: &str,
) -> Result<Labels, ManifestError> {
    let distinct = lists.iter().flat_map(|list| names_in(list, separator));
    let distinct: BTreeSet<&str> = distinct.collect();
    if distinct.len() < 2 {
        return Err(ManifestError::OneClass {
            path: csv.into(),
            column: column.into(),
            class: distinct.into_iter().collect(),
        });
    }
    for (image, list) in images.iter_mut().zip(lists) {
        let named: BTreeSet<&str> = names_in(list, separator).collect();
        let holds = distinct.iter().map(|name| Some(named.contains(name)));
        image.targets = holds.collect();
    }
    let names = distinct.iter().map(ToString::to_string);
    Ok(Labels::Findings(names.collect()))
}

/// Sets the targets of each image from its class.
fn name_classes(
    images: &mut [LabelledImage],
    classes: &[String],
    positive: Option<&str>,
    csv: &Path,
    column: &str,
) -> Result<Labels, ManifestError> {
    let distinct: BTreeSet<&str> = classes.iter().map(String::as_str).collect();
    let mut names: Vec<String> = distinct.iter().map(ToString::to_string).collect();
    if let Some(positive) = positive.filter(|positive| !distinct.contains(positive)) {
        return Err(ManifestError::UnknownClass {
            path: csv.into(),
            column: column.into(),
            class: positive.into(),
            found: names,
        });
    }
    let labels = match names.len() {
        1 => {
            return Err(ManifestError::OneClass {
                path: csv.into(),
                column: column.into(),
                class: names.remove(0),
            });
        }
        2 => {
            let last = names.remove(1);
            Labels::Findings(vec![positive.map_or(last, str::to_string)])
        }
        _ => match positive {
            None => Labels::Classes(names),
            Some(class) => {
                return Err(ManifestError::PositiveOfSeveral {
                    path: csv.into(),
                    column: column.into(),
                    class: class.into(),
                    found: names,
                });
            }
        },
    };
    for (image, class) in images.iter_mut().zip(classes) {
        let matches = |name: &String| Some(name == class);
        image.targets = labels.names().iter().map(matches).collect();
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::{GrayImage, Luma};
    use tempfile::TempDir;

    use super::*;
    use crate::skips::SkipReason;

    /// A folder with `labels.csv` and the images `a.png` to `f.png`.
    fn folder(csv: &str) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("labels.csv"), csv).unwrap();
        for image in ["a", "b", "c", "d", "e", "f"] {
            let path = folder.path().join(format!("{image}.png"));
            let level = Luma([image.as_bytes()[0]]);
            GrayImage::from_pixel(8, 8, level).save(path).unwrap();
        }
        folder
    }

    fn name(name: &str) -> Column {
        Column::Name(name.into())
    }

    fn class(positive: Option<&str>) -> LabelColumns {
        LabelColumns::Class {
            column: name("label"),
            positive: positive.map(str::to_string),
        }
    }

    fn findings(uncertain: UncertainPolicy, blank: BlankPolicy) -> LabelColumns {
        LabelColumns::Findings {
            columns: vec![name("Edema"), name("Mass")],
            uncertain,
            blank,
        }
    }

    fn read(csv: &str, labels: LabelColumns) -> Result<LabelledManifest, ManifestError> {
        let folder = folder(csv);
        LabelledManifest::read(&LabelledConfig::new(
            folder.path().join("labels.csv"),
            labels,
        ))
    }

    fn targets(manifest: &LabelledManifest) -> Vec<Vec<Option<bool>>> {
        let images = manifest.images.iter();
        images.map(|image| image.targets.clone()).collect()
    }

    #[test]
    fn two_classes_become_one_finding_the_last_by_name_or_the_chosen_one() {
        let csv = "image,label\na.png,sick\nb.png,healthy\nc.png, sick \n";
        for (positive, found, expected) in [
            (None, "sick", [true, false, true]),
            (Some("healthy"), "healthy", [false, true, false]),
        ] {
            let manifest = read(csv, class(positive)).unwrap();
            assert_eq!(manifest.labels, Labels::Findings(vec![found.into()]));
            assert_eq!(targets(&manifest), expected.map(|target| [Some(target)]));
        }
    }

    #[test]
    fn more_classes_exclude_each_other() {
        let csv = "image,label\na.png,wrist\nb.png,elbow\nc.png,hand\n";
        let manifest = read(csv, class(None)).unwrap();
        let names = ["elbow", "hand", "wrist"].map(String::from);
        assert_eq!(manifest.labels, Labels::Classes(names.into()));
        let [no, yes] = [false, true].map(Some);
        assert_eq!(
            targets(&manifest),
            [[no, no, yes], [yes, no, no], [no, yes, no]]
        );
    }

    #[test]
    fn a_list_of_findings_is_split_at_the_chosen_separator() {
        let csv = "image,label\na.png,Edema|Mass\nb.png, No Finding \nc.png,Mass||\n";
        let list = LabelColumns::List {
            column: name("label"),
            separator: "|".into(),
        };
        let manifest = read(csv, list.clone()).unwrap();
        let names = ["Edema", "Mass", "No Finding"].map(String::from);
        assert_eq!(manifest.labels, Labels::Findings(names.into()));
        let [no, yes] = [false, true].map(Some);
        assert_eq!(
            targets(&manifest),
            [[yes, yes, no], [no, no, yes], [no, yes, no]]
        );
        let message = read(csv, class(None)).unwrap_err().to_string();
        for fact in ["labels.csv", "`label`", "`Edema|Mass`", "--label-separator"] {
            assert!(message.contains(fact), "`{fact}` in {message}");
        }
        for (cell, sign) in [
            ("Edema;Mass", ";"),
            ("\"Edema, Mass\"", ","),
            ("Edema/Mass", "/"),
            ("Edema+Mass", "+"),
            ("Edema & Mass", "&"),
        ] {
            let csv = format!("image,label\na.png,{cell}\nb.png,Edema\nc.png,Mass\n");
            let message = read(&csv, class(None)).unwrap_err().to_string();
            let option = format!("--label-separator '{sign}'");
            assert!(message.contains(&option), "{message}");
            let csv = format!("image,label\na.png,{cell}\nb.png,Edema\nc.png,None\n");
            assert_eq!(read(&csv, class(None)).unwrap().labels.names().len(), 3);
        }
        let apart = "image,label\na.png,left|right\nb.png,up|down\nc.png,none\n";
        let manifest = read(apart, class(None)).unwrap();
        assert_eq!(manifest.labels.names(), ["left|right", "none", "up|down"]);
        let message = read("image,label\na.png,A|A\n", list)
            .unwrap_err()
            .to_string();
        assert!(message.contains("only the class `A`"), "{message}");
    }

    #[test]
    fn uncertain_and_blank_findings_follow_the_policies() {
        let csv = "image,Edema,Mass\na.png,1.0,0\nb.png,-1.0,1\nc.png,,-1\n";
        let read = |uncertain, blank| targets(&read(csv, findings(uncertain, blank)).unwrap());
        let [no, yes] = [false, true].map(Some);
        assert_eq!(
            read(UncertainPolicy::Ones, BlankPolicy::Zeros),
            [[yes, no], [yes, yes], [no, yes]]
        );
        assert_eq!(
            read(UncertainPolicy::Zeros, BlankPolicy::Ignore),
            [[yes, no], [no, yes], [None, no]]
        );
        assert_eq!(
            read(UncertainPolicy::Ignore, BlankPolicy::Zeros),
            [[yes, no], [None, yes], [no, None]]
        );
    }

    #[test]
    fn an_image_without_known_labels_is_skipped_and_is_not_bad_input() {
        let csv = "image,Edema,Mass\na.png,1,0\nb.png,-1,\n";
        let labels = findings(UncertainPolicy::Ignore, BlankPolicy::Ignore);
        let manifest = read(csv, labels).unwrap();
        assert_eq!(manifest.images.len(), 1);
        let [skip] = &manifest.skips.list()[..] else {
            panic!("{}", manifest.skips);
        };
        assert_eq!((skip.row, skip.reason), (2, SkipReason::Unlabelled));
        assert_eq!(manifest.skips.bad_rows(), 0);
    }

    #[test]
    fn an_invalid_label_is_an_error_with_its_row_and_column() {
        let csv = "image,Edema,Mass\na.png,1,0\nb.png,0,maybe\n";
        let labels = findings(UncertainPolicy::Ignore, BlankPolicy::Zeros);
        let message = read(csv, labels).unwrap_err().to_string();
        for fact in ["labels.csv", "row 2", "`Mass`", "`maybe`", "1, 0, -1"] {
            assert!(message.contains(fact), "`{fact}` in {message}");
        }
    }

    #[test]
    fn a_missing_label_column_is_an_error_with_the_nearest() {
        let csv = "image,Edemas,Mass\na.png,1,0\n";
        let labels = findings(UncertainPolicy::Ignore, BlankPolicy::Zeros);
        let message = read(csv, labels).unwrap_err().to_string();
        assert!(
            message.contains("`Edema`") && message.contains("did you mean `Edemas`"),
            "{message}"
        );
    }

    #[test]
    fn one_class_and_a_positive_one_of_several_or_unknown_are_errors() {
        let csv = "image,label\na.png,sick\nb.png,sick\n";
        let message = read(csv, class(None)).unwrap_err().to_string();
        assert!(message.contains("only the class `sick`"), "{message}");
        let csv = "image,label\na.png,sick\nb.png,healthy\n";
        let message = read(csv, class(Some("ill"))).unwrap_err().to_string();
        assert!(
            message.contains("`ill`") && message.contains("healthy"),
            "{message}"
        );
        let csv = "image,label\na.png,sick\nb.png,healthy\nc.png,unknown\n";
        let message = read(csv, class(Some("sick"))).unwrap_err().to_string();
        assert!(
            message.contains("has 3 classes") && message.contains("`sick`"),
            "{message}"
        );
    }

    #[test]
    fn bad_rows_are_skipped_up_to_the_share() {
        let csv = "image,label,who\na.png,sick,1\nnone.png,sick,2\nb.png,,3\nc.png,well\n\
                   d.png,well,4\n";
        let folder = folder(csv);
        let config = LabelledConfig {
            group: Some(name("who")),
            max_bad_share: 0.6,
            ..LabelledConfig::new(folder.path().join("labels.csv"), class(None))
        };
        let manifest = LabelledManifest::read(&config).unwrap();
        let groups: Vec<_> = manifest.images.iter().map(|image| &image.group).collect();
        assert_eq!(groups, ["1", "4"]);
        let reasons: Vec<_> = manifest.skips.counts().into_keys().collect();
        let expected = [
            SkipReason::RaggedRow,
            SkipReason::EmptyCell,
            SkipReason::MissingImage,
        ];
        assert_eq!(reasons, expected);
        let strict = LabelledConfig {
            max_bad_share: 0.5,
            ..config
        };
        let error = LabelledManifest::read(&strict).unwrap_err();
        assert!(matches!(error, ManifestError::TooManyBadRows(_)), "{error}");
    }

    #[test]
    fn an_image_outside_of_the_roots_is_an_error_unless_it_is_allowed() {
        let elsewhere = folder("");
        let image = elsewhere.path().join("a.png");
        let folder = folder(&format!(
            "image,label\n{},sick\nb.png,well\n",
            image.display()
        ));
        let csv = folder.path().join("labels.csv");
        let strict = LabelledConfig::new(csv, class(None));
        let error = LabelledManifest::read(&strict).unwrap_err();
        assert!(
            matches!(error, ManifestError::OutsideRoots { row: 1, .. }),
            "{error}"
        );
        let lenient = LabelledConfig {
            allow_outside_roots: true,
            ..strict
        };
        assert_eq!(LabelledManifest::read(&lenient).unwrap().images.len(), 2);
    }

    #[test]
    fn copies_of_an_image_are_in_one_group_when_the_split_is_drawn() {
        let folder = folder("image,label\na.png,sick\nb.png,well\ncopy.png,sick\n");
        let file = |name| folder.path().join(name);
        fs::copy(file("a.png"), file("copy.png")).unwrap();
        let config = LabelledConfig::new(file("labels.csv"), class(None));
        let images = LabelledManifest::read(&config).unwrap().images;
        assert_eq!(images[0].group, images[2].group);
        assert_ne!(images[0].group, images[1].group);
    }

    #[test]
    fn images_that_differ_late_in_their_files_are_not_copies() {
        let folder = folder("image,label\na.png,sick\nb.png,well\nc.png,well\n");
        let file = |name| folder.path().join(name);
        let start = [fs::read(file("a.png")).unwrap(), vec![0; 70_000]].concat();
        for (name, end) in [("a.png", 1), ("b.png", 2), ("c.png", 2)] {
            fs::write(file(name), [&start[..], &[end]].concat()).unwrap();
        }
        let config = LabelledConfig::new(file("labels.csv"), class(None));
        let images = LabelledManifest::read(&config).unwrap().images;
        assert_ne!(images[0].group, images[1].group);
        assert_eq!(images[1].group, images[2].group);
    }

    #[test]
    fn a_split_column_is_followed_and_validation_becomes_the_test_set_if_there_is_none() {
        let sides = |column: [&str; 4]| {
            let [a, b, c, d] = column;
            let csv = format!(
                "image,label,split\na.png,sick,{a}\nb.png,well,{b}\nc.png,sick,{c}\nd.png,well,{d}\n"
            );
            let folder = folder(&csv);
            let config = LabelledConfig {
                split: Some(name("split")),
                ..LabelledConfig::new(folder.path().join("labels.csv"), class(None))
            };
            let manifest = LabelledManifest::read(&config).unwrap();
            split_labelled(manifest.images, &manifest.labels, 0.5, 0)
        };
        let rows = |images: &[LabelledImage]| -> Vec<usize> {
            images.iter().map(|image| image.row).collect()
        };
        let three = sides(["train", "train", "val", "test"]).unwrap();
        assert_eq!(rows(&three.train), [1, 2]);
        assert_eq!((rows(&three.valid), rows(&three.test)), (vec![3], vec![4]));
        let two = sides(["train", "train", "val", "val"]).unwrap();
        assert_eq!((rows(&two.valid), rows(&two.test)), (vec![], vec![3, 4]));
        for column in [
            ["train", "train", "train", "train"],
            ["test", "test", "val", "val"],
        ] {
            let error = sides(column).unwrap_err();
            assert!(matches!(error, ManifestError::EmptySplit { .. }), "{error}");
        }
    }
}
