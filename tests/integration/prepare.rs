//! Miniature data sets in the layouts of the real ones, made into pairs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::Output;

use convirt::Training;
use convirt::data::{
    MimicConfig, MimicSplit, Omission, OpenIConfig, PrepareError, Prepared, PreparedImages,
    Progress, SplitConfig, Stage,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, GrayImage, ImageEncoder, Luma};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::fixtures::{Workspace, alone, contents, convirt, text_of};

/// Patients of the miniature MIMIC-CXR; each has one study with a PA and a lateral image.
const PATIENTS: [(&str, &str, &str); 6] = [
    ("10000032", "50414267", "train"),
    ("10000764", "57375967", "train"),
    ("10000898", "50771383", "validate"),
    ("11000011", "51029426", "train"),
    ("11000183", "51967845", "test"),
    ("11000416", "50001422", "train"),
];

/// EXIF with the one entry orientation = 6: rotate by 90°.
const ROTATED: &[u8] = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";

/// How a miniature is packed.
#[derive(Clone, Copy)]
pub struct Form {
    packed_tables: bool,
    zipped_reports: bool,
}

pub const PLAIN: Form = Form {
    packed_tables: false,
    zipped_reports: false,
};

/// A folder `root` with MIMIC-CXR-JPG, and a place for `out`.
pub struct Miniature {
    place: TempDir,
}

impl Miniature {
    pub fn mimic(form: Form) -> Self {
        let miniature = Self::empty();
        let mut metadata = "dicom_id,subject_id,study_id,ViewPosition,Rows\n".to_owned();
        let mut split = "dicom_id,study_id,subject_id,split\n".to_owned();
        let mut chexpert = "subject_id,study_id,Atelectasis,No Finding\n".to_owned();
        let mut reports = Vec::new();
        for (i, (subject, study, side)) in PATIENTS.into_iter().enumerate() {
            let folder = format!("files/p{}/p{subject}", &subject[..2]);
            for (view, name) in [("PA", "aa"), ("LATERAL", "bb")] {
                let image = format!("{name}{i}-bde0afdd-112c0b34");
                metadata += &format!("{image},{subject},{study},{view},120\n");
                split += &format!("{image},{study},{subject},{side}\n");
                miniature.image(
                    &format!("{folder}/s{study}/{image}.jpg"),
                    300,
                    400 + i as u32,
                );
            }
            chexpert += &format!("{subject},{study},{},\n", ["1.0", "0.0", "-1.0", ""][i % 4]);
            reports.push((format!("{folder}/s{study}.txt"), report(i)));
        }
        miniature.table("mimic-cxr-2.0.0-metadata.csv", &metadata, form);
        miniature.table("mimic-cxr-2.0.0-split.csv", &split, form);
        miniature.table("mimic-cxr-2.0.0-chexpert.csv", &chexpert, form);
        miniature.table("mimic-cxr-2.0.0-negbio.csv", &chexpert, form);
        if form.zipped_reports {
            let file = File::create(miniature.root().join("mimic-cxr-reports.zip")).unwrap();
            let mut zip = ZipWriter::new(file);
            let deflated =
                SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
            for (name, text) in &reports {
                zip.start_file(name.as_str(), deflated).unwrap();
                zip.write_all(text.as_bytes()).unwrap();
            }
            zip.finish().unwrap();
        } else {
            for (name, text) in &reports {
                miniature.file(name, text.as_bytes());
            }
        }
        miniature
    }

