//! The moving average of the weights is evaluated and saved, and a run with it resumes.

use convirt::{Summary, Training};
use serde_json::Value;

use crate::fixtures::{Workspace, alone, assert_fixed_on_resume, computed, interrupted};

const STEPS: [&str; 1] = ["log_every_n_steps=1"];

fn train(workspace: &Workspace, overrides: &[&str]) -> Summary {
    let config = workspace.config(&[&STEPS[..], overrides].concat());
    Training::prepare(config).unwrap().run().unwrap()
}

/// The losses of the steps, and those of the evaluations.
fn losses(summary: &Summary) -> [Vec<Value>; 2] {
    let (_, lines) = computed(&summary.run);
    let (steps, evaluations): (Vec<_>, Vec<_>) =
        lines.into_iter().partition(|line| line[4].is_null());
    [steps, evaluations].map(|lines| lines.into_iter().map(|line| line[1].clone()).collect())
}

#[test]
fn the_average_is_evaluated_and_saved_and_does_not_change_the_training() {
    let _alone = alone();
    let workspace = Workspace::new();
    let plain = train(&workspace, &[]);
    let averaged = train(&workspace, &["ema_decay=0.9"]);
    let [steps, evaluations] = losses(&averaged);
    assert_eq!(steps, losses(&plain)[0]);
    assert_ne!(evaluations, losses(&plain)[1]);
    assert_ne!(averaged.validation_loss, plain.validation_loss);
    let weights = [&averaged, &plain].map(|summary| computed(&summary.run).0);
    assert!(weights[0] != weights[1]);

    // With next to no memory, the average is the last weights.
    let forgetful = train(&workspace, &["ema_decay=1e-9"]);
    let [expected, actual] = [&plain, &forgetful].map(|it| it.validation_loss.unwrap());
    assert!((expected - actual).abs() < 1e-4, "{expected} and {actual}");
}

#[test]
fn a_run_with_an_average_resumes_to_the_very_weights() {
    let _alone = alone();
    let workspace = Workspace::new();
    let prepare = || Training::prepare(workspace.config(&["ema_decay=0.7"])).unwrap();
    let whole = prepare().run().unwrap();
    let run = interrupted(prepare());
    assert_fixed_on_resume(&run, "ema_decay=0.8");
    let average = std::fs::read_dir(run.join("checkpoint")).unwrap().flatten();
    let average = average.map(|file| file.path()).find(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("average-") && name != "average-0.bpk"
    });
    let average = average.expect("a file of its own");
    let resumed = Training::resume(&run, &[]).unwrap().run().unwrap();
    assert_eq!(resumed.validation_loss, whole.validation_loss);
    assert!(computed(&run).0 == computed(&whole.run).0);
    assert!(!average.exists(), "old checkpoints go with their averages");
}
