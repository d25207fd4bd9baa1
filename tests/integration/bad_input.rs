//! What is wrong with the input is said at once, by name, and costs nothing but itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use convirt::Training;
use convirt::records::TrainingObserver;

use crate::fixtures::{Workspace, alone, convirt, text_of, trained};

/// Images of the training split, in the order of the table.
fn training_images(workspace: &Workspace) -> Vec<PathBuf> {
    images_of(workspace, "train")
}

/// Images of a split, in the order of the table.
fn images_of(workspace: &Workspace, split: &str) -> Vec<PathBuf> {
    let split = format!(",{split},");
    let table = fs::read_to_string(workspace.data().join("pairs.csv")).unwrap();
    table
        .lines()
        .filter(|row| row.contains(&split))
        .map(|row| workspace.data().join(row.split(',').next().unwrap()))
        .collect()
}

/// Cuts a file in half: its header stays, its pixels do not.
fn truncate(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn a_few_broken_images_are_left_out_counted_and_listed() {
    let workspace = Workspace::new();
    let images = training_images(&workspace);
    fs::write(&images[0], b"").unwrap();
    fs::remove_file(&images[1]).unwrap();
    // One epoch of all, so that each image has its turn.
    let summary = workspace
        .train(&["max_steps=null", "epochs=1", "dataset.max_bad_share=0.2"])
        .unwrap();
    assert_eq!(
        summary.skipped.values().sum::<usize>(),
        2,
        "{:?}",
        summary.skipped
    );
    assert!(summary.to_string().contains("left out"), "{summary}");
}

#[test]
fn too_many_broken_images_stop_before_a_run_begins() {
    let workspace = Workspace::new();
    let images = training_images(&workspace);
    for image in &images[..6] {
        fs::write(image, b"").unwrap();
    }
    let error = workspace.train(&[]).unwrap_err().to_string();
    assert!(error.contains("max_bad_share"), "{error}");
    assert!(error.contains("pairs.csv"), "{error}");
    assert!(!workspace.runs().exists(), "no run was begun");
}

#[test]
fn images_beyond_the_limits_stop_before_a_run_begins() {
    let workspace = Workspace::new();
    let error = workspace
        .train(&["dataset.max_image_side=32"])
        .unwrap_err()
        .to_string();
    assert!(error.contains("max_image_side is 32"), "{error}");
    assert!(!workspace.runs().exists(), "no run was begun");
}

#[test]
fn images_that_turn_out_truncated_stop_the_training_with_their_names() {
    let workspace = Workspace::new();
    let images = training_images(&workspace);
    for image in &images {
        truncate(image);
    }
    let error = workspace
        .train(&["max_steps=null", "epochs=2"])
        .unwrap_err();
    let text = format!("{:#}", anyhow::Error::new(error));
    assert!(text.contains("max_bad_share"), "{text}");
}

/// Keeps the warnings of a training.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl TrainingObserver for Warnings {
    fn on_warning(&mut self, text: &str) {
        self.0.lock().unwrap().push(text.to_string());
    }
}

#[test]
fn warnings_reach_observers_before_the_first_step_and_when_an_image_turns_out_truncated() {
    let workspace = Workspace::new();
    let image = &training_images(&workspace)[0];
    truncate(image);
    let warnings = Warnings::default();
    let run = {
        let _alone = alone();
        let overrides = [
            "max_steps=null",
            "epochs=1",
            "dataset.max_bad_share=0.2",
            "schedule.warmup_steps=1000",
        ];
        let training = Training::prepare(workspace.config(&overrides)).unwrap();
        let training = training.with_observer(warnings.clone());
        training.run().unwrap().run
    };
    let warnings = warnings.0.lock().unwrap();
    let [first, second] = &warnings[..] else {
        panic!("{warnings:#?}");
    };
    assert!(first.contains("the warm-up takes 1000 steps"), "{first}");
    let name = image.file_name().unwrap().to_str().unwrap();
    assert!(
        second.contains("left out since the last evaluation: 1;") && second.contains(name),
        "{second}"
    );
    let log = fs::read_to_string(run.join("train.log")).unwrap();
    assert!(log.contains(&format!("warning: {second}")), "{log}");
    assert_eq!(log.matches("the warm-up takes").count(), 1, "{log}");
}