    pub fn openi() -> Self {
        let miniature = Self::empty();
        for (id, findings, images) in [
            (
                1,
                "Heart &gt; normal.",
                &["CXR1_IM-1-1001", "CXR1_IM-1-2001"][..],
            ),
            (2, "Lungs are clear today.", &["CXR2_IM-2-1001"]),
            (3, "", &["CXR3_IM-3-1001"]),
            (10, "No image here.", &[]),
        ] {
            let impression = if findings.is_empty() {
                ""
            } else {
                "No change."
            };
            let images: String = images
                .iter()
                .map(|name| format!("<parentImage id=\"{name}\"/>"))
                .collect();
            let xml = format!(
                "<eCitation><uId id=\"CXR{id}\"/><MedlineCitation><Article><Abstract>\
                 <AbstractText Label=\"INDICATION\">Cough.</AbstractText>\
                 <AbstractText Label=\"FINDINGS\">{findings}</AbstractText>\
                 <AbstractText Label=\"IMPRESSION\">{impression}</AbstractText>\
                 </Abstract></Article></MedlineCitation>\
                 <MeSH><major>Cardiomegaly/mild</major></MeSH>{images}</eCitation>"
            );
            miniature.file(&format!("ecgen-radiology/{id}.xml"), xml.as_bytes());
        }
        miniature.image("png/CXR1_IM-1-1001.png", 300, 200);
        miniature.image("png/CXR1_IM-1-2001.png", 40, 50);
        miniature.image("png/CXR2_IM-2-1001.png", 300, 300);
        miniature
    }

    fn empty() -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("root")).unwrap();
        Self { place }
    }

    pub fn root(&self) -> PathBuf {
        self.place.path().join("root")
    }

    fn out(&self) -> PathBuf {
        self.place.path().join("out")
    }

    fn file(&self, name: &str, content: &[u8]) {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn image(&self, name: &str, width: u32, height: u32) {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        GrayImage::from_fn(width, height, |x, y| Luma([(x + 2 * y) as u8]))
            .save(path)
            .unwrap();
    }

    /// Adds an EXIF orientation to the JPEG and PNG files below the root.
    pub fn rotate_images(&self) {
        for path in contents(&self.root()).into_keys() {
            let path = self.root().join(path);
            let extension = path.extension().and_then(|it| it.to_str());
            let Some(extension @ ("jpg" | "png")) = extension else {
                continue;
            };
            let image = image::open(&path).unwrap().into_luma8();
            let file = File::create(&path).unwrap();
            let (width, height) = image.dimensions();
            let written = match extension {
                "jpg" => {
                    let mut encoder = JpegEncoder::new(file);
                    encoder.set_exif_metadata(ROTATED.to_vec()).unwrap();
                    encoder.write_image(&image, width, height, ExtendedColorType::L8)
                }
                _ => {
                    let mut encoder = PngEncoder::new(file);
                    encoder.set_exif_metadata(ROTATED.to_vec()).unwrap();
                    encoder.write_image(&image, width, height, ExtendedColorType::L8)
                }
            };
            written.unwrap();
        }
    }

    fn table(&self, name: &str, text: &str, form: Form) {
        if form.packed_tables {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text.as_bytes()).unwrap();
            self.file(&format!("{name}.gz"), &encoder.finish().unwrap());
        } else {
            self.file(name, text.as_bytes());
        }
    }

    /// Changes a plain table.
    fn edit(&self, name: &str, from: &str, to: &str) {
        let path = self.root().join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    fn mimic_config(&self) -> MimicConfig {
        MimicConfig::new(self.root(), self.out())
    }

    fn openi_config(&self) -> OpenIConfig {
        OpenIConfig {
            split: None,
            ..OpenIConfig::new(self.root(), self.out())
        }
    }

    fn rows(&self) -> Vec<BTreeMap<String, String>> {
        let mut table = csv::Reader::from_path(self.out().join("pairs.csv")).unwrap();
        table.deserialize().map(Result::unwrap).collect()
    }
}

/// Reports as they come: whole, with an addendum, without sections, and without findings.
fn report(i: usize) -> String {
    let rule = "_".repeat(78);
    match i {
        0 => "                                 FINAL REPORT\n INDICATION:  ___F with cough.\n \n \
              FINDINGS: \n \n The lungs are clear of\n consolidation.\n \n \
              IMPRESSION: No acute process.\n"
            .into(),
        1 => format!(
            " ADDENDUM:  IMPRESSION: Amended.\n {rule}\n FINAL REPORT\n \
             IMPERSSION: Stable nodule.\n"
        ),
        2 => "                                 FINAL REPORT\n INDICATION: Fever.\n \n \
              Heart size is normal.\n"
            .into(),
        3 => " INDICATION: Fever.\n".into(),
        _ => format!(" IMPRESSION: The chest of study {i} is normal.\n"),
    }
}

