//! A data set with one of each fault.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::doctor::*;
use crate::image::dicom::tests::fixtures::Dicom;
use crate::image::{CropBox, resize};
use convirt_phantom::PhantomConfig;

use crate::manifest::{Column, ManifestError};
use crate::skips::SkipReason;
use crate::text::Sections;

const HEADER: [&str; 5] = ["image", "text", "patient", "view", "split"];
const IMAGE: usize = 0;
const TEXT: usize = 1;
const PATIENT: usize = 2;
const VIEW: usize = 3;
const SPLIT: usize = 4;

type RowsByKind = BTreeMap<FindingKind, BTreeSet<usize>>;

/// A phantom without a fault, to make faults in: its texts stand in the table, without headings.
struct Ward {
    folder: TempDir,
    rows: Vec<Vec<Vec<u8>>>,
    config: DoctorConfig,
}

impl Ward {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let phantom = PhantomConfig {
            patients: 24,
            longer_side: 96,
            seed: 2,
        };
        phantom.write(folder.path(), |_, _| ()).unwrap();
        let table = Table::read(&folder.path().join("pairs.csv")).unwrap();
        let columns = ["image", "text", "subject_id", "view", "split"];
        let columns = columns.map(|name| table.header.iter().position(|it| it == name).unwrap());
        let rows = table.rows.iter().map(|record| {
            let mut cells = columns.map(|column| record[column].to_vec());
            let report = folder.path().join(str::from_utf8(&cells[TEXT]).unwrap());
            let report = fs::read_to_string(report).unwrap();
            let text = Sections::parse(&report).findings_and_impression().unwrap();
            cells[TEXT] = text.into_bytes();
            cells.to_vec()
        });
        let name = |name: &str| Column::Name(name.into());
        let config = DoctorConfig {
            image_size: 80,
            tokens: TokenCheck::Learned {
                vocab_size: 400,
                do_lower_case: true,
                max_tokens: 256,
            },
            ..DoctorConfig::new(ManifestConfig {
                image: name("image"),
                text: Some(name("text")),
                group: Some(name("patient")),
                split: Some(name("split")),
                ..ManifestConfig::new(folder.path().join("pairs.csv"))
            })
        };
        Self {
            rows: rows.collect(),
            folder,
            config,
        }
    }

    fn cell(&self, row: usize, column: usize) -> &str {
        str::from_utf8(&self.rows[row - 1][column]).unwrap()
    }

    fn set(&mut self, row: usize, column: usize, cell: impl AsRef<[u8]>) {
        self.rows[row - 1][column] = cell.as_ref().to_vec();
    }

    fn say(&mut self, row: usize, more: &str) {
        let text = format!("{} {more}", self.cell(row, TEXT));
        self.set(row, TEXT, text);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Gives a row an image file of this name.
    fn show(&mut self, row: usize, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
        self.set(row, IMAGE, name);
    }

    fn image(&self, row: usize) -> Radiograph {
        Radiograph::read(
            &self.path(self.cell(row, IMAGE)),
            &self.config.manifest.limits,
        )
        .unwrap()
    }

    fn file(&self, row: usize) -> Vec<u8> {
        fs::read(self.path(self.cell(row, IMAGE))).unwrap()
    }

    /// The first row of each patient on a side, with the patient's other rows.
    fn patients(&self, side: &str) -> Vec<Vec<usize>> {
        let mut patients: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for row in 1..=self.rows.len() {
            if self.cell(row, SPLIT) == side {
                patients
                    .entry(self.cell(row, PATIENT))
                    .or_default()
                    .push(row);
            }
        }
        patients.into_values().collect()
    }

    fn examine(&self) -> Diagnosis {
        self.write(&self.config.manifest.csv_file, &HEADER);
        self.config.examine(|_| ()).unwrap()
    }

    fn write(&self, path: &Path, header: &[&str]) {
        let mut table = csv::WriterBuilder::new()
            .flexible(true)
            .from_path(path)
            .unwrap();
        table.write_record(header).unwrap();
        for row in &self.rows {
            table.write_record(row).unwrap();
        }
        table.flush().unwrap();
    }
}

fn rows_by_kind(diagnosis: &Diagnosis) -> RowsByKind {
    let findings = diagnosis.findings().iter();
    findings.map(|it| (it.kind, it.rows.clone())).collect()
}

