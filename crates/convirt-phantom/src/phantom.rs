//! Writing a phantom into a folder.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::PhantomError;
use super::config::{PhantomConfig, PhantomSummary};
use super::patient::{COLUMNS, Patient, StudyFiles};
use crate::folder::{Draft, Marker, marker};

impl PhantomConfig {
    /// Writes the phantom into `folder`, which appears only when it is complete.
    ///
    /// A folder that already holds this phantom is left as it is. `progress` is called from any
    /// thread with the number of patients done and the number of all patients.
    ///
    /// The folder holds `pairs.csv`, `images/`, `reports/` and a `README.txt`. `pairs.csv` has one
    /// row for each image with these columns: `image` and `text`, paths relative to the folder;
    /// `subject_id`, `study_id` and `view`; `split`, which is `train`, or `validate` for 15 % of
    /// the patients; and labels that are 1 or 0. Images are 8-bit grey JPEG (90 %), 8-bit grey PNG
    /// of varying range (5 %) and 16-bit grey PNG with 12-bit values (5 %).
    ///
    /// # Errors
    ///
    /// When the configuration is out of range, when the folder holds another phantom, an incomplete
    /// one or something else, and when a file cannot be written.
    pub fn write(
        &self,
        folder: &Path,
        progress: impl Fn(usize, usize) + Sync,
    ) -> Result<PhantomSummary, PhantomError> {
        self.validate()?;
        if let Some(summary) = marker::present(self, folder)? {
            return Ok(summary);
        }
        let draft = Draft::begin(folder)?;
        let done = AtomicUsize::new(0);
        let studies: Vec<Vec<StudyFacts>> = (0..self.patients)
            .into_par_iter()
            .map(|index| {
                let facts = self.write_patient(index, &draft)?;
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, self.patients);
                Ok(facts)
            })
            .collect::<Result<_, PhantomError>>()?;
        let mut studies: Vec<StudyFacts> = studies.into_iter().flatten().collect();
        studies.sort_by(|a, b| a.rows.cmp(&b.rows));

        let table = table(&studies).map_err(|cause| PhantomError::Write {
            path: folder.join("pairs.csv"),
            cause,
        })?;
        let summary = PhantomSummary {
            patients: self.patients,
            studies: studies.len(),
            images: studies.iter().map(|study| study.rows.len()).sum(),
            bytes: studies.iter().map(|study| study.bytes).sum::<u64>() + table.len() as u64,
        };
        draft.write(Path::new("pairs.csv"), &table)?;
        draft.write(Path::new("README.txt"), self.readme(&summary).as_bytes())?;
        let marker = serde_json::to_vec_pretty(&Marker::new(self, &summary)).map_err(|cause| {
            PhantomError::Write {
                path: folder.join(Marker::FILE),
                cause: cause.into(),
            }
        })?;
        draft.write(Path::new(Marker::FILE), &marker)?;
        match draft.publish(folder) {
            // Another process may have written the same phantom in the meantime.
            Err(error) => marker::present(self, folder)?.ok_or(error),
            Ok(()) => Ok(summary),
        }
    }

    /// Returns whether `folder` holds this phantom with all its files.
    pub fn is_complete(&self, folder: &Path) -> bool {
        matches!(marker::present(self, folder), Ok(Some(_)))
    }

    /// Checks that all numbers are in range.
    ///
    /// # Errors
    ///
    /// [`PhantomError::OutOfRange`] names the field.
    pub fn validate(&self) -> Result<(), PhantomError> {
        if !(2..=100_000).contains(&self.patients) {
            return Err(PhantomError::OutOfRange {
                setting: "patients",
                value: self.patients,
                allowed: "from 2 to 100000",
            });
        }
        if !(64..=1024).contains(&self.longer_side) {
            return Err(PhantomError::OutOfRange {
                setting: "longer_side",
                value: self.longer_side as usize,
                allowed: "from 64 to 1024 pixels",
            });
        }
        Ok(())
    }

    fn write_patient(&self, index: usize, draft: &Draft) -> Result<Vec<StudyFacts>, PhantomError> {
        let studies = Patient::new(self.seed, index)
            .studies(self.longer_side)
            .map_err(|cause| PhantomError::Write {
                path: draft.folder.clone(),
                cause: io::Error::other(cause),
            })?;
        studies
            .into_iter()
            .map(|study| StudyFacts::write(study, draft))
            .collect()
    }

    fn readme(&self, summary: &PhantomSummary) -> String {
        format!(
            "Chest phantom\n\
             =============\n\
             \n\
             Procedurally generated pictures and texts. NOT medical data: nothing here comes from\n\
             a patient, and nothing learned from it may be used for one. It is for learning to use\n\
             the program, for tests and for measuring.\n\
             \n\
             {} patients, {} studies, {} images; longer side {} pixels, seed {}.\n\
             \n\
             pairs.csv   one row an image: image and text are paths in this folder; labels are 1/0\n\
             images/     8-bit JPEG, 8-bit PNG, and 16-bit PNG with 12-bit values\n\
             reports/    one text a study\n\
             \n\
             The folder can be deleted; the program writes it again, byte for byte.\n",
            summary.patients, summary.studies, summary.images, self.longer_side, self.seed,
        )
    }
}