fn quiet(_: Progress) {}

fn run(program: &str, miniature: &Miniature, arguments: &[&str]) -> Output {
    convirt(["prepare", program])
        .arg("--root")
        .arg(miniature.root())
        .arg("--out")
        .arg(miniature.out())
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn mimic_becomes_pairs_with_texts_labels_and_small_images() {
    let miniature = Miniature::mimic(PLAIN);
    let prepared = miniature.mimic_config().prepare(quiet).unwrap();
    assert_eq!(
        (prepared.pairs, prepared.studies, prepared.reports),
        (5, 5, 6)
    );
    assert_eq!((prepared.images_made, prepared.last_paragraphs), (5, 1));
    assert_eq!(prepared.omissions.count(Omission::OtherView), 6);
    assert_eq!(prepared.omissions.count(Omission::NoText), 1);
    let rows = miniature.rows();
    let column = |name: &str| {
        rows.iter()
            .map(|row| row[name].as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        column("text"),
        [
            "The lungs are clear of consolidation.\n\nNo acute process.",
            "Stable nodule.",
            "Heart size is normal.",
            "The chest of study 4 is normal.",
            "The chest of study 5 is normal.",
        ]
    );
    assert_eq!(
        column("split"),
        ["train", "train", "valid", "test", "train"]
    );
    assert_eq!(column("view"), ["PA"; 5]);
    assert_eq!(column("atelectasis"), ["1", "0", "-1", "1", "0"]);
    assert_eq!(column("negbio_no_finding"), [""; 5]);
    let first = &rows[0]["image"];
    assert_eq!(
        first,
        "images/p10/p10000032/s50414267/aa0-bde0afdd-112c0b34.png"
    );
    let image = image::open(miniature.out().join(first)).unwrap();
    assert_eq!((image.width(), image.height()), (192, 256));
}

#[test]
fn every_form_of_the_tables_and_reports_gives_the_same_files() {
    let [plain, packed] = [
        PLAIN,
        Form {
            packed_tables: true,
            zipped_reports: true,
        },
    ]
    .map(|form| {
        let miniature = Miniature::mimic(form);
        miniature.mimic_config().prepare(quiet).unwrap();
        contents(&miniature.out())
    });
    assert_eq!(plain.len(), 5 + 2);
    assert!(plain == packed);
}

#[test]
fn what_is_prepared_can_be_trained_on_at_once() {
    let miniature = Miniature::mimic(PLAIN);
    let workspace = Workspace::new();
    for images in [None, Some(PreparedImages::default())] {
        let config = MimicConfig {
            images,
            ..miniature.mimic_config()
        };
        let prepared = config.prepare(quiet).unwrap();
        let keys = prepared.config_keys();
        let keys: Vec<_> = keys
            .iter()
            .map(|(key, value)| format!("dataset.{key}={value}"))
            .collect();
        let mut keys: Vec<_> = keys.iter().map(String::as_str).collect();
        // "Stable nodule." has two words.
        keys.extend(["batch_size=2", "dataset.min_words=2"]);
        let config = workspace.try_config(&keys).unwrap();
        let _alone = alone();
        let training = Training::prepare(config).unwrap();
        assert!(training.to_string().contains("held out"), "{training}");
    }
}

#[test]
fn views_and_split_are_as_asked() {
    let miniature = Miniature::mimic(PLAIN);
    let all = MimicConfig {
        views: Vec::new(),
        split: MimicSplit::ByPatient(SplitConfig {
            valid_size: 0.3,
            seed: 1,
        }),
        images: None,
        ..miniature.mimic_config()
    };
    assert_eq!(all.prepare(quiet).unwrap().pairs, 10);
    let mut sides: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in miniature.rows() {
        sides
            .entry(row["subject_id"].clone())
            .or_default()
            .insert(row["split"].clone());
    }
    assert!(sides.values().all(|sides| sides.len() == 1), "{sides:?}");
    let used: BTreeSet<_> = sides.values().flatten().map(String::as_str).collect();
    assert_eq!(used, BTreeSet::from(["train", "valid"]));

    let none = MimicConfig {
        views: vec!["LL".into()],
        ..miniature.mimic_config()
    };
    let error = none.prepare(quiet).unwrap_err().to_string();
    assert!(
        error.contains("\"LL\"") && error.contains("\"LATERAL\", \"PA\""),
        "{error}"
    );
}

#[test]
fn the_record_list_alone_will_do_without_views() {
    let miniature = Miniature::mimic(PLAIN);
    let root = miniature.root();
    fs::rename(
        root.join("mimic-cxr-2.0.0-metadata.csv"),
        root.join("cxr-record-list.csv"),
    )
    .unwrap();
    fs::remove_file(root.join("mimic-cxr-2.0.0-split.csv")).unwrap();
    let error = |config: &MimicConfig| config.prepare(quiet).unwrap_err().to_string();
    let mut config = miniature.mimic_config();
    assert!(error(&config).contains("-split.csv"));
    config.split = MimicSplit::ByPatient(SplitConfig {
        valid_size: 0.3,
        seed: 1,
    });
    assert!(error(&config).contains("-metadata.csv"));
    config.views.clear();
    assert_eq!(config.prepare(quiet).unwrap().pairs, 10);
}

#[test]
fn an_interrupted_preparation_goes_on_where_it_stopped() {
    let whole = Miniature::mimic(PLAIN);
    whole.mimic_config().prepare(quiet).unwrap();

    let miniature = Miniature::mimic(PLAIN);
    let config = miniature.mimic_config();
    let interrupted = catch_unwind(AssertUnwindSafe(|| {
        config.prepare(|progress| {
            assert!(
                progress.stage == Stage::Reports || progress.done < 3,
                "interrupted"
            );
        })
    }));
    assert!(interrupted.is_err());
    assert!(
        !miniature.out().join("pairs.csv").exists(),
        "a manifest is whole or not there"
    );
    let before = contents(&miniature.out().join("images"));
    assert!(before.len() >= 3);
    // As a killed process leaves it.
    let (name, content) = before.first_key_value().unwrap();
    let path = miniature.out().join("images").join(name);
    fs::rename(&path, path.with_extension("png.partial")).unwrap();
    fs::write(path.with_extension("png.partial"), &content[..20]).unwrap();

    let prepared = config.prepare(quiet).unwrap();
    assert_eq!(prepared.images_kept, before.len() - 1);
    assert_eq!(prepared.images_made, 5 - prepared.images_kept);
    assert!(contents(&miniature.out()) == contents(&whole.out()));
    let again = config.prepare(quiet).unwrap();
    assert_eq!((again.images_made, again.images_kept), (0, 5));

    let larger = MimicConfig {
        images: Some(PreparedImages {
            longer_side: 512,
            ..PreparedImages::default()
        }),
        ..config
    };
    let error = larger.prepare(quiet).unwrap_err();
    assert!(
        matches!(error, PrepareError::OtherPreparation { .. }),
        "{error}"
    );
}

#[test]
fn openi_gives_a_pair_for_each_image_with_a_text() {
    let miniature = Miniature::openi();
    let prepared = miniature.openi_config().prepare(quiet).unwrap();
    assert_eq!(
        (prepared.pairs, prepared.studies, prepared.reports),
        (3, 2, 4)
    );
    assert_eq!(prepared.omissions.count(Omission::NoImage), 1);
    assert_eq!(prepared.omissions.count(Omission::NoText), 1);
    let rows = miniature.rows();
    assert_eq!(rows[0]["text"], "Heart > normal.\n\nNo change.");
    assert_eq!(
        (
            rows[2]["subject_id"].as_str(),
            rows[2]["cardiomegaly"].as_str()
        ),
        ("CXR2", "1")
    );
    let sizes = rows
        .iter()
        .map(|row| image::image_dimensions(miniature.out().join(&row["image"])));
    let sizes: Vec<_> = sizes.map(Result::unwrap).collect();
    assert_eq!(sizes, [(256, 171), (40, 50), (256, 256)]);
}

#[test]
fn reports_of_openi_are_read_from_their_archive_as_it_is() {
    let plain = Miniature::openi();
    plain.openi_config().prepare(quiet).unwrap();

    let packed = Miniature::openi();
    let (folder, archive) = ("ecgen-radiology", "NLMCXR_reports.tgz");
    let file = File::create(packed.root().join(archive)).unwrap();
    let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    tar.append_dir_all(folder, packed.root().join(folder))
        .unwrap();
    tar.into_inner().unwrap().finish().unwrap();
    fs::remove_dir_all(packed.root().join(folder)).unwrap();
    packed.openi_config().prepare(quiet).unwrap();
    assert!(contents(&packed.out()) == contents(&plain.out()));

    let elsewhere = packed.place.path().join("reports.tar.gz");
    fs::rename(packed.root().join(archive), &elsewhere).unwrap();
    let mut config = packed.openi_config();
    assert!(matches!(
        config.prepare(quiet),
        Err(PrepareError::NoReports { .. })
    ));
    for reports in [elsewhere.clone(), plain.root()] {
        config.reports = Some(reports);
        config.prepare(quiet).unwrap();
        assert!(contents(&packed.out()) == contents(&plain.out()));
    }
    let whole = fs::read(&elsewhere).unwrap();
    fs::write(&elsewhere, &whole[..whole.len() / 2]).unwrap();
    config.reports = Some(elsewhere);
    let error = config.prepare(quiet).unwrap_err().to_string();
    assert!(error.contains("reports.tar.gz"), "{error}");
}

#[test]
fn what_is_broken_is_left_out_and_named() {
    let miniature = Miniature::openi();
    miniature.file("png/CXR1_IM-1-2001.png", b"not an image");
    fs::remove_file(miniature.root().join("png/CXR2_IM-2-1001.png")).unwrap();
    miniature.file("ecgen-radiology/11.xml", b"<eCitation><uId id=\"CXR11\"/>");
    miniature.file(
        "ecgen-radiology/12.xml",
        b"<eCitation><uId id=\"../../CXR12\"/></eCitation>",
    );
    miniature.file(
        "ecgen-radiology/99.xml",
        b"<eCitation><uId id=\"CXR2\"/></eCitation>",
    );
    miniature.file("ecgen-radiology/14.xml", b"\xff\xfe");
    let prepared = miniature.openi_config().prepare(quiet).unwrap();
    assert_eq!(prepared.pairs, 1);
    let text = prepared.to_string();
    for part in [
        "unreadable report: 2",
        "11.xml (ends inside <eCitation>)",
        "14.xml (a text in UTF-16; save it as UTF-8)",
        "missing image: 1",
        "CXR2_IM-2-1001.png",
        "unreadable image: 1",
        "CXR1_IM-1-2001.png",
        "name that leads out of the folder: 1",
        "duplicate: 1",
        "99.xml: report CXR2",
    ] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    let no_images = OpenIConfig {
        images: None,
        ..miniature.openi_config()
    };
    let prepared = no_images.prepare(quiet).unwrap();
    assert_eq!((prepared.pairs, prepared.images_absent), (3, 1));
}

#[test]
fn tables_that_lie_are_refused_with_file_row_and_column() {
    let error = |name: &str, from: &str, to: &str| {
        let miniature = Miniature::mimic(PLAIN);
        miniature.edit(name, from, to);
        let error = miniature.mimic_config().prepare(quiet).unwrap_err();
        assert!(!miniature.out().join("pairs.csv").exists());
        error.to_string()
    };
    for (name, from, to, parts) in [
        (
            "metadata",
            "aa1-",
            "../../aa1-",
            &["row 3", "`dicom_id`", "`../../aa1-"][..],
        ),
        (
            "metadata",
            "10000764",
            "../10000764",
            &["row 3", "`subject_id`", "not a number"],
        ),
        (
            "metadata",
            "ViewPosition",
            "View",
            &["`ViewPosition`", "\"View\""],
        ),
        ("split", "validate", "holdout", &["row 5"]),
        (
            "chexpert",
            "1.0",
            "maybe",
            &["row 1", "`Atelectasis`", "`maybe`"],
        ),
    ] {
        let file = format!("mimic-cxr-2.0.0-{name}.csv");
        let text = error(&file, from, to);
        assert!(text.contains(&file), "{text}");
        for part in parts {
            assert!(text.contains(part), "no `{part}` in {text}");
        }
    }
}

#[test]
fn archives_and_folders_that_are_none_are_named() {
    let miniature = Miniature::mimic(Form {
        packed_tables: true,
        zipped_reports: true,
    });
    let error = |config: &MimicConfig| format!("{:?}", config.prepare(quiet).unwrap_err());
    let config = miniature.mimic_config();
    miniature.file("mimic-cxr-reports.zip", b"not a zip");
    assert!(error(&config).contains("mimic-cxr-reports.zip"));
    miniature.file("mimic-cxr-2.0.0-chexpert.csv.gz", b"not gzip");
    assert!(error(&config).contains("chexpert.csv.gz"));
    let elsewhere = MimicConfig {
        root: "nowhere".into(),
        ..config
    };
    assert!(error(&elsewhere).contains("nowhere"));
    let empty = Miniature::empty();
    let text = empty.openi_config().prepare(quiet).unwrap_err().to_string();
    assert!(text.contains("*.xml"), "{text}");
}

#[test]
fn the_programs_print_what_they_made_and_how_to_train_on_it() {
    for (program, miniature, pairs) in [
        ("mimic", Miniature::mimic(PLAIN), 5),
        ("openi", Miniature::openi(), 3),
    ] {
        let output = run(program, &miniature, &["--longer-side", "64"]);
        let text = text_of(&output);
        assert!(output.status.success(), "{text}");
        let pairs = format!("{pairs} pairs of");
        for part in [
            &pairs,
            "left out",
            "csv_file: '",
            "text_from_files: False",
            "convirt train",
        ] {
            assert!(text.contains(part), "no `{part}` in:\n{text}");
        }
        let output = run(program, &miniature, &["--longer-side", "64", "--json"]);
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            document["manifest"],
            miniature.out().join("pairs.csv").to_str().unwrap()
        );
        let counts = document["pairs_by_split"].as_object().unwrap().values();
        let all: u64 = counts.map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(document["pairs"], all);
        let output = run(program, &miniature, &["--longer-side", "96"]);
        assert!(!output.status.success());
        assert!(
            text_of(&output).contains("at 64 pixels"),
            "{}",
            text_of(&output)
        );
        let help = text_of(&run(program, &miniature, &["--help"]));
        for option in [
            "--root",
            "--out",
            "--reports",
            "--views",
            "--longer-side",
            "--max-image-side",
            "--max-image-mb",
            "--no-images",
            "--valid-size",
            "--seed",
        ] {
            assert!(help.contains(option), "{help}");
        }
    }
}

/// What the programs promise of progress: every report, then every image.
#[test]
fn progress_counts_reports_and_images() {
    let miniature = Miniature::openi();
    let seen = std::sync::Mutex::new(BTreeSet::new());
    let prepared: Prepared = miniature
        .openi_config()
        .prepare(|progress| {
            seen.lock()
                .unwrap()
                .insert((progress.stage.name(), progress.done, progress.total));
        })
        .unwrap();
    let reports = (1..=4).map(|done| ("reports", done, 4));
    let images = (1..=prepared.pairs).map(|done| ("images", done, 3));
    assert_eq!(seen.into_inner().unwrap(), reports.chain(images).collect());
}
