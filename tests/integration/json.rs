//! Results for other programs: `--json` prints one document on standard output.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::fixtures::{Workspace, convirt, text_of, trained};

/// Runs a command, which must succeed with one document on standard output.
fn json(command: &str, paths: &[(&str, &Path)]) -> Value {
    let mut program = convirt(command.split(' '));
    program.arg("--json");
    for (option, path) in paths {
        program.args(Some(option).filter(|option| !option.is_empty()));
        program.arg(path);
    }
    let output = program.output().unwrap();
    let told = text_of(&output);
    assert!(output.status.success(), "{command}: {told}");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{command}: {error}\n{told}"))
}

fn run() -> &'static Path {
    trained().run.path()
}

fn pairs() -> PathBuf {
    trained().workspace().data().join("pairs.csv")
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A table of the phantom's images with labels that have nothing to do with them.
fn labels(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("labels.csv");
    let data = trained().workspace().data();
    let mut table = "image,label,patient\n".to_string();
    let pairs = fs::read_to_string(pairs()).unwrap();
    for (row, line) in pairs.lines().skip(1).enumerate() {
        let image = data.join(line.split(',').next().unwrap());
        let label = if row % 2 == 0 { "a" } else { "b" };
        table += &format!("{},{label},p{}\n", image.display(), row / 2);
    }
    fs::write(&path, table).unwrap();
    path
}

#[test]
fn a_training_and_its_continuation_give_their_summaries() {
    let workspace = Workspace::new();
    let config = workspace.config_file();
    let summary = json("train --set max_steps=1", &[("--config", &config)]);
    assert_eq!(
        (&summary["steps"], &summary["objective"]),
        (&1.into(), &"convirt".into())
    );
    let run = Path::new(summary["run"].as_str().unwrap()).to_path_buf();
    let summary = json("resume --set max_steps=2", &[("", &run)]);
    assert_eq!(
        (&summary["steps"], &summary["ending"]),
        (&2.into(), &"completed".into())
    );
    let page = json("report", &[("", &run)]);
    assert_eq!(page["page"], run.join("report.html").to_str().unwrap());
}

#[test]
fn a_diagnosis_counts_what_it_lists() {
    let workspace = Workspace::new();
    let config = workspace.config_file();
    let page = workspace.path().join("page.html");
    let cleaned = workspace.path().join("clean.csv");
    let paths = [
        ("--config", &*config),
        ("--out", &page),
        ("--fix", &cleaned),
    ];
    let diagnosis = json("doctor", &paths);
    assert_eq!(diagnosis["errors"], 0);
    let findings = diagnosis["findings"].as_array().unwrap();
    let warnings = findings
        .iter()
        .filter(|finding| finding["severity"] == "warning");
    let warnings: u64 = warnings
        .map(|finding| finding["count"].as_u64().unwrap())
        .sum();
    assert_eq!(diagnosis["warnings"], warnings);
    assert_eq!(diagnosis["cleaned"]["rows"], diagnosis["rows"]);
}

#[test]
fn weights_are_listed_with_what_becomes_of_each() {
    let model = trained().run.model();
    let files = json("inspect", &[("", &model)]);
    let tensors = files[0]["tensors"].as_array().unwrap();
    let named = |name: &str| {
        let tensor = tensors.iter().find(|tensor| tensor["name"] == name);
        tensor.unwrap_or_else(|| panic!("no {name}"))
    };
    let first = named("image_encoder.conv1.weight");
    assert_eq!(first["shape"], serde_json::json!([64, 3, 7, 7]));
    assert_eq!(first["status"], "loaded");
    assert_eq!(files[0]["image_encoder"], "resnet18");
    let loaded = json("inspect --load --device flex", &[("", &model)]);
    assert!(loaded["seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn exports_embeddings_and_indices_name_what_was_written() {
    let folder = folder();
    let out = folder.path().join("exported");
    let exported = json("export", &[("", run()), ("--out", &out)]);
    let parts = exported["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 7);
    for part in parts {
        assert!(Path::new(part["path"].as_str().unwrap()).exists(), "{part}");
    }

    let manifest = pairs();
    let out = folder.path().join("images.npy");
    let paths = [
        ("--run", run()),
        ("--manifest", &*manifest),
        ("--out", &out),
    ];
    let written = json("embed --split all", &paths);
    let rows = fs::read_to_string(&manifest).unwrap().lines().count() - 1;
    assert_eq!(
        (&written["rows"], &written["width"]),
        (&rows.into(), &16.into())
    );

    let index = folder.path().join("reports.index");
    let paths = [
        ("--run", run()),
        ("--manifest", &*manifest),
        ("--out", &index),
    ];
    let built = json("index build --text-from-files", &paths);
    assert_eq!(built["rows"], rows);
    let image = trained().an_image();
    let found = json(
        "index search -k 3",
        &[("", &index), ("--run", run()), ("--image", &image)],
    );
    let hits = found["hits"].as_array().unwrap();
    assert_eq!(hits.len(), 3);
    assert_eq!(hits[0]["name"], image.to_str().unwrap());
    assert!(hits[0]["score"].as_f64() >= hits[1]["score"].as_f64());
}

#[test]
fn scores_are_given_as_the_library_has_them() {
    let folder = folder();
    let manifest = pairs();
    let paths = [("--run", run()), ("--manifest", &*manifest)];
    let of_valid = "retrieve pairs --text-from-files --split-col split --split valid";
    let retrieval = json(of_valid, &paths);
    let expected = serde_json::to_value(trained().summary.retrieval).unwrap();
    assert_eq!(
        retrieval["pairs"]["image_to_text"]["queries"],
        expected["image_to_text"]["queries"]
    );

    let labels = labels(&folder);
    let data = pairs().with_file_name("");
    let data = data.as_path();
    let prompts = folder.path().join("prompts.yaml");
    fs::write(&prompts, "a: {positive: [x]}\nb: {positive: [y]}\n").unwrap();
    let out = folder.path().join("out.csv");
    let paths = [
        ("", run()),
        ("--prompts", &*prompts),
        ("--csv", &labels),
        ("--image-root", data),
        ("--out", &out),
    ];
    let told = json("zero-shot --label-col label", &paths);
    assert_eq!(told["classes"], serde_json::json!(["a", "b"]));
    assert!(told["scores"].is_object(), "{told}");

    let out = folder.path().join("transfer");
    let paths = [
        ("--encoder", run()),
        ("--csv", &*labels),
        ("--image-root", data),
        ("--out", &out),
    ];
    let report = json(
        "transfer --label-col label --group-col patient --fractions 1 --resamples 20",
        &paths,
    );
    let saved = fs::read(out.join("transfer.json")).unwrap();
    let saved: Value = serde_json::from_slice(&saved).unwrap();
    assert_eq!(report, saved);
}

#[test]
fn a_quiet_command_prints_its_result_alone() {
    let folder = folder();
    let sentences = folder.path().join("sentences.txt");
    fs::write(&sentences, "The lungs are clear.\n...\n").unwrap();
    let out = folder.path().join("out.npy");
    let mut embed = convirt(["embed", "--quiet", "--run"]);
    embed
        .arg(run())
        .arg("--sentences")
        .arg(&sentences)
        .arg("--out")
        .arg(&out);
    let output = embed.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed, format!("{}: 2 × 16\n", out.display()));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