/// The table rows and the size of a study that has been written.
struct StudyFacts {
    rows: Vec<[String; COLUMNS.len()]>,
    bytes: u64,
}

impl StudyFacts {
    fn write(study: StudyFiles, draft: &Draft) -> Result<Self, PhantomError> {
        let (path, text) = study.report;
        draft.write(&path, text.as_bytes())?;
        let mut bytes = text.len() as u64;
        for (path, content) in study.images {
            draft.write(&path, &content)?;
            bytes += content.len() as u64;
        }
        Ok(Self {
            rows: study.rows,
            bytes,
        })
    }
}

fn table(studies: &[StudyFacts]) -> io::Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(COLUMNS)?;
    for row in studies.iter().flat_map(|study| &study.rows) {
        table.write_record(row)?;
    }
    table
        .into_inner()
        .map_err(|error| io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    fn small() -> PhantomConfig {
        PhantomConfig {
            patients: 24,
            longer_side: 96,
            seed: 3,
        }
    }

    fn written(config: &PhantomConfig) -> (tempfile::TempDir, PathBuf, PhantomSummary) {
        let place = tempfile::tempdir().expect("a temporary folder");
        let folder = place.path().join("data/phantom");
        let summary = config.write(&folder, |_, _| {}).expect("writes");
        (place, folder, summary)
    }

    fn rows(folder: &Path) -> Vec<BTreeMap<String, String>> {
        csv::Reader::from_path(folder.join("pairs.csv"))
            .expect("opens")
            .deserialize()
            .collect::<Result<_, _>>()
            .expect("parses")
    }

    /// Returns all files with their content.
    fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).expect("reads") {
                let path = entry.expect("reads").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(folder).expect("inside").to_path_buf();
                    files.insert(name, fs::read(path).expect("reads"));
                }
            }
        }
        files
    }

    #[test]
    fn the_same_configuration_gives_the_same_bytes() {
        let (_one, first, _) = written(&small());
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .expect("starts");
        let (_two, second, _) = pool.install(|| written(&small()));
        assert!(content(&first) == content(&second));
        let (_three, other, _) = written(&PhantomConfig { seed: 4, ..small() });
        assert!(content(&first) != content(&other));
    }

    #[test]
    fn every_machine_draws_the_same_pixels_and_texts() {
        // FNV-1a over the texts and the decoded pixels of the lossless files of twelve patients.
        // The expected hash is from the first run of this generator; when it changes, raise
        // `Marker::GENERATOR`.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut lossless = 0;
        let mut add = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        for index in 0..12 {
            for study in Patient::new(7, index).studies(64).expect("encodes") {
                add(study.report.1.as_bytes());
                for (path, content) in &study.images {
                    if path.extension().is_some_and(|kind| kind == "png") {
                        lossless += 1;
                        add(image::load_from_memory(content)
                            .expect("decodes")
                            .as_bytes());
                    }
                }
            }
        }
        assert!(lossless > 0);
        assert_eq!(format!("{hash:016x}"), "bbe10bd0e4b62a94");
    }

    #[test]
    fn a_patient_does_not_depend_on_the_number_of_patients() {
        let (_one, few, _) = written(&PhantomConfig {
            patients: 5,
            ..small()
        });
        let (_two, many, _) = written(&PhantomConfig {
            patients: 9,
            ..small()
        });
        let many = content(&many);
        for (name, bytes) in content(&few) {
            if name.starts_with("images") || name.starts_with("reports") {
                assert!(many[&name] == bytes, "{name:?}");
            }
        }
    }

    #[test]
    fn every_row_names_an_image_and_a_report_that_can_be_read() {
        let (_place, folder, summary) = written(&small());
        let rows = rows(&folder);
        assert_eq!(rows.len(), summary.images);
        let mut names = BTreeSet::new();
        for row in &rows {
            let image = image::open(folder.join(&row["image"])).expect("decodes");
            assert_eq!(image.width().max(image.height()), 96);
            let levels = image.into_luma16();
            let mean = levels
                .pixels()
                .map(|level| f64::from(level.0[0]))
                .sum::<f64>()
                / f64::from(levels.width() * levels.height());
            assert!(mean > 0.0);
            let text = fs::read_to_string(folder.join(&row["text"])).expect("is text");
            assert!(text.contains("FINDINGS:") || text.contains("IMPRESSION:"));
            assert!(
                row["image"].contains(&format!("/p{}/s{}/", row["subject_id"], row["study_id"]))
            );
            assert!(
                names.insert(row["image"].clone()),
                "twice: {}",
                row["image"]
            );
        }
        let reports: BTreeSet<_> = rows.iter().map(|row| &row["text"]).collect();
        assert_eq!(reports.len(), summary.studies);
        let bytes: usize = content(&folder)
            .iter()
            .filter(|(name, _)| !name.ends_with("README.txt") && !name.ends_with(Marker::FILE))
            .map(|(_, bytes)| bytes.len())
            .sum();
        assert_eq!(bytes as u64, summary.bytes);
    }

    #[test]
    fn no_patient_is_on_both_sides_of_the_split() {
        let (_place, folder, _) = written(&PhantomConfig {
            patients: 40,
            longer_side: 64,
            seed: 1,
        });
        let mut sides = BTreeMap::new();
        for row in rows(&folder) {
            let side = sides
                .entry(row["subject_id"].clone())
                .or_insert(row["split"].clone());
            assert_eq!(*side, row["split"]);
        }
        let held_out = sides.values().filter(|side| *side == "validate").count();
        assert_eq!((sides.len(), held_out), (40, 6));
    }

    #[test]
    fn sixteen_bit_and_eight_bit_pngs_are_among_the_files() {
        let (_place, folder, _) = written(&PhantomConfig {
            patients: 60,
            longer_side: 64,
            seed: 2,
        });
        let mut kinds = BTreeMap::new();
        for row in rows(&folder) {
            let image = image::open(folder.join(&row["image"])).expect("decodes");
            let jpeg = row["image"].ends_with(".jpg");
            *kinds
                .entry((jpeg, format!("{:?}", image.color())))
                .or_insert(0) += 1;
            if let image::DynamicImage::ImageLuma16(levels) = image {
                assert!(levels.pixels().all(|level| level.0[0] < 4096));
            }
        }
        let expected = [(false, "L16"), (false, "L8"), (true, "L8")];
        let expected: BTreeSet<_> = expected
            .iter()
            .map(|(jpeg, color)| (*jpeg, color.to_string()))
            .collect();
        assert_eq!(kinds.keys().cloned().collect::<BTreeSet<_>>(), expected);
        assert!(kinds[&(true, "L8".to_string())] > 80);
    }

    #[test]
    fn labels_agree_with_the_reports() {
        let (_place, folder, _) = written(&PhantomConfig {
            patients: 60,
            longer_side: 64,
            seed: 5,
        });
        for row in rows(&folder) {
            let text = fs::read_to_string(folder.join(&row["text"])).expect("is text");
            let text = text
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .to_lowercase();
            for (label, word) in [
                ("nodule", "nodul"),
                ("pneumothorax", "pneumothorax"),
                ("effusion_left", "effusion"),
                ("effusion_right", "effusion"),
            ] {
                if row[label] == "1" {
                    assert!(
                        row["no_finding"] == "0" && text.contains(word),
                        "{label}: {text}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_complete_phantom_is_not_written_again() {
        let (_place, folder, summary) = written(&small());
        assert!(small().is_complete(&folder));
        let again = small()
            .write(&folder, |_, _| panic!("draws again"))
            .expect("is there");
        assert_eq!(again, summary);
        let remaining: Vec<_> = fs::read_dir(folder.parent().expect("has one"))
            .expect("reads")
            .map(|entry| entry.expect("reads").file_name())
            .collect();
        assert_eq!(remaining, ["phantom"], "no draft stays behind");
    }

    #[test]
    fn two_writers_of_one_folder_do_not_harm_each_other() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let folder = place.path().join("phantom");
        let write = || small().write(&folder, |_, _| {}).expect("writes");
        let (one, two) = std::thread::scope(|scope| {
            let other = scope.spawn(write);
            (write(), other.join().expect("does not panic"))
        });
        assert_eq!(one, two);
        assert!(small().is_complete(&folder));
        assert_eq!(fs::read_dir(place.path()).expect("reads").count(), 1);
    }

    #[test]
    fn another_phantom_is_not_overwritten() {
        let (_place, folder, _) = written(&small());
        let other = PhantomConfig { seed: 9, ..small() };
        assert!(!other.is_complete(&folder));
        let error = other.write(&folder, |_, _| {}).expect_err("refuses");
        assert!(matches!(error, PhantomError::OtherPhantom { .. }));
        let text = error.to_string();
        assert!(text.contains("seed 3") && text.contains("seed 9") && text.contains("delete it"));
        assert!(small().is_complete(&folder));
    }

    #[test]
    fn a_folder_with_something_else_is_left_alone() {
        let place = tempfile::tempdir().expect("a temporary folder");
        fs::write(place.path().join("thesis.txt"), "all of it").expect("writes");
        let error = small().write(place.path(), |_, _| {}).expect_err("refuses");
        assert!(matches!(error, PhantomError::NotAPhantom { .. }), "{error}");
        assert_eq!(content(place.path()).len(), 1);
        let file = place.path().join("thesis.txt");
        let error = small().write(&file, |_, _| {}).expect_err("refuses");
        assert!(matches!(error, PhantomError::Read { .. }), "{error}");
    }

    #[test]
    fn an_empty_folder_is_filled() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let folder = place.path().join("empty");
        fs::create_dir(&folder).expect("creates");
        assert!(!small().is_complete(&folder));
        small().write(&folder, |_, _| {}).expect("writes");
        assert!(small().is_complete(&folder));
    }

    #[test]
    fn a_phantom_with_a_file_missing_is_incomplete() {
        let (_place, folder, _) = written(&small());
        let image = folder.join(&rows(&folder)[7]["image"]);
        fs::write(&image, []).expect("empties");
        assert!(!small().is_complete(&folder));
        match small().write(&folder, |_, _| {}).expect_err("refuses") {
            PhantomError::IncompletePhantom { missing, .. } => assert_eq!(missing, image),
            error => panic!("{error}"),
        }
        fs::remove_file(folder.join("pairs.csv")).expect("removes");
        assert!(!small().is_complete(&folder));
    }

    #[test]
    fn sizes_out_of_range_are_an_error_that_names_the_setting() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let folder = place.path().join("phantom");
        for (config, setting) in [
            (
                PhantomConfig {
                    patients: 1,
                    ..small()
                },
                "patients",
            ),
            (
                PhantomConfig {
                    longer_side: 8,
                    ..small()
                },
                "longer_side",
            ),
        ] {
            let error = config.write(&folder, |_, _| {}).expect_err("refuses");
            assert!(error.to_string().contains(setting), "{error}");
        }
        assert!(!folder.exists());
    }

    #[test]
    fn progress_counts_every_patient() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let seen = std::sync::Mutex::new(BTreeSet::new());
        small()
            .write(&place.path().join("phantom"), |done, total| {
                assert_eq!(total, 24);
                seen.lock().expect("not poisoned").insert(done);
            })
            .expect("writes");
        assert_eq!(seen.into_inner().expect("not poisoned"), (1..=24).collect());
    }
}
