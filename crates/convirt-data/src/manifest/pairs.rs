//! The CSV of image–text pairs.

mod rows;

use std::collections::HashMap;
use std::path::PathBuf;

use rayon::prelude::*;

use super::column::Column;
use super::columns::PairColumns;
use super::row::usable_rows;
use super::study::{Split, Study};
use super::table::Table;
use crate::image::{DecodeLimits, resolve_hash_collisions};
use crate::manifest::error::ManifestError;
use crate::setting::check;
use crate::skips::Skips;
pub(crate) use rows::{Cells, RowReader, text_group, too_short};

/// Configures the reading of a CSV of image–text pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct ManifestConfig {
    /// The CSV in UTF-8, with a header row. Cells are separated by commas or, if the header row has
    /// them instead, by semicolons, tabs or bars; they may be quoted.
    pub csv_file: PathBuf,
    /// Folder that image paths are relative to; `None`: the folder of the CSV.
    pub img_root_dir: Option<PathBuf>,
    /// Folder that text paths are relative to; `None`: the folder of the CSV.
    pub text_root_dir: Option<PathBuf>,
    /// Whether the table may name files outside of its own folder, `img_root_dir` and
    /// `text_root_dir`.
    pub allow_outside_roots: bool,
    /// Whether the text column contains paths of text files instead of texts.
    pub text_from_files: bool,
    /// Column of the image path.
    pub image: Column,
    /// Column of the text or its path; `None`: images without texts.
    pub text: Option<Column>,
    /// Column of the group that is never divided by a split, such as the patient.
    ///
    /// `None`: pairs with equal texts form a group where validation is drawn. Where a split column
    /// gives the side, or without texts, each image is its own group.
    pub group: Option<Column>,
    /// Column of the split: train, valid or test; empty cells have no side.
    pub split: Option<Column>,
    /// Fewest words of a usable sentence; rows without a usable sentence are skipped.
    pub min_words: usize,
    /// Largest tolerated fraction of bad rows, from 0 to 1.
    pub max_bad_share: f64,
    /// Limits on the size of images; larger ones are bad rows.
    pub limits: DecodeLimits,
}

/// The studies of a CSV, and its skipped rows.
///
/// # Examples
///
/// ```
/// use convirt_data::{Column, Manifest, ManifestConfig, SkipReason, Split};
///
/// let folder = tempfile::tempdir()?;
/// image::GrayImage::new(8, 8).save(folder.path().join("a.png"))?;
/// let csv = folder.path().join("pairs.csv");
/// std::fs::write(
///     &csv,
///     "image,report,patient,split\n\
///      a.png,The lungs are clear.,p1,train\n\
///      b.png,A small effusion.,p2,valid\n",
/// )?;
/// let config = ManifestConfig {
///     group: Some(Column::Name("patient".into())),
///     split: Some(Column::Name("split".into())),
///     max_bad_share: 0.5,
///     ..ManifestConfig::new(csv)
/// };
/// let manifest = Manifest::read(&config)?;
/// let study = &manifest.studies[0];
/// assert_eq!((study.row, study.image_size), (1, [8, 8]));
/// assert_eq!((study.group.as_str(), study.split), ("p1", Some(Split::Train)));
/// assert_eq!(study.report.sentences, ["The lungs are clear."]);
///
/// // b.png does not exist.
/// let skips = manifest.skips.list();
/// assert_eq!((skips[0].row, skips[0].reason), (2, SkipReason::MissingImage));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Manifest {
    /// The usable rows, in the order of the CSV.
    pub studies: Vec<Study>,
    /// The skipped rows.
    pub skips: Skips,
}

impl ManifestConfig {
    /// Reads image paths and texts from the first two columns of `csv_file`, uses sentences of at
    /// least 3 words and tolerates 1 % bad rows.
    pub fn new(csv_file: impl Into<PathBuf>) -> Self {
        Self {
            csv_file: csv_file.into(),
            img_root_dir: None,
            text_root_dir: None,
            allow_outside_roots: false,
            text_from_files: false,
            image: Column::Position(0),
            text: Some(Column::Position(1)),
            group: None,
            split: None,
            min_words: 3,
            max_bad_share: 0.01,
            limits: DecodeLimits::default(),
        }
    }

    /// Reads the given columns of `csv_file`, with the other settings of [`new`](Self::new).
    pub fn with_columns(csv_file: impl Into<PathBuf>, columns: &PairColumns) -> Self {
        Self {
            text_from_files: columns.text_from_files,
            image: columns.image.clone(),
            text: columns.text.clone(),
            group: columns.group.clone(),
            split: columns.split.clone(),
            ..Self::new(csv_file)
        }
    }
}