fn scaled(image: &Radiograph, side: usize) -> Vec<u8> {
    resize(image, CropBox::whole(image), side, side)
        .to_png()
        .unwrap()
}

/// An image of 8 bits with a patient's name.
fn dicom(image: &Radiograph) -> Vec<u8> {
    let levels = image.pixels().iter().map(|it| (255.0 * it).round() as u8);
    let levels: Vec<_> = levels.collect();
    Dicom::grey_8(image.width() as u16, &levels).file()
}

#[test]
fn a_data_set_without_a_fault_has_no_findings() {
    let diagnosis = Ward::new().examine();
    assert_eq!(rows_by_kind(&diagnosis), RowsByKind::new(), "{diagnosis}");
    let numbers = diagnosis.counts();
    assert_eq!(
        (numbers.rows, numbers.usable),
        (numbers.images, numbers.rows)
    );
    assert_eq!(numbers.groups, Some(24));
    assert_eq!(numbers.by_side.values().sum::<usize>(), numbers.rows);
    assert_eq!(diagnosis.unchecked(), [""; 0]);
}

#[test]
fn each_fault_is_found_in_exactly_its_rows() {
    use FindingKind::*;
    let mut ward = Ward::new();
    let mut expected = RowsByKind::new();
    let mut train = ward.patients("train").into_iter();
    let mut valid = ward.patients("validate").into_iter();
    // One row of each patient, so that a fault concerns no other row.
    let mut next = || train.next().unwrap()[0];
    let mut expect = |kind, rows: &[usize]| {
        assert!(
            expected
                .insert(kind, rows.iter().copied().collect())
                .is_none()
        );
    };

    let row = next();
    ward.set(row, TEXT, " ");
    expect(Unusable(SkipReason::EmptyCell), &[row]);
    let row = next();
    ward.set(row, IMAGE, "none.png");
    expect(Unusable(SkipReason::MissingImage), &[row]);
    let row = next();
    let half = ward.file(row);
    ward.show(row, "half.jpg", &half[..half.len() / 2]);
    expect(Unusable(SkipReason::UnreadableImage), &[row]);
    let row = next();
    ward.set(row, TEXT, b"The heart is gro\xdf.");
    expect(Unusable(SkipReason::NotUtf8), &[row]);
    let row = next();
    ward.rows[row - 1].push(b"more".to_vec());
    expect(Unusable(SkipReason::RaggedRow), &[row]);
    let row = next();
    ward.set(row, TEXT, "Normal.");
    expect(Unusable(SkipReason::TooShort), &[row]);
    let rows = [next(), next()];
    ward.set(rows[0], SPLIT, "tset");
    ward.set(rows[1], SPLIT, "");
    let mut rows: Vec<_> = rows.into();
    // The other rows of the second patient keep their side.
    rows.sort();
    expect(NoSide, &rows);
    let row = next();
    ward.show(
        row,
        "blank.png",
        Radiograph::from_u8(96, 96, 1, &[9; 96 * 96])
            .to_png()
            .unwrap(),
    );
    expect(BlankImage, &[row]);
    let row = next();
    ward.set(row, VIEW, "LATERAL");
    ward.say(row, "The heart is cafÃ© brown.");
    expect(OtherView, &[row]);
    expect(Mojibake, &[row]);
    let row = next();
    ward.say(row, "It is 38?6 degrees.\u{feff} Compared with 3/25/2020.");
    expect(LostCharacters, &[row]);
    expect(StrayCharacters, &[row]);
    expect(IdentifyingText, &[row]);
    let row = next();
    let report = format!("HISTORY: Cough.\nFINDINGS: {}", ward.cell(row, TEXT));
    ward.set(row, TEXT, report);
    let small = scaled(&ward.image(row), 36);
    ward.show(row, "small.png", small);
    expect(WholeReport, &[row]);
    expect(TinyImage, &[row]);
    let row = next();
    let report = format!("IMPRESSION: {}", ward.cell(row, TEXT).repeat(20));
    ward.set(row, TEXT, report);
    let image = ward.image(row);
    let negative = image.pixels().iter().map(|it| 1.0 - it).collect();
    let negative = Radiograph::from_planes(image.width(), image.height(), image.depth(), negative);
    ward.show(row, "negative.png", negative.to_png().unwrap());
    expect(Headings, &[row]);
    expect(CutText, &[row]);
    expect(InvertedImage, &[row]);
    let row = next();
    let image = ward.image(row);
    ward.show(row, "named.dcm", dicom(&image));
    expect(IdentifyingHeader, &[row]);
    let rows = [next(), next()];
    let file = ward.file(rows[0]);
    ward.show(rows[1], "copy.jpg", file);
    expect(RepeatedImage, &rows);
    let rows = [next(), next()];
    let file = scaled(&ward.image(rows[0]), 80);
    ward.show(rows[1], "resized.png", file);
    expect(SimilarImage, &rows);

    let (known, row) = (next(), valid.next().unwrap()[0]);
    let file = ward.image(known).to_png().unwrap();
    ward.show(row, "known.png", file);
    let text = ward.cell(known, TEXT).replace(' ', "  ");
    ward.set(row, TEXT, text);
    expect(LeakedImage, &[known, row]);
    // The studies of a patient have a report each, which all its images share.
    let report = ward.rows[known - 1][TEXT].clone();
    let same: Vec<_> = (1..=ward.rows.len())
        .filter(|&it| it == row || ward.rows[it - 1][TEXT] == report)
        .collect();
    expect(LeakedText, &same);
    let (known, held_out) = (next(), valid.next().unwrap());
    let file = scaled(&ward.image(known), 80);
    ward.show(held_out[0], "known_resized.png", file);
    let patient = ward.cell(held_out[0], PATIENT).to_owned();
    ward.set(known, PATIENT, &patient);
    expect(LeakedNearDuplicate, &[known, held_out[0]]);
    let mut group = held_out;
    group.push(known);
    expect(LeakedGroup, &group);

    let diagnosis = ward.examine();
    assert_eq!(rows_by_kind(&diagnosis), expected, "{diagnosis}");
}

