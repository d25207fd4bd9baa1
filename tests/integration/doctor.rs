//! The doctor, as its users run it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::fixtures::{Workspace, convirt, text_of};

/// Runs the doctor on the workspace's configuration.
fn doctor(workspace: &Workspace, arguments: &[&str]) -> Output {
    let config = workspace.config_file();
    convirt(["doctor"])
        .arg("--config")
        .arg(config)
        .arg("--out")
        .arg(page(workspace))
        .args(arguments)
        .env("HF_HUB_OFFLINE", "1")
        .env("HF_HOME", workspace.path())
        .env_remove("HF_HUB_CACHE")
        .output()
        .unwrap()
}

fn page(workspace: &Workspace) -> PathBuf {
    workspace.path().join("doctor.html")
}

/// Rows of the table, cell by cell, the header first.
fn rows(table: &Path) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_path(table)
        .unwrap();
    let records = reader.records();
    records
        .map(|record| record.unwrap().iter().map(Into::into).collect())
        .collect()
}

#[test]
fn a_sound_data_set_ends_well_and_leaves_a_page() {
    let workspace = Workspace::new();
    let output = doctor(&workspace, &[]);
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in ["0 errors", "headings in a text", "doctor.html"] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    let page = fs::read_to_string(page(&workspace)).unwrap();
    assert!(page.contains("0 errors") && page.contains("data:image/png;base64,"));
    for outside in ["http:", "https:", "<script", "<link"] {
        assert!(!page.contains(outside), "`{outside}` in the page");
    }
}

#[test]
fn errors_are_told_and_what_fix_writes_has_none() {
    let workspace = Workspace::new();
    let table = workspace.data().join("pairs.csv");
    let mut all = rows(&table);
    let column = |name: &str| all[0].iter().position(|it| it == name).unwrap();
    let (image, split) = (column("image"), column("split"));
    let train = all.iter().position(|row| row[split] == "train").unwrap();
    let valid = all.iter().position(|row| row[split] == "validate").unwrap();
    let copy = workspace.data().join("copy");
    fs::copy(workspace.data().join(&all[train][image]), copy).unwrap();
    all[valid][image] = "copy".into();
    let gone = all.iter().rposition(|row| row[split] == "train").unwrap();
    fs::remove_file(workspace.data().join(&all[gone][image])).unwrap();
    let mut writer = csv::Writer::from_path(&table).unwrap();
    for row in &all {
        writer.write_record(row).unwrap();
    }
    writer.flush().unwrap();

    let cleaned = workspace.path().join("cleaned/pairs.csv");
    let output = doctor(&workspace, &["--fix", cleaned.to_str().unwrap()]);
    let printed = text_of(&output);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    for part in [
        "image on several sides",
        "missing image",
        &format!("row {gone}: "),
        "2 left out",
        "dataset.img_root_dir=",
    ] {
        assert!(printed.contains(part), "no `{part}` in:\n{printed}");
    }
    all.remove(gone.max(train));
    all.remove(gone.min(train));
    assert_eq!(rows(&cleaned), all, "other rows and all columns stay");

    let data = workspace.data();
    let keys = [
        format!("dataset.csv_file={}", cleaned.display()),
        format!("dataset.img_root_dir={}", data.display()),
        format!("dataset.text_root_dir={}", data.display()),
    ];
    let keys: Vec<_> = keys.iter().flat_map(|key| ["--set", key]).collect();
    let output = doctor(&workspace, &keys);
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output));
}

#[test]
fn the_manifest_itself_is_never_overwritten() {
    let workspace = Workspace::new();
    let table = workspace.data().join("pairs.csv");
    let before = fs::read(&table).unwrap();
    let around = workspace.data().join("../data/pairs.csv");
    let output = doctor(&workspace, &["--fix", around.to_str().unwrap(), "--force"]);
    assert_eq!(output.status.code(), Some(2), "{}", text_of(&output));
    assert!(text_of(&output).contains("is the input"));
    assert_eq!(fs::read(&table).unwrap(), before);
}

#[test]
fn without_its_vocabulary_tokens_are_not_counted_and_the_rest_is_looked_at() {
    let workspace = Workspace::new();
    let name = "model.bert_base_model=emilyalsentzer/Bio_ClinicalBERT";
    let output = doctor(&workspace, &["--set", name]);
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("not checked: tokens: `emilyalsentzer/Bio_ClinicalBERT`"),
        "{text}"
    );
}

#[test]
fn where_there_is_nothing_to_examine_the_code_is_another() {
    let workspace = Workspace::new();
    let output = doctor(&workspace, &["--set", "dataset.img_path_col=picture"]);
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("no column `picture`"), "{text}");
    assert!(!page(&workspace).exists());
}
