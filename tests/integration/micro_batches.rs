//! Batches that do not fit into memory are computed in parts.

use std::fs;
use std::path::Path;

use convirt::Training;

use crate::fixtures::{Workspace, alone, assert_fixed_on_resume, interrupted};

fn weights(run: &Path) -> Vec<u8> {
    fs::read(run.join("model/model.safetensors")).unwrap()
}

#[test]
fn a_run_in_parts_tells_it_and_resumes_to_the_very_weights() {
    let _alone = alone();
    let workspace = Workspace::new();
    let prepare = || Training::prepare(workspace.config(&["micro_batch_size=3"])).unwrap();
    let whole = prepare();
    let description = whole.to_string();
    assert!(description.contains("2 of 3 pairs a step"), "{description}");
    let whole = whole.run().unwrap();

    let run = interrupted(prepare());
    assert_fixed_on_resume(&run, "micro_batch_size=1");
    let resumed = Training::resume(&run, &[]).unwrap().run().unwrap();
    assert_eq!(resumed.validation_loss, whole.validation_loss);
    assert!(weights(&run) == weights(&whole.run));
}

#[test]
fn the_choice_within_a_budget_is_kept_in_the_run() {
    let _alone = alone();
    let workspace = Workspace::new();
    let overrides = ["micro_batch_size=auto", "memory_budget_gib=8"];
    let training = Training::prepare(workspace.config(&overrides)).unwrap();
    let kept = fs::read_to_string(training.run_dir().config()).unwrap();
    assert!(kept.contains("micro_batch_size: 4\n"), "{kept}");
    assert!(kept.contains("memory_budget_gib: null\n"), "{kept}");
    assert!(!training.to_string().contains("micro-batches"));

    let error = workspace.try_config(&["memory_budget_gib=8"]).unwrap_err();
    assert!(
        error.to_string().contains("micro_batch_size: auto"),
        "{error}"
    );
}

#[test]
fn simclr_is_computed_in_parts_too() {
    let workspace = Workspace::new();
    let overrides = ["objective=simclr", "micro_batch_size=2", "max_steps=2"];
    let summary = workspace.train(&overrides).unwrap();
    assert_eq!(summary.steps, 2);
    assert!(summary.contrastive_accuracy.is_some());
}