#[test]
fn a_batch_of_too_few_readable_images_counts_as_a_step_of_the_learning_rate() {
    let workspace = Workspace::new();
    truncate(&training_images(&workspace)[0]);
    let summary = workspace
        .train(&[
            "batch_size=2",
            "max_steps=null",
            "epochs=1",
            "log_every_n_steps=1",
            "dataset.max_bad_share=0.2",
            "schedule.warmup_steps=100",
        ])
        .unwrap();
    let metrics = fs::read_to_string(summary.run.join("metrics.jsonl")).unwrap();
    let rates: Vec<(f64, f64)> = metrics
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter_map(|line| Some((line["step"].as_f64()?, line["learning_rate"].as_f64()?)))
        .collect();
    assert_eq!(
        rates.len(),
        summary.steps - 1,
        "one has no batch: {metrics}"
    );
    for (step, rate) in rates {
        assert!((rate - 1e-5 * step).abs() < 1e-12, "step {step}: {rate}");
    }
}

#[test]
fn a_device_of_the_environment_is_told_with_its_variable() {
    let trained = trained();
    let folder = tempfile::tempdir().unwrap();
    let mut command = convirt(["embed", "--run"]);
    command.arg(trained.run.path()).arg("--images");
    command.arg(trained.workspace().data()).arg("--out");
    command.arg(folder.path().join("images.npy"));
    let output = command.env("BURN_DEVICE", "abacus").output().unwrap();
    let text = text_of(&output);
    assert!(text.contains("no device `BURN_DEVICE=abacus`"), "{text}");
}

#[test]
fn a_batch_larger_than_the_set_is_an_error_that_names_both() {
    let error = Workspace::new().train(&["batch_size=5000"]).unwrap_err();
    assert!(error.to_string().contains("5000"), "{error}");
}

#[test]
fn an_empty_validation_split_is_an_error() {
    let workspace = Workspace::new();
    let table = workspace.data().join("pairs.csv");
    let all_train = fs::read_to_string(&table)
        .unwrap()
        .replace(",validate,", ",train,");
    fs::write(&table, all_train).unwrap();
    let error = workspace.train(&[]).unwrap_err().to_string();
    assert!(error.contains("valid"), "{error}");
}

#[test]
fn copies_of_an_image_on_both_sides_of_a_given_split_are_counted() {
    let workspace = Workspace::new();
    let known = |workspace: &Workspace| {
        let _alone = alone();
        let training = Training::prepare(workspace.config(&[])).unwrap();
        training
            .to_string()
            .contains("warning: 2 of the images held out")
    };
    assert!(!known(&workspace));
    let trained = training_images(&workspace);
    for held_out in images_of(&workspace, "validate").iter().take(2) {
        fs::copy(&trained[0], held_out).unwrap();
    }
    assert!(known(&workspace));
}

#[test]
fn a_loss_that_is_no_longer_finite_stops_the_training_and_keeps_nothing_of_it() {
    let workspace = Workspace::new();
    let _alone = alone();
    let training = Training::prepare(workspace.config(&["weight_decay=1e39"])).unwrap();
    let run = training.run_dir().clone();
    let error = training.run().unwrap_err().to_string();
    assert!(
        error.contains("loss") && error.contains("learning_rate"),
        "{error}"
    );
    assert!(!run.path().join("model/model.safetensors").exists());
    assert_eq!(Training::last_checkpoint(&run), Some(0));
}

#[test]
fn damaged_weights_of_a_run_are_an_error_that_names_the_file() {
    let workspace = Workspace::new();
    let run = workspace.train(&["max_steps=1"]).unwrap().run;
    truncate(&run.join("model/model.safetensors"));
    let error = convirt::Model::load(&run).unwrap_err().to_string();
    assert!(error.contains("model.safetensors"), "{error}");
    fs::remove_file(run.join("model/tokenizer.json")).unwrap();
    let error = convirt::Model::load(&run).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json"), "{error}");
}