#[test]
fn copies_inside_a_group_and_texts_in_image_files_are_notes() {
    use FindingKind::*;
    let mut ward = Ward::new();
    let patients = ward.patients("train");
    let mut expected = RowsByKind::new();
    let mut several = patients.iter().filter(|rows| rows.len() > 1);
    let mut next = || *several.next().unwrap().first_chunk::<2>().unwrap();
    let mut expect = |kind, rows: &[usize]| expected.insert(kind, rows.iter().copied().collect());

    let rows = next();
    let copy = ward.file(rows[0]);
    ward.show(rows[1], "copy.jpg", copy);
    expect(RepeatedInGroup, &rows);
    let [first, second] = next();
    let resized = scaled(&ward.image(first), 80);
    ward.show(second, "resized.png", resized);
    expect(SimilarInGroup, &[first, second]);
    let [first, second] = next();
    for column in [IMAGE, TEXT] {
        let cell = ward.cell(first, column).to_owned();
        ward.set(second, column, cell);
    }
    expect(RepeatedPair, &[first, second]);
    let [first, second] = next();
    let image = ward.cell(first, IMAGE).to_owned();
    ward.set(second, IMAGE, image);
    ward.say(second, "The bones are intact.");
    expect(ConflictingTexts, &[first, second]);
    let row = patients.iter().find(|rows| rows.len() == 1).unwrap()[0];
    let mut jpeg = ward.file(row);
    jpeg.splice(2..2, *b"\xff\xfe\0\x0aDoe^Jane");
    ward.show(row, "commented.jpg", jpeg);
    expect(ImageMetadata, &[row]);
    let diagnosis = ward.examine();
    assert_eq!(rows_by_kind(&diagnosis), expected, "{diagnosis}");
    assert_eq!(diagnosis.count(Severity::Error), 0);
}

