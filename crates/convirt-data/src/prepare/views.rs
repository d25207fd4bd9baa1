//! Selection of pairs by the view of their image.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::Omission;
use super::pairs::{Pair, Preparation, SourcePairs, slashed};
use crate::image::{DecodeLimits, dicom};
use crate::prepare::error::PrepareError;
use crate::progress::{Progress, Stage, Steps};

/// Codes of lateral views in addition to `LATERAL`; MIMIC-CXR uses `LL` for most lateral images.
const LATERAL_CODES: [&str; 3] = ["LL", "RL", "LAT"];

/// Whether a view is among the `requested` ones; an empty list requests all views.
pub(super) fn is_requested(view: &str, requested: &[String]) -> bool {
    let is_lateral = LATERAL_CODES
        .iter()
        .any(|code| code.eq_ignore_ascii_case(view));
    let matches = |it: &String| {
        it.eq_ignore_ascii_case(view) || is_lateral && it.eq_ignore_ascii_case("LATERAL")
    };
    requested.is_empty() || requested.iter().any(matches)
}

impl Preparation<'_> {
    /// Reads the views from DICOM files and removes the pairs whose view is not requested or
    /// unknown.
    pub(super) fn choose_views(
        &self,
        source: &mut SourcePairs,
        requested: &[String],
        progress: impl Fn(Progress) + Sync,
    ) -> Result<(), PrepareError> {
        let views = self.views(&source.pairs, progress);
        let mut known = BTreeSet::new();
        let mut selected = Vec::with_capacity(source.pairs.len());
        let mut left_out = 0;
        for (mut pair, view) in source.pairs.drain(..).zip(views) {
            match view {
                Ok(view) => pair.view = view.unwrap_or(pair.view),
                // An unreadable file is left out later, when its image is written.
                Err(_) if requested.is_empty() => {}
                Err(why) => {
                    let what = format!("{} ({why})", slashed(&pair.source));
                    source.omissions.record(Omission::UnreadableImage, what);
                    continue;
                }
            }
            if is_requested(&pair.view, requested) {
                selected.push(pair);
                continue;
            }
            left_out += 1;
            let view = match pair.view.as_str() {
                "" => "view unknown",
                view => view,
            };
            let what = format!("{} ({view})", slashed(&pair.name));
            source.omissions.record(Omission::OtherView, what);
            known.insert(pair.view);
        }
        source.pairs = selected;
        if !source.pairs.is_empty() || left_out == 0 {
            return Ok(());
        }
        known.remove("");
        let (path, asked) = (self.root.into(), requested.into());
        Err(if known.is_empty() {
            PrepareError::UnknownViews { path, asked }
        } else {
            let found = known.into_iter().collect();
            PrepareError::NoSuchView { path, asked, found }
        })
    }

    /// Reads the view of each pair that has a view file.
    fn views(
        &self,
        pairs: &[Pair],
        progress: impl Fn(Progress) + Sync,
    ) -> Vec<Result<Option<String>, String>> {
        let limits = self
            .images
            .map_or_else(DecodeLimits::default, |it| it.limits);
        let with_file = pairs.iter().filter(|pair| pair.view_file.is_some());
        let steps = Steps::new(Stage::Views, with_file.count(), &progress);
        let views = pairs.par_iter().map(|pair| {
            let Some(file) = &pair.view_file else {
                return Ok(None);
            };
            let view = dicom::view(&self.root.join(file), limits.max_bytes);
            steps.one_more();
            view
        });
        views.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use image::GrayImage;
    use tempfile::TempDir;

    use super::super::{MimicConfig, MimicSplit, OpenIConfig, Prepared};
    use super::*;
    use crate::image::dicom::tests::fixtures::Dicom;
    use crate::manifest::{ManifestError, SplitConfig};

    fn write(folder: &TempDir, name: &str, content: &[u8]) {
        let path = folder.path().join("root").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn dicom() -> Dicom {
        Dicom::grey_8(64, &[7; 64 * 64])
    }

    /// A report with five images: PA, one with a lateral series description, one with an additional
    /// PNG, one with only a PNG, and one that is not a DICOM file despite its name.
    fn openi() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let images = ["1", "2", "3", "4", "5"].map(|it| format!("<parentImage id=\"CXR1_{it}\"/>"));
        let report = format!(
            "<eCitation><uId id=\"CXR1\"/><MedlineCitation><Article><Abstract>\
             <AbstractText Label=\"FINDINGS\">Clear lungs.</AbstractText>\
             </Abstract></Article></MedlineCitation>{}</eCitation>",
            images.concat()
        );
        write(&folder, "1.xml", report.as_bytes());
        let frontal = dicom().text(0x0018_5101, "PA");
        write(&folder, "1_1.dcm", &frontal.file());
        let lateral = dicom().text(0x0008_103E, "Chest lateral");
        write(&folder, "1_2.dcm", &lateral.file());
        write(&folder, "1_3.dcm", &frontal.file());
        let mut png = Vec::new();
        let format = image::ImageFormat::Png;
        GrayImage::new(64, 64)
            .write_to(&mut std::io::Cursor::new(&mut png), format)
            .unwrap();
        write(&folder, "1_3.png", &png);
        write(&folder, "1_4.png", &png);
        write(&folder, "1_5.dcm", b"GIF89a");
        folder
    }

    fn prepared(folder: &Path, views: &[&str]) -> Result<Prepared, PrepareError> {
        let config = OpenIConfig {
            views: views.iter().map(ToString::to_string).collect(),
            split: None,
            ..OpenIConfig::new(folder.join("root"), folder.join("out"))
        };
        config.prepare(|_| ())
    }

    /// Image and view of each row of the manifest.
    fn rows(folder: &Path) -> Vec<(String, String)> {
        let mut table = csv::Reader::from_path(folder.join("out/pairs.csv")).unwrap();
        let rows = table.records().map(Result::unwrap);
        rows.map(|row| (row[0].into(), row[4].into())).collect()
    }

    #[test]
    fn views_of_openi_are_read_from_dicom_files() {
        let folder = openi();
        let all = prepared(folder.path(), &[]).unwrap();
        assert_eq!(all.omissions.count(Omission::UnreadableImage), 1);
        let row = |name: &str, view: &str| (format!("images/CXR1_{name}.png"), view.to_owned());
        let expected = [
            row("1", "PA"),
            row("2", "LATERAL"),
            row("3", "PA"),
            row("4", ""),
        ];
        assert_eq!(rows(folder.path()), expected);

        let frontal = prepared(folder.path(), &["AP", "pa"]).unwrap();
        assert_eq!(rows(folder.path()), [row("1", "PA"), row("3", "PA")]);
        assert_eq!(frontal.omissions.count(Omission::OtherView), 2);
        assert_eq!(frontal.omissions.count(Omission::UnreadableImage), 1);
        let text = frontal.to_string();
        for part in [
            "CXR1_2 (LATERAL)",
            "CXR1_4 (view unknown)",
            "1_5.dcm (no DICOM file)",
        ] {
            assert!(text.contains(part), "no `{part}` in {text}");
        }
    }

    #[test]
    fn codes_of_either_side_are_lateral_and_lateral_alone_is_neither_side() {
        let asked = |view: &str| [view.to_owned()];
        assert!(is_requested("LL", &asked("lateral")));
        assert!(is_requested("rl", &asked("LATERAL")));
        assert!(!is_requested("LATERAL", &asked("LL")));
        assert!(!is_requested("AP LLD", &asked("AP")));
    }

    #[test]
    fn a_view_that_no_image_has_is_an_error_with_the_existing_views() {
        let folder = openi();
        let error = prepared(folder.path(), &["AP"]).unwrap_err().to_string();
        assert!(
            error.contains(r#"["AP"]; found ["LATERAL", "PA"]"#),
            "{error}"
        );
        for file in ["1_1.dcm", "1_2.dcm", "1_3.dcm", "1_5.dcm"] {
            fs::remove_file(folder.path().join("root").join(file)).unwrap();
        }
        let error = prepared(folder.path(), &["PA"]).unwrap_err();
        assert!(
            matches!(error, PrepareError::UnknownViews { .. }),
            "{error}"
        );
        assert!(!folder.path().join("out/pairs.csv").exists());
    }

    #[test]
    fn views_of_mimic_are_read_from_dicom_files_without_a_table() {
        let folder = tempfile::tempdir().unwrap();
        let study = "files/p10/p10000032/s50414267";
        let mut list = "subject_id,study_id,dicom_id,path\n".to_owned();
        for (name, view) in [("aa", "AP"), ("bb", "LL"), ("cc", "")] {
            let file = dicom().text(0x0018_5101, view).file();
            write(&folder, &format!("{study}/{name}.dcm"), &file);
            list += &format!("10000032,50414267,{name},{study}/{name}.dcm\n");
        }
        write(&folder, "cxr-record-list.csv", list.as_bytes());
        write(&folder, &format!("{study}.txt"), b"FINDINGS: Clear lungs.");
        let config = MimicConfig {
            split: MimicSplit::ByPatient(SplitConfig {
                valid_size: 0.5,
                seed: 0,
            }),
            ..MimicConfig::new(folder.path().join("root"), folder.path().join("out"))
        };
        // One patient cannot be split, but the views are selected before that.
        let error = config.prepare(|_| ()).unwrap_err();
        assert!(
            matches!(
                error,
                PrepareError::Manifest(ManifestError::TooFewGroups { pairs: 1, .. })
            ),
            "{error}"
        );
        let none = MimicConfig {
            views: vec!["PA".into()],
            ..config
        };
        let error = none.prepare(|_| ()).unwrap_err().to_string();
        assert!(error.contains(r#"["PA"]; found ["AP", "LL"]"#), "{error}");
    }
}
