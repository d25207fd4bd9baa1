//! Trainings and embeddings on other devices are those of the CPU, up to the rounding of sums.
//!
//! The environment variable `CONVIRT_TEST_DEVICES` names the devices, separated by commas; without
//! it, they are all backends of the build.

use std::collections::BTreeMap;

use convirt::compute::{DEVICE_NAMES, Precision};
use convirt::{Model, Summary};

use crate::fixtures::{Workspace, computed, convirt, text_of, trained};

fn devices() -> Vec<String> {
    match std::env::var("CONVIRT_TEST_DEVICES") {
        Ok(names) => names.split(',').map(String::from).collect(),
        Err(_) => {
            let others = DEVICE_NAMES.iter().filter(|name| **name != "flex");
            others.map(ToString::to_string).collect()
        }
    }
}

/// The losses of the steps of a training with dropout, and the norms of their gradients.
fn trained_on(device: &str, settings: &[&str]) -> (Summary, BTreeMap<u64, [f64; 2]>) {
    let workspace = Workspace::new();
    let device = format!("device={device}");
    let common = [&*device, "log_every_n_steps=1", "model.dropout=0.2"];
    let summary = workspace.train(&[&common, settings].concat()).unwrap();
    let (_, lines) = computed(&summary.run);
    let steps = lines.iter().filter_map(|line| {
        let [step, loss, norm, ..] = &line[..] else {
            panic!("five columns");
        };
        Some((step.as_u64()?, [loss.as_f64()?, norm.as_f64()?]))
    });
    let steps = steps.collect();
    (summary, steps)
}

/// Asserts that numbers differ by at most `tolerance` times the expected one.
fn assert_close(actual: f64, expected: f64, tolerance: f64, context: &str) {
    println!("{context}: {actual}, {expected}");
    let error = (actual - expected).abs();
    let is_close = error <= tolerance * expected.abs();
    assert!(is_close, "{context}: {actual}, {expected}");
}

#[test]
fn three_steps_of_a_training_are_those_of_the_cpu() {
    let settings = ["max_steps=3", "eval_every_n_steps=3", "learning_rate=1e-4"];
    let (summary, expected) = trained_on("flex", &settings);
    for device in devices() {
        let (actual_summary, actual) = trained_on(&device, &settings);
        assert_eq!(actual.len(), 3);
        // Adam's steps have the size of the learning rate however small a gradient is, so that
        // rounding in the first step changes the others.
        for (step, tolerance) in [(1, 1e-5), (2, 1e-3), (3, 1e-2)] {
            let context = format!("{device}, step {step}");
            assert_close(actual[&step][0], expected[&step][0], tolerance, &context);
        }
        assert_close(actual[&1][1], expected[&1][1], 1e-4, &device);
        let losses = [actual_summary, summary.clone()].map(|it| it.validation_loss.unwrap());
        assert_close(losses[0], losses[1], 1e-2, &device);
    }
}

/// In a process of its own: what Burn keeps of its devices does not survive a failure to open one.
#[test]
fn a_device_that_the_machine_does_not_have_is_an_error_without_a_panic() {
    let workspace = Workspace::new();
    for device in devices() {
        let name = format!("{device}:99");
        let mut command = convirt(["train", "--device", &name, "--config"]);
        let output = command.arg(workspace.config_file()).output().unwrap();
        let text = text_of(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let error = format!("Error: the device `{name}` cannot be opened: ");
        assert!(text.contains(&error) && text.contains("\"flex\""), "{text}");
        assert!(!text.contains("panicked"), "{text}");
        assert!(!workspace.runs().exists(), "{text}");
    }
}

/// The weights stay as they are, so that each step's loss is comparable.
#[test]
fn mixed_precision_has_the_losses_of_float32_and_float16_overflows_until_the_scale_fits() {
    const STEPS: u64 = 16;
    let settings = |precision: &str, steps: u64| {
        [
            format!("precision={precision}"),
            format!("max_steps={steps}"),
            format!("eval_every_n_steps={steps}"),
            "learning_rate=1e-30".to_string(),
        ]
    };
    let run = |device: &str, precision: &str, steps: u64| {
        let settings = settings(precision, steps);
        trained_on(device, &settings.each_ref().map(|it| &**it))
    };
    let (_, expected) = run("flex", "float32", STEPS);
    for device in devices() {
        for (name, precision, steps, tolerance) in [
            ("bf16", Precision::BFloat16, 1, 2e-2),
            ("fp16", Precision::Float16, STEPS, 3e-3),
        ] {
            let (summary, actual) = run(&device, name, steps);
            let here = convirt::device(Some(&device)).unwrap();
            assert_eq!(summary.precision, precision.on(&here), "{device}");
            assert_eq!(actual.len() + summary.skipped_steps, steps as usize);
            let overflows = summary.precision == Precision::Float16;
            assert_eq!(summary.skipped_steps > 0, overflows, "{device}, {name}");
            let (step, [loss, norm]) = actual.last_key_value().expect("a step in the end");
            let context = format!("{device}, {name}, step {step}");
            assert_close(*loss, expected[step][0], tolerance, &context);
            // The gradient is steep: batches of four, of which the last maps have one pixel.
            assert_close(*norm, expected[step][1], 30.0 * tolerance, &context);
        }
    }
}

#[test]
fn embeddings_are_those_of_the_cpu() {
    let trained = trained();
    let image = trained.an_image();
    let embed = |device: &str, precision| {
        let device = convirt::device(Some(device)).unwrap();
        let model = Model::load_on(trained.run.path(), &device).unwrap();
        let model = model.with_precision(precision);
        let image = model.embed_image(&image).unwrap();
        [image, model.embed_text("No pleural effusion.").unwrap()]
    };
    let expected = embed("flex", Precision::Float32);
    for device in devices() {
        for (precision, tolerance) in [
            (Precision::Float32, 1e-5),
            (Precision::High, 1e-3),
            (Precision::BFloat16, 3e-2),
            (Precision::Float16, 3e-3),
        ] {
            for (actual, expected) in embed(&device, precision).iter().zip(&expected) {
                let errors = actual.iter().zip(expected).map(|(a, b)| (a - b).abs());
                let error = errors.fold(0.0, f32::max);
                assert!(error < tolerance, "{device}, {precision:?}: {error}");
            }
        }
    }
}