#[test]
fn without_groups_and_sides_the_doctor_reports_it_and_draws_a_split() {
    let mut ward = Ward::new();
    ward.config.manifest.group = None;
    let diagnosis = ward.examine();
    assert_eq!(
        rows_by_kind(&diagnosis).into_keys().collect::<Vec<_>>(),
        [FindingKind::NoGroups]
    );
    for row in 1..=ward.rows.len() {
        ward.set(row, SPLIT, "train");
    }
    assert_eq!(ward.examine().get(FindingKind::EmptySide).unwrap().count, 1);

    ward.config.manifest.split = None;
    ward.config.manifest.group = Some(Column::Name("patient".into()));
    let diagnosis = ward.examine();
    assert_eq!(rows_by_kind(&diagnosis), RowsByKind::new(), "{diagnosis}");
    let studies = crate::manifest::Manifest::read(&ward.config.manifest)
        .unwrap()
        .studies;
    let sides = crate::manifest::split(studies, &ward.config.split).unwrap();
    assert_eq!(diagnosis.counts().by_side[&Split::Valid], sides.valid.len());
    for row in 1..=ward.rows.len() {
        ward.set(row, PATIENT, "one");
    }
    assert_eq!(ward.examine().get(FindingKind::EmptySide).unwrap().count, 1);
}

#[test]
fn validation_is_drawn_from_the_training_rows_beside_test_rows_as_in_training() {
    let mut ward = Ward::new();
    let test: Vec<usize> = ward.patients("validate").concat();
    for row in 1..=ward.rows.len() {
        let side = if test.contains(&row) { "test" } else { "train" };
        ward.set(row, SPLIT, side);
    }
    // One text in many rows, and one image in several.
    let training = ward.patients("train").concat();
    for rows in training.chunks(2).take(8) {
        let text = ward.cell(training[0], TEXT).to_owned();
        ward.set(rows[1], TEXT, text);
    }
    let image = ward.cell(training[0], IMAGE).to_owned();
    for row in [training[2], training[4]] {
        ward.set(row, IMAGE, &image);
    }
    ward.config.split.valid_size = 0.3;
    for group in [Some(Column::Name("patient".into())), None] {
        ward.config.manifest.group = group;
        for seed in 0..4 {
            ward.config.split.seed = seed;
            let diagnosis = ward.examine();
            assert_eq!(diagnosis.count(Severity::Error), 0, "{diagnosis}");
            let studies = crate::manifest::Manifest::read(&ward.config.manifest);
            let sides = crate::manifest::split(studies.unwrap().studies, &ward.config.split);
            let sides = sides.unwrap();
            let expected = [
                (Split::Train, sides.train.len()),
                (Split::Valid, sides.valid.len()),
                (Split::Test, test.len()),
            ];
            assert_eq!(diagnosis.counts().by_side, BTreeMap::from(expected));
        }
    }

    // A copy of a test image is removed, and not the test row, whatever was drawn.
    let copy = ward.file(test[0]);
    ward.show(training[6], "copy.jpg", copy);
    let diagnosis = ward.examine();
    assert!(diagnosis.get(FindingKind::LeakedImage).is_some());
    let cleaned = ward.path("cleaned.csv");
    diagnosis.write_cleaned(&cleaned).unwrap();
    ward.config.manifest.csv_file = cleaned;
    let again = ward.config.examine(|_| ()).unwrap();
    assert_eq!(again.count(Severity::Error), 0, "{again}");
    assert_eq!(again.counts().by_side[&Split::Test], test.len());
}

#[test]
fn remarks_on_columns_are_warnings() {
    let mut ward = Ward::new();
    let remark = "column `fold` is not used as the split: `3` is no split";
    ward.config.column_remarks = vec![remark.into()];
    let diagnosis = ward.examine();
    let unused = diagnosis.get(FindingKind::UnusedColumn).unwrap();
    assert_eq!(unused.examples[0].detail, remark);
    assert_eq!(diagnosis.count(Severity::Warning), 1, "{diagnosis}");
}

#[test]
fn images_without_texts_have_no_findings_about_texts() {
    let mut ward = Ward::new();
    ward.config.manifest.text = None;
    ward.config.tokens = TokenCheck::Off {
        reason: "there are no texts".into(),
    };
    ward.say(1, "MRN 1234567.");
    let diagnosis = ward.examine();
    assert_eq!(rows_by_kind(&diagnosis), RowsByKind::new(), "{diagnosis}");
    assert_eq!(diagnosis.counts().texts, None);
    assert_eq!(diagnosis.unchecked(), ["tokens: there are no texts"]);
}

