//! Several devices train as one.

use std::fs;

use convirt::{Error, Summary, Training};
use serde_json::Value;

use crate::fixtures::{Workspace, alone, computed, convirt, interrupted, text_of};

/// Four parts of two pairs, with all that is random and all that is learned.
const PARTS: [&str; 8] = [
    "batch_size=8",
    "micro_batch_size=2",
    "model.dropout=0.2",
    "loss.learnable_temperature=true",
    "log_every_n_steps=1",
    "gradient_clip_norm=1.0",
    "dataset.max_bad_share=0.3",
    "ema_decay=0.5",
];

fn prepare(workspace: &Workspace, device: &str, overrides: &[&str]) -> Training {
    let device = format!("device={device}");
    let overrides = [&PARTS[..], &[&*device], overrides].concat();
    Training::prepare(workspace.config(&overrides)).unwrap()
}

/// The numbers of a summary.
fn numbers(summary: &Summary) -> Value {
    let mut json = serde_json::to_value(summary).unwrap();
    let of_run = ["run", "seconds", "environment"];
    for key in of_run {
        json.as_object_mut().unwrap().remove(key);
    }
    json
}

#[test]
fn one_device_and_several_compute_the_same_run_to_the_bit() {
    let _alone = alone();
    let workspace = Workspace::new();
    let table = fs::read_to_string(workspace.data().join("pairs.csv")).unwrap();
    let images = table
        .lines()
        .filter_map(|row| row.split(',').find(|it| it.ends_with(".jpg")));
    for image in images.step_by(7) {
        fs::write(workspace.data().join(image), b"no image").unwrap();
    }
    for objective in ["objective=convirt", "objective=simclr"] {
        let train = |device| prepare(&workspace, device, &[objective]).run().unwrap();
        let expected = train("flex");
        assert_eq!(computed(&expected.run).1.len(), 10);
        for devices in ["flex,flex", "flex, flex, flex"] {
            let summary = train(devices);
            let log = fs::read_to_string(summary.run.join("train.log")).unwrap();
            assert!(!log.contains("other weights"), "{log}");
            let (weights, lines) = computed(&summary.run);
            assert_eq!(lines, computed(&expected.run).1, "{objective} on {devices}");
            assert!(
                weights == computed(&expected.run).0,
                "{objective} on {devices}: weights differ"
            );
            assert_eq!(numbers(&summary), numbers(&expected));
        }
    }
}

#[test]
fn a_run_continues_on_another_number_of_devices() {
    let _alone = alone();
    let workspace = Workspace::new();
    let expected = prepare(&workspace, "flex", &[]).run().unwrap();
    let run = interrupted(prepare(&workspace, "flex,flex", &[]));
    for (steps, device) in [(5, "flex,flex,flex"), (8, "flex")] {
        let overrides = [format!("max_steps={steps}"), format!("device={device}")];
        Training::resume(&run, &overrides).unwrap().run().unwrap();
    }
    let (weights, lines) = computed(&run);
    let (expected_weights, expected_lines) = computed(&expected.run);
    let steps = |lines: Vec<Vec<Value>>| -> Vec<_> {
        let is_step = |line: &Vec<Value>| line[4].is_null();
        lines.into_iter().filter(is_step).collect()
    };
    assert_eq!(steps(lines), steps(expected_lines));
    assert!(weights == expected_weights);
}

#[test]
fn an_error_of_one_device_ends_all_with_its_reason() {
    let _alone = alone();
    let workspace = Workspace::new();
    let training = prepare(&workspace, "flex,flex", &["dataset.max_bad_share=0"]);
    fs::remove_dir_all(workspace.data().join("images")).unwrap();
    let error = training.run().unwrap_err();
    assert!(error.to_string().contains("images"), "{error}");
}

#[test]
fn more_devices_than_parts_are_an_error() {
    let workspace = Workspace::new();
    let config = workspace.config(&[
        "batch_size=6",
        "micro_batch_size=3",
        "device=flex,flex,flex",
    ]);
    let error = Training::prepare(config).map(drop).unwrap_err();
    assert!(matches!(error, Error::Compute(_)), "{error}");
    assert!(error.to_string().contains("2 micro-batches"), "{error}");
}

/// As Open MPI tells its processes.
fn in_two_processes(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = convirt(arguments);
    let output = command.env("OMPI_COMM_WORLD_SIZE", "2").output().unwrap();
    (output.status.code(), text_of(&output))
}

#[test]
fn a_command_that_does_not_divide_its_work_refuses_several_processes() {
    for arguments in [&["runs"][..], &["doctor", "--csv", "a.csv"]] {
        let (code, text) = in_two_processes(arguments);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("2 processes by mpirun or srun"), "{text}");
    }
}

#[cfg(not(feature = "mpi"))]
#[test]
fn a_training_in_several_processes_without_mpi_is_an_error() {
    let workspace = Workspace::new();
    let config = workspace.config_file().display().to_string();
    let (code, text) = in_two_processes(&["train", "--config", &config]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("feature `mpi`"), "{text}");
    assert!(!workspace.runs().exists());
}
