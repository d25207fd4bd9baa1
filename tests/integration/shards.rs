//! Trainings from WebDataset shards.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use convirt::{Summary, Training};
use serde_json::json;

use crate::fixtures::{Workspace, alone, computed, convirt, interrupted, text_of};

/// Writes the pairs of a workspace as two shards, and returns their pattern.
fn write_shards(workspace: &Workspace) -> PathBuf {
    let folder = workspace.path().join("shards");
    fs::create_dir_all(&folder).unwrap();
    let mut table = csv::Reader::from_path(workspace.data().join("pairs.csv")).unwrap();
    let header = table.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    for (number, rows) in rows.chunks(rows.len().div_ceil(2)).enumerate() {
        let file = File::create(folder.join(format!("{number:03}.tar"))).unwrap();
        let mut archive = tar::Builder::new(file);
        for (row, record) in rows.iter().enumerate() {
            let cell = |name: &str| &record[header.iter().position(|it| it == name).unwrap()];
            let data = workspace.data();
            let fields = json!({"subject_id": cell("subject_id"), "split": cell("split")});
            let members = [
                ("jpg", fs::read(data.join(cell("image"))).unwrap()),
                ("txt", fs::read(data.join(cell("text"))).unwrap()),
                ("json", fields.to_string().into_bytes()),
            ];
            for (ending, content) in members {
                let mut header = tar::Header::new_gnu();
                header.set_size(content.len() as u64);
                header.set_mode(0o644);
                let name = format!("{row:04}.{ending}");
                archive
                    .append_data(&mut header, name, &content[..])
                    .unwrap();
            }
        }
        archive.finish().unwrap();
    }
    folder.join("{000..001}.tar")
}

fn train(workspace: &Workspace, shards: &Path) -> Summary {
    let shards = format!("dataset.csv_file={}", shards.display());
    let config = workspace.config(&[&shards, "dataset.text_from_files=False"]);
    Training::prepare(config).unwrap().run().unwrap()
}

#[test]
fn shards_train_as_the_table_of_the_same_pairs_and_resume() {
    let _alone = alone();
    let workspace = Workspace::new();
    let expected = Training::prepare(workspace.config(&[]))
        .unwrap()
        .run()
        .unwrap();
    let shards = write_shards(&workspace);
    let summary = train(&workspace, &shards);
    assert_eq!(summary.train_pairs, expected.train_pairs);
    assert!(computed(&summary.run).0 == computed(&expected.run).0);
    assert!(shards.with_file_name("000.tar.index").is_file());

    let setting = format!("dataset.csv_file={}", shards.display());
    let config = workspace.config(&[&setting, "dataset.text_from_files=False"]);
    let run = interrupted(Training::prepare(config).unwrap());
    Training::resume(&run, &[]).unwrap().run().unwrap();
    assert!(computed(&run).0 == computed(&expected.run).0);
}

#[test]
fn the_key_shards_and_the_option_csv_name_them_too() {
    let workspace = Workspace::new();
    let shards = write_shards(&workspace);
    let yaml = workspace.yaml().replace("csv_file:", "shards:");
    let yaml = yaml.replace(
        &*workspace.data().join("pairs.csv").to_string_lossy(),
        &shards.to_string_lossy(),
    );
    let yaml = yaml.replace("text_from_files: True", "text_from_files: False");
    let config = workspace.path().join("shards.yaml");
    fs::write(&config, yaml).unwrap();
    let output = convirt(["train", "--config"])
        .arg(&config)
        .args(["--set", "max_steps=1"])
        .output();
    let text = text_of(&output.unwrap());
    assert!(text.contains("completed after 1 steps"), "{text}");

    let page = workspace.path().join("doctor.html");
    let mut doctor = convirt(["doctor", "--csv"]);
    let output = doctor.arg(&shards).arg("--out").arg(page).output().unwrap();
    let text = text_of(&output);
    assert!(text.contains("groups by `subject_id`"), "{text}");
}

#[test]
fn a_broken_sample_is_left_out_and_a_missing_shard_is_an_error() {
    let workspace = Workspace::new();
    let shards = write_shards(&workspace);
    let shard = shards.with_file_name("001.tar");
    let mut bytes = fs::read(&shard).unwrap();
    // The first member is an image, after its header.
    bytes[512..1_024].fill(0);
    fs::write(&shard, bytes).unwrap();
    let set = |value: &str| ["--set".to_string(), value.to_string()];
    let train = || {
        let mut command = convirt(["train", "--config"]);
        command.arg(workspace.config_file());
        command
            .args(set("max_steps=2"))
            .args(set("dataset.max_bad_share=0.1"));
        command.args(set(&format!("dataset.csv_file={}", shards.display())));
        command.args(set("dataset.text_from_files=False"));
        text_of(&command.output().unwrap())
    };
    let text = train();
    assert!(text.contains("1 unreadable image"), "{text}");
    assert!(text.contains("completed after 2 steps"), "{text}");
    fs::remove_file(&shard).unwrap();
    let text = train();
    assert!(text.contains("001.tar"), "{text}");
}