impl Manifest {
    /// Reads the CSV, the text files, and the headers of the images, on all cores.
    ///
    /// Paths may be absolute, but must lead into the folder of the CSV, `img_root_dir` or
    /// `text_root_dir`, unless `allow_outside_roots` is set; links are followed. Rows are skipped and listed when
    /// they are ragged or not UTF-8, lack a cell, an image or a text, or when no sentence has
    /// `min_words` words. Without a text column the reports are empty.
    ///
    /// Without a group column equal texts are one group, except on sides that a split column gives:
    /// with `valid` among them each image is its own group, with `train` and `test` alone each test
    /// image.
    ///
    /// # Errors
    ///
    /// - `FileError::Read`, `TableError::Csv`, `TableError::UnclosedQuote`,
    ///   `TableError::NoHeader`, [`ManifestError::DataInHeader`], `TableError::HeaderNotUtf8`,
    ///   `FileError::NotUtf8`, `TableError::AmbiguousSeparator`: the CSV cannot be read
    /// - [`ManifestError::MissingColumn`], [`ManifestError::AmbiguousColumn`],
    ///   [`ManifestError::ColumnOutOfRange`]: a column does not exist
    /// - [`ManifestError::SplitCell`]: a cell of the split column is unknown
    /// - [`ManifestError::OutsideRoots`]: a path leads outside of these folders
    /// - `TooManyBadRows`: the fraction of bad rows exceeds `max_bad_share`
    /// - [`ManifestError::NoStudies`]: no row is usable
    /// - `SettingError::OutOfRange`: `max_bad_share` is not from 0 to 1
    pub fn read(config: &ManifestConfig) -> Result<Self, ManifestError> {
        Self::read_with(config, Vec::new())
    }

    /// Reads the CSV as [`read`](Self::read) does, except for the rows of `known`, which
    /// [`read_share`](Self::read_share) has read.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    pub fn read_with(config: &ManifestConfig, known: Vec<Study>) -> Result<Self, ManifestError> {
        let share = config.max_bad_share;
        check("max_bad_share", share, 0.0..=1.0, "from 0 to 1")?;
        let csv = config.csv_file.as_path();
        let table = Table::read(csv)?;
        let reader = RowReader::new(config, &table.header)?;
        reader.check_header(&table.header)?;

        let skips = Skips::new(csv, table.rows.len(), config.max_bad_share);
        let known: HashMap<usize, Study> =
            known.into_iter().map(|study| (study.row, study)).collect();
        let study = |row, record: &_| match known.get(&row) {
            Some(study) => Ok(study.clone()),
            None => reader.study(row, record),
        };
        let mut studies = usable_rows(&table, &skips, study)?;
        if reader.groups_texts() {
            group_equal_texts(&mut studies);
        }
        resolve_hash_collisions(
            studies
                .iter_mut()
                .map(|study| (&*study.image, &mut study.image_content)),
        );
        Ok(Self { studies, skips })
    }

    /// Reads the rows of share number `rank` of `size`, so that several processes read a large table
    /// together. Rows that cannot be used are missing: [`read_with`](Self::read_with) finds out why.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read) about the CSV itself and its columns.
    ///
    /// # Examples
    ///
    /// ```
    /// use convirt_data::{Manifest, ManifestConfig};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # image::GrayImage::new(8, 8).save(folder.path().join("a.png"))?;
    /// # let csv = folder.path().join("pairs.csv");
    /// # std::fs::write(&csv, "image,report\na.png,The lungs are clear.\n")?;
    /// let config = ManifestConfig::new(csv);
    /// let shares = [0, 1].map(|rank| Manifest::read_share(&config, rank, 2));
    /// let known: Result<Vec<_>, _> = shares.into_iter().collect();
    /// let manifest = Manifest::read_with(&config, known?.concat())?;
    /// assert_eq!(manifest.studies, Manifest::read(&config)?.studies);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read_share(
        config: &ManifestConfig,
        rank: usize,
        size: usize,
    ) -> Result<Vec<Study>, ManifestError> {
        let table = Table::read(&config.csv_file)?;
        let reader = RowReader::new(config, &table.header)?;
        let rows = table.rows.len();
        let share = rank * rows / size..(rank + 1) * rows / size;
        let read = |row: usize| reader.study(row + 1, &table.rows[row]).ok();
        Ok(share.into_par_iter().filter_map(read).collect())
    }
}

