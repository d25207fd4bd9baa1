//! A damaged model gives errors, and no number that looks right.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use safetensors::SafeTensors;
use tempfile::TempDir;

use crate::fixtures::{convirt, text_of, trained};

/// A copy of the trained run's model folder, in a folder of its own.
fn model() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    fs::create_dir(&model).unwrap();
    for file in fs::read_dir(trained().run.model()).unwrap().flatten() {
        fs::copy(file.path(), model.join(file.file_name())).unwrap();
    }
    (folder, model)
}

/// Makes the first number of a tensor NaN, as by another tool, which leaves no checksums.
fn damage(model: &Path, tensor: &str) {
    let path = model.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let offset = {
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let data = tensors.tensor(tensor).unwrap().data();
        data.as_ptr() as usize - bytes.as_ptr() as usize
    };
    bytes[offset..offset + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    fs::remove_file(model.join("checksums.json")).unwrap();
}

/// Every program that takes a model, at work on this one.
fn programs(folder: &Path, model: &Path) -> Vec<(&'static str, Command)> {
    let data = trained().workspace().data();
    let manifest = data.join("pairs.csv");
    let prompts = folder.join("prompts.yaml");
    fs::write(&prompts, "a: {positive: [x]}\nb: {positive: [y]}\n").unwrap();
    let labels = folder.join("labels.csv");
    let pairs = fs::read_to_string(&manifest).unwrap();
    let images = pairs
        .lines()
        .skip(1)
        .map(|row| row.split(',').next().unwrap());
    let rows = images.enumerate().map(|(row, image)| {
        let label = if row % 2 == 0 { "a" } else { "b" };
        format!("{},{label}\n", data.join(image).display())
    });
    let rows: String = rows.collect();
    fs::write(&labels, format!("image,label\n{rows}")).unwrap();

    let program = |name: &'static str, arguments: &[&str]| {
        let mut command = convirt(name.split(' '));
        command.args(arguments).current_dir(folder);
        command
    };
    let mut evaluate = program("retrieve pairs", &["--text-from-files"]);
    evaluate
        .arg("--run")
        .arg(model)
        .arg("--manifest")
        .arg(&manifest);
    let mut build = program("index build", &["--out", "out.index"]);
    build.arg("--run").arg(model).arg("--images").arg(&data);
    let mut embed = program("embed", &["--out", "out.npy"]);
    embed.arg("--run").arg(model).arg("--images").arg(&data);
    let mut zero_shot = program("zero-shot", &["--prompts", "prompts.yaml"]);
    zero_shot.arg(model).arg(&data);
    let mut export = program("export", &[]);
    export.arg(model);
    let mut transfer = program("transfer", &["--label-col", "label", "--fractions", "1"]);
    transfer
        .arg("--csv")
        .arg(&labels)
        .arg("--image-root")
        .arg(&data)
        .arg("--encoder")
        .arg(model);
    vec![
        ("evaluate", evaluate),
        ("build", build),
        ("embed", embed),
        ("zero_shot", zero_shot),
        ("export", export),
        ("transfer", transfer),
    ]
}

/// Runs all programs, which must name the file and `part` and write nothing.
fn all_refuse(folder: &Path, model: &Path, part: &str) {
    for (name, mut command) in programs(folder, model) {
        let output = command.output().unwrap();
        let text = text_of(&output);
        assert_eq!(output.status.code(), Some(1), "{name}: {text}");
        for part in ["model", part] {
            assert!(text.contains(part), "{name}: no `{part}` in {text}");
        }
        for word in ["AUROC", "recall", "panicked"] {
            assert!(!text.contains(word), "{name}: {text}");
        }
    }
    for out in [
        "out.index",
        "out.npy",
        "zero_shot.csv",
        "exported",
        "transfer",
    ] {
        let path = folder.join(out);
        let is_there = path.is_file() || path.read_dir().is_ok_and(|mut it| it.next().is_some());
        assert!(!is_there, "{out} was written");
    }
}

#[test]
fn no_program_computes_with_a_weight_that_is_not_a_number() {
    let (folder, model) = model();
    let tensor = "image_encoder.layer2.0.conv1.weight";
    damage(&model, tensor);
    all_refuse(folder.path(), &model, tensor);
}

#[test]
fn no_program_computes_with_a_weight_of_which_a_bit_flipped() {
    let (folder, model) = model();
    let path = model.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    all_refuse(folder.path(), &model, "changed since it was written");
}

#[test]
fn a_changed_vocabulary_or_description_is_noticed() {
    for (name, from, to) in [
        ("tokenizer.json", "lung", "lunk"),
        ("convirt.json", "\"image_size\": 32", "\"image_size\": 64"),
    ] {
        let (_folder, model) = model();
        let path = model.join(name);
        let text = fs::read_to_string(&path).unwrap();
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{name}");
        fs::write(&path, changed).unwrap();
        let error = convirt::Model::load(&model).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        assert!(error.contains("changed since"), "{error}");
    }
}