#[test]
fn without_a_view_column_names_and_dicom_headers_are_used() {
    let mut ward = Ward::new();
    let header = ["image", "text", "patient", "seen", "split"];
    let pixels: Vec<u8> = (0..96 * 96).map(|i| (i / 37 % 251) as u8).collect();
    let file = Dicom::grey_8(96, &pixels)
        .text(0x0012_0062, "YES")
        .text(0x0018_5101, "LL");
    ward.show(1, "1.dcm", file.file());
    let file = ward.file(4);
    ward.show(4, "view1_lateral.jpg", file);
    ward.write(&ward.config.manifest.csv_file, &header);
    let diagnosis = ward.config.examine(|_| ()).unwrap();
    let other = diagnosis.get(FindingKind::OtherView).unwrap();
    assert_eq!(other.rows, BTreeSet::from([1, 4]), "{diagnosis}");
    assert!(diagnosis.unchecked()[0].starts_with("views: "));
}

#[test]
fn findings_show_their_images_and_nothing_identifying() {
    let mut ward = Ward::new();
    let [known, row] = ["train", "validate"].map(|side| ward.patients(side)[0][0]);
    let file = ward.image(known).to_png().unwrap();
    ward.show(row, "known.png", file);
    for row in [known, row] {
        ward.set(row, TEXT, "MRN 1234567 has a normal heart.");
    }
    let named = ward.patients("train")[1][0];
    let image = ward.image(named);
    ward.show(named, "named.dcm", dicom(&image));
    let diagnosis = ward.examine();
    let finding = &diagnosis.get(FindingKind::LeakedImage).unwrap().examples[0];
    assert_eq!(finding.thumbnails.len(), 2);
    assert_eq!(finding.files.len(), 2);
    assert_eq!(finding.detail, "2 files of equal pixels in train and valid");
    let said = format!("{diagnosis:?} {diagnosis}");
    let said = said.split("table: Table").next().unwrap();
    for secret in ["1234567", "Doe", "Jane"] {
        assert!(!said.contains(secret), "{said}");
    }
    assert!(diagnosis.get(FindingKind::IdentifyingHeader).is_some());
    assert!(diagnosis.get(FindingKind::IdentifyingText).is_some());
}

/// Faults of many kinds, the split and copies among them.
fn faulty() -> Ward {
    let mut ward = Ward::new();
    let (train, valid) = (ward.patients("train"), ward.patients("validate"));
    ward.set(train[0][0], IMAGE, "none.png");
    ward.show(
        train[1][0],
        "blank.png",
        Radiograph::from_u8(64, 64, 1, &[9; 64 * 64])
            .to_png()
            .unwrap(),
    );
    ward.set(train[2][0], TEXT, b"\xff");
    ward.say(train[3][0], "It is cafÃ© brown\u{feff}.");
    let file = ward.file(train[4][0]);
    ward.show(valid[0][0], "known.jpg", file);
    let file = scaled(&ward.image(train[5][0]), 80);
    ward.show(valid[1][0], "known_resized.png", file);
    let patient = ward.cell(valid[2][0], PATIENT).to_owned();
    ward.set(train[6][0], PATIENT, patient);
    let file = ward.file(train[7][0]);
    ward.show(train[8][0], "twin.jpg", file);
    ward.set(train[9][0], SPLIT, "");
    ward
}

#[test]
fn a_cleaned_manifest_has_no_errors_and_keeps_what_is_held_out() {
    let mut ward = faulty();
    let valid: usize = ward.patients("validate").iter().map(Vec::len).sum();
    let diagnosis = ward.examine();
    let cleaned_path = ward.path("cleaned.csv");
    let cleaned = diagnosis.write_cleaned(&cleaned_path).unwrap();
    assert_eq!(cleaned.removed.values().sum::<usize>(), 7, "{cleaned}");
    assert_eq!(cleaned.removed[&FindingKind::LeakedImage], 1, "{cleaned}");
    assert_eq!((cleaned.mended_texts, cleaned.image_root), (1, None));
    assert!(
        diagnosis
            .write_cleaned(&ward.config.manifest.csv_file)
            .is_err()
    );

    ward.config.manifest.csv_file = cleaned_path;
    let again = ward.config.examine(|_| ()).unwrap();
    assert_eq!(again.count(Severity::Error), 0, "{again}");
    assert!(again.get(FindingKind::Mojibake).is_none());
    assert!(
        again.get(FindingKind::RepeatedImage).is_some(),
        "a warning stays"
    );
    assert_eq!(again.counts().by_side[&Split::Valid], valid);
    let header = Table::read(again.manifest()).unwrap().header;
    assert_eq!(header, HEADER);
}