/// Makes one group of equal texts where validation is drawn, which is where no row is marked for it.
///
/// Test rows keep their groups: the split column may give an equal text to the others.
fn group_equal_texts(studies: &mut [Study]) {
    let is_on = |side| move |study: &Study| study.split == Some(side);
    if studies.iter().any(is_on(Split::Valid)) {
        return;
    }
    for study in studies
        .iter_mut()
        .filter(|study| !is_on(Split::Test)(study))
    {
        study.group = text_group(&study.report.text);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use image::GrayImage;
    use tempfile::TempDir;

    use convirt_phantom::PhantomConfig;

    use super::*;
    use crate::image::dicom::tests::fixtures::Dicom;
    use crate::manifest::study::Report;
    use crate::manifest::{SplitConfig, split};
    use crate::skips::SkipReason;
    use crate::tests::fixtures::{dataset, evaluation_view};

    /// A folder with `pairs.csv`, and images of the names given.
    fn folder(csv: &[u8], images: &[&str]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("pairs.csv"), csv).unwrap();
        for image in images {
            GrayImage::new(8, 8)
                .save(folder.path().join(image))
                .unwrap();
        }
        folder
    }

    fn config(folder: &TempDir) -> ManifestConfig {
        ManifestConfig::new(folder.path().join("pairs.csv"))
    }

    fn name(name: &str) -> Column {
        Column::Name(name.into())
    }

    fn error(config: &ManifestConfig) -> String {
        Manifest::read(config).unwrap_err().to_string()
    }

    #[test]
    fn rows_become_studies_with_their_group_and_split() {
        let csv = b"\xef\xbb\xbfsplit,text,who,image\r\n\
            dev,\"The heart, as before,\r\nis normal. Clear.\", p1 ,a.png\r\n\
            ,No effusion is seen.,p2,b.png\r\n";
        let folder = folder(csv, &["a.png", "b.png"]);
        let manifest = Manifest::read(&ManifestConfig {
            image: name("image"),
            text: Some(Column::Position(1)),
            group: Some(name("who")),
            split: Some(name("split")),
            ..config(&folder)
        })
        .unwrap();
        let [first, second] = &manifest.studies[..] else {
            panic!("{:?}", manifest.studies);
        };
        assert_eq!(first.row, 1);
        assert_eq!(first.image, folder.path().join("a.png"));
        assert_eq!(
            &*first.report.text,
            "The heart, as before,\r\nis normal. Clear."
        );
        assert_eq!(first.report.sentences, ["The heart, as before, is normal."]);
        assert_eq!(
            (first.group.as_str(), first.split),
            ("p1", Some(Split::Valid))
        );
        assert_eq!((second.row, second.split), (2, None));
        assert!(manifest.skips.list().is_empty());
    }

    #[test]
    fn every_kind_of_bad_row_is_skipped_with_file_and_row() {
        let csv = b"image,text,who\n\
            good.png,good.txt,p1\n\
            ,good.txt,p2\n\
            good.png,,p3\n\
            good.png,good.txt, \n\
            good.png,good.txt\n\
            good.png,good.txt,p6,\"more\n\"\n\
            good.png,go\xffod.txt,p7\n\
            none.png,good.txt,p8\n\
            empty.png,good.txt,p9\n\
            cut.png,good.txt,p10\n\
            good.png,none.txt,p11\n\
            good.png,blank.txt,p12\n\
            good.png,latin.txt,p13\n\
            good.png,.,p14\n\
            good.png,short.txt,p15\n\
            \n\
            good.png,good.txt,p16\n";
        let folder = folder(csv, &["good.png"]);
        let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        write("good.txt", b"The heart is normal.");
        write("blank.txt", b" \n");
        write("latin.txt", b"Odd \xe9 here");
        write("short.txt", b"Normal chest.");
        write("empty.png", b"");
        write(
            "cut.png",
            &fs::read(folder.path().join("good.png")).unwrap()[..20],
        );
        let lenient = ManifestConfig {
            text_from_files: true,
            group: Some(name("who")),
            max_bad_share: 0.9,
            ..config(&folder)
        };
        let manifest = Manifest::read(&lenient).unwrap();

        // Two readers, each of which passes over what it cannot use.
        let share = |rank| Manifest::read_share(&lenient, rank, 2).unwrap();
        let known = [share(0), share(1)].concat();
        assert_eq!(known.len(), 2);
        let shared = Manifest::read_with(&lenient, known).unwrap();
        assert_eq!(shared.studies, manifest.studies);
        assert_eq!(shared.skips.list(), manifest.skips.list());

        let rows: Vec<_> = manifest.studies.iter().map(|study| study.row).collect();
        assert_eq!(rows, [1, 16]);
        let skips = manifest.skips.list();
        let reasons: Vec<_> = skips
            .iter()
            .map(|skip| {
                let file = skip.file.file_name().unwrap_or_default().to_string_lossy();
                (skip.row, skip.reason, file.into_owned())
            })
            .collect();
        let expected = [
            (2, SkipReason::EmptyCell, "pairs.csv"),
            (3, SkipReason::EmptyCell, "pairs.csv"),
            (4, SkipReason::EmptyCell, "pairs.csv"),
            (5, SkipReason::RaggedRow, "pairs.csv"),
            (6, SkipReason::RaggedRow, "pairs.csv"),
            (7, SkipReason::NotUtf8, "pairs.csv"),
            (8, SkipReason::MissingImage, "none.png"),
            (9, SkipReason::UnreadableImage, "empty.png"),
            (10, SkipReason::UnreadableImage, "cut.png"),
            (11, SkipReason::MissingText, "none.txt"),
            (12, SkipReason::EmptyText, "blank.txt"),
            (13, SkipReason::NotUtf8, "latin.txt"),
            (14, SkipReason::UnreadableText, "."),
            (15, SkipReason::TooShort, "short.txt"),
        ];
        let folder_name = folder.path().file_name().unwrap().to_str().unwrap();
        let expected = expected.map(|(row, reason, file)| {
            let file = if file == "." { folder_name } else { file };
            (row, reason, file.to_owned())
        });
        assert_eq!(reasons, expected);
        let details: Vec<_> = [2, 5, 6, 7, 13]
            .map(|row| skips[row - 2].detail.as_str())
            .into();
        assert_eq!(
            details,
            [
                "column `image`, line 3",
                "2 cells where the header has 3, line 6",
                "4 cells where the header has 3, lines 7 to 8, is a quote amiss?",
                "column `text`, byte 2 of the cell, line 9",
                "byte 4",
            ]
        );

        let message = error(&ManifestConfig {
            max_bad_share: 0.5,
            ..lenient
        });
        assert!(message.contains("13 of 16 rows"), "{message}");
        assert!(message.contains("row 2: "), "{message}");
    }

    #[test]
    fn dicom_files_are_images_like_any_other() {
        let csv = b"image,text\na.png,The heart is normal.\nb.dcm,No effusion is seen.\n";
        let folder = folder(csv, &["a.png"]);
        let dicom = Dicom::grey_8(8, &[255; 64]).text(0x0028_0004, "MONOCHROME1");
        fs::write(folder.path().join("b.dcm"), dicom.file()).unwrap();
        let manifest = Manifest::read(&config(&folder)).unwrap();
        assert!(manifest.skips.list().is_empty(), "{}", manifest.skips);
        let data = dataset(manifest.studies, evaluation_view(), 0.0);
        let [png, dicom] = [0, 1].map(|index| data.sample_or_skip(0, index).unwrap().unwrap());
        assert_eq!(dicom.pixels, png.pixels, "black, both of them");
    }

    #[test]
    fn paths_start_from_the_root_instead_of_the_folder_of_the_csv_or_are_absolute() {
        let elsewhere = folder(b"", &["far.png", "near.png"]);
        let far = elsewhere.path().join("far.png");
        let csv = format!(
            "image,text\n{},The heart is normal.\nnear.png,No effusion is seen.\n",
            far.display()
        );
        let folder = folder(csv.as_bytes(), &[]);
        let manifest = Manifest::read(&ManifestConfig {
            img_root_dir: Some(elsewhere.path().into()),
            ..config(&folder)
        })
        .unwrap();
        let images: Vec<_> = manifest.studies.iter().map(|study| &study.image).collect();
        assert_eq!(images, [&far, &elsewhere.path().join("near.png")]);
    }

    #[test]
    fn a_path_outside_of_the_roots_is_an_error_unless_it_is_allowed() {
        let elsewhere = folder(b"The heart is normal.", &["a.png"]);
        let folder = folder(b"", &["a.png"]);
        let [image, text] = ["a.png", "pairs.csv"].map(|name| elsewhere.path().join(name));
        let name = elsewhere.path().file_name().unwrap().to_str().unwrap();
        for (cells, text_from_files, outside) in [
            (
                format!("{},No effusion is seen.", image.display()),
                false,
                "a.png",
            ),
            (
                format!("../{name}/a.png,No effusion is seen."),
                false,
                "../",
            ),
            (format!("a.png,{}", text.display()), true, "pairs.csv"),
        ] {
            let table = format!("image,text\n{cells}\n");
            fs::write(folder.path().join("pairs.csv"), &table).unwrap();
            let strict = ManifestConfig {
                text_from_files,
                max_bad_share: 1.0,
                ..config(&folder)
            };
            let message = error(&strict);
            for part in ["pairs.csv: row 1: `", outside, "allow_outside_roots"] {
                assert!(message.contains(part), "no {part} in {message}");
            }
            let lenient = ManifestConfig {
                allow_outside_roots: true,
                ..strict.clone()
            };
            assert_eq!(Manifest::read(&lenient).unwrap().studies.len(), 1);
            let with_root = ManifestConfig {
                text_root_dir: Some(elsewhere.path().into()),
                img_root_dir: Some(folder.path().into()),
                ..strict
            };
            assert!(Manifest::read(&with_root).is_ok(), "{cells}");
        }
    }

    #[test]
    fn without_a_group_column_equal_texts_are_one_group_where_validation_is_drawn() {
        let groups = |sides: [&str; 3], split| {
            let [first, second, third] = sides;
            let csv = format!(
                "image,text,split\na.png,The heart  is normal.,{first}\n\
                 b.png,The heart is normal.,{second}\nc.png,The heart is normal.,{third}\n"
            );
            let folder = folder(csv.as_bytes(), &["a.png", "b.png", "c.png"]);
            let config = ManifestConfig {
                split,
                ..config(&folder)
            };
            let studies = Manifest::read(&config).unwrap().studies;
            let groups: Vec<_> = studies.iter().map(|study| study.group.clone()).collect();
            [groups[0] == groups[1], groups[1] == groups[2]]
        };
        let column = Some(name("split"));
        assert_eq!(groups(["", "", ""], None), [true, true]);
        assert_eq!(groups(["", "", ""], column.clone()), [true, true]);
        let drawn = groups(["train", "train", "test"], column.clone());
        assert_eq!(drawn, [true, false], "the test rows are given");
        let given = groups(["train", "train", "dev"], column);
        assert_eq!(given, [false, false], "the split column decides");
    }

    #[test]
    fn validation_drawn_from_the_training_rows_shares_no_text_and_no_image_with_them() {
        let mut csv = "image,text,split\n".to_string();
        let mut images = Vec::new();
        for row in 0..40 {
            images.push(format!("{row}.png"));
            let (side, text) = if row < 8 {
                ("test", 0)
            } else {
                ("train", row % 8)
            };
            csv += &format!("{row}.png,Finding number {text} is seen.,{side}\n");
        }
        let images: Vec<&str> = images.iter().map(String::as_str).collect();
        let folder = folder(csv.as_bytes(), &images);
        for (row, image) in images.iter().enumerate() {
            // Two texts have their images in common, in pairs of files.
            let level = if row % 8 < 2 { 100 + row / 8 } else { row } as u8;
            GrayImage::from_pixel(8, 8, image::Luma([level]))
                .save(folder.path().join(image))
                .unwrap();
        }
        let config = ManifestConfig {
            split: Some(name("split")),
            ..config(&folder)
        };
        for seed in 0..8 {
            let studies = Manifest::read(&config).unwrap().studies;
            let valid_size = 0.3;
            let sides = split(studies, &SplitConfig { valid_size, seed }).unwrap();
            assert_eq!(sides.test.len(), 8);
            assert_eq!(sides.train.len() + sides.valid.len(), 32);
            let texts = |studies: &[Study]| -> BTreeSet<_> {
                studies.iter().map(|it| it.report.text.clone()).collect()
            };
            let contents = |studies: &[Study]| -> BTreeSet<_> {
                studies.iter().map(|it| it.image_content).collect()
            };
            assert!(texts(&sides.train).is_disjoint(&texts(&sides.valid)));
            assert!(contents(&sides.train).is_disjoint(&contents(&sides.valid)));
            let known = texts(&sides.train).union(&texts(&sides.valid)).count();
            assert!(known == 8 && texts(&sides.test).len() == 1);
        }
    }

    #[test]
    fn without_a_text_column_every_image_is_used_and_is_its_own_group() {
        let folder = folder(
            b"image\na.png\nb.png\nnone.png\na.png\n",
            &["a.png", "b.png"],
        );
        let manifest = Manifest::read(&ManifestConfig {
            text: None,
            text_from_files: true,
            max_bad_share: 0.25,
            ..config(&folder)
        })
        .unwrap();
        let groups: Vec<_> = manifest.studies.iter().map(|study| &study.group).collect();
        assert_eq!(groups.len(), 3);
        assert!(groups[0] == groups[2] && groups[0] != groups[1]);
        let without = |study: &Study| study.report == Report::default();
        assert!(manifest.studies.iter().all(without));
        let skips = manifest.skips.list();
        assert_eq!(
            (skips[0].row, skips[0].reason),
            (3, SkipReason::MissingImage)
        );
        assert!(
            Manifest::read(&config(&folder)).is_err(),
            "a text column that is asked for has to be there"
        );
    }

    #[test]
    fn a_table_without_a_header_is_rejected() {
        let folder = folder(
            b"a.png,The heart is normal.\nb.png,No effusion.\n",
            &["a.png"],
        );
        let message = error(&config(&folder));
        assert!(message.contains("`a.png` is an image file"), "{message}");
    }

    #[test]
    fn images_are_equal_when_their_whole_files_are() {
        let csv = "image,text\na.png,One.\nb.png,Two.\nc.png,Three.\n";
        let images = ["a.png", "b.png", "c.png"];
        let folder = folder(csv.as_bytes(), &images);
        for (name, end) in images.into_iter().zip([1, 2, 2]) {
            let path = folder.path().join(name);
            let start = [fs::read(&path).unwrap(), vec![0; 70_000]].concat();
            fs::write(path, [&start[..], &[end]].concat()).unwrap();
        }
        let manifest = Manifest::read(&ManifestConfig {
            min_words: 1,
            ..config(&folder)
        });
        let studies = manifest.unwrap().studies;
        let [a, b, c] = [0, 1, 2].map(|row| studies[row].image_content);
        assert_ne!(a, b);
        assert_eq!(b, c);
    }

    #[test]
    fn an_unknown_split_is_an_error_with_its_row() {
        let csv =
            b"image,text,split\na.png,The heart is normal.,train\na.png,Same here again.,tset\n";
        let folder = folder(csv, &["a.png"]);
        let error = Manifest::read(&ManifestConfig {
            split: Some(name("split")),
            ..config(&folder)
        })
        .unwrap_err();
        assert!(
            matches!(error, ManifestError::SplitCell { row: 2, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_table_without_usable_rows_is_an_error_with_the_reasons() {
        let folder = folder(b"image,text\na.png,Normal.\n", &["a.png"]);
        let message = error(&config(&folder));
        assert!(message.contains("none of the 1 rows"), "{message}");
        assert!(message.contains("text too short: 1"), "{message}");
        fs::write(folder.path().join("pairs.csv"), "image,text\n").unwrap();
        assert!(error(&config(&folder)).contains("none of the 0 rows"));
    }

    #[test]
    fn a_share_out_of_range_is_an_error() {
        let folder = folder(b"image,text\n", &[]);
        for max_bad_share in [-0.1, 1.5, f64::NAN] {
            let message = error(&ManifestConfig {
                max_bad_share,
                ..config(&folder)
            });
            assert!(message.contains("`max_bad_share`"), "{message}");
        }
    }

    #[test]
    fn the_phantom_is_read_without_a_skipped_row() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("phantom");
        let phantom = PhantomConfig {
            patients: 24,
            longer_side: 96,
            seed: 3,
        };
        let summary = phantom.write(&folder, |_, _| ()).unwrap();
        let manifest = Manifest::read(&ManifestConfig {
            text_from_files: true,
            image: Column::Name("image".into()),
            text: Some(Column::Name("text".into())),
            group: Some(Column::Name("subject_id".into())),
            split: Some(Column::Name("split".into())),
            ..ManifestConfig::new(folder.join("pairs.csv"))
        })
        .unwrap();
        assert_eq!(manifest.studies.len(), summary.images);
        assert!(manifest.skips.list().is_empty());
        for study in &manifest.studies {
            assert!(study.split.is_some());
            for sentence in &study.report.sentences {
                assert!(
                    !sentence.contains('\n') && !sentence.contains("FINDINGS"),
                    "{sentence}"
                );
                assert!(sentence.ends_with('.'), "{sentence}");
            }
        }
    }
}