#[test]
fn a_manifest_cleaned_for_a_drawn_split_has_no_errors_with_any_seed() {
    let mut ward = faulty();
    ward.config.manifest.split = None;
    let cleaned = ward.path("cleaned.csv");
    ward.examine().write_cleaned(&cleaned).unwrap();
    ward.config.manifest.csv_file = cleaned;
    for seed in 0..20 {
        ward.config.split.seed = seed;
        let again = ward.config.examine(|_| ()).unwrap();
        assert_eq!(again.count(Severity::Error), 0, "{again}");
    }
}

#[test]
fn a_manifest_cleaned_into_another_folder_reports_the_root_of_its_paths() {
    let ward = faulty();
    let path = ward.path("elsewhere/cleaned.csv");
    let cleaned = ward.examine().write_cleaned(&path).unwrap();
    assert_eq!(cleaned.image_root.as_deref(), Some(ward.folder.path()));
    assert_eq!(cleaned.text_root, None, "texts stand in the table");
}

#[test]
fn a_path_outside_of_the_roots_is_a_finding_and_is_not_followed() {
    let mut ward = Ward::new();
    let outside = tempfile::NamedTempFile::new().unwrap();
    ward.set(3, IMAGE, outside.path().to_str().unwrap());
    let diagnosis = ward.examine();
    let expected = FindingKind::Unusable(SkipReason::OutsideRoots);
    let kinds: Vec<_> = rows_by_kind(&diagnosis).into_iter().collect();
    assert_eq!(kinds, [(expected, BTreeSet::from([3]))]);
}

#[test]
fn a_table_with_only_errors_is_examined_but_cannot_be_cleaned() {
    let mut ward = Ward::new();
    for row in 1..=ward.rows.len() {
        ward.set(row, IMAGE, format!("none_{row}.png"));
    }
    let diagnosis = ward.examine();
    let kind = FindingKind::Unusable(SkipReason::MissingImage);
    let missing = diagnosis.get(kind).unwrap();
    assert_eq!(missing.rows.len(), ward.rows.len());
    assert_eq!(missing.examples.len(), finding::EXAMPLES);
    let path = ward.path("cleaned.csv");
    let error = diagnosis.write_cleaned(&path).unwrap_err();
    assert!(
        matches!(
            error,
            DoctorError::Manifest(ManifestError::NoStudies { .. })
        ),
        "{error}"
    );
    assert!(!path.exists());
    ward.rows.clear();
    assert_eq!(ward.examine().counts().rows, 0);
}

#[test]
fn the_worst_of_each_finding_comes_first_with_its_text() {
    let mut ward = Ward::new();
    let cut = |words: usize| "opacity ".repeat(words) + "seen.";
    // More than are kept, each a little longer than the one before, and all longer than the phantom's;
    // the longest is in the middle.
    let rows = 30;
    for row in 1..=rows {
        ward.set(row, TEXT, cut(300 + row));
    }
    ward.set(15, TEXT, cut(500));
    // An identifying text is never shown.
    ward.set(16, TEXT, cut(400) + " MRN 1234567.");
    ward.config.tokens = TokenCheck::Learned {
        vocab_size: 200,
        do_lower_case: true,
        max_tokens: 64,
    };
    let diagnosis = ward.examine();
    let findings = diagnosis.get(FindingKind::CutText).unwrap();
    let shown: Vec<usize> = findings.examples.iter().map(|it| it.rows[0]).collect();
    assert!(findings.count >= rows);
    assert_eq!(shown.len(), finding::EXAMPLES);
    assert_eq!(shown[..4], [15, 16, 30, 29]);
    let text = &findings.examples[0].texts[0];
    assert_eq!(
        *text,
        format!("{}…", &cut(500)[..2_000]),
        "a long text is cut"
    );
    assert_eq!(
        findings.examples[1].texts,
        ["a text that may identify a patient"]
    );
}
