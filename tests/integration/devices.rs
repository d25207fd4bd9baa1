//! Trainings and embeddings on other devices are those of the CPU, up to the rounding of sums.
//!
//! The environment variable `CONVIRT_TEST_DEVICES` names the devices, separated by commas; without
//! it, they are all backends of the build.

use convirt::Model;
use convirt::compute::{DEVICE_NAMES, Precision};

use crate::fixtures::{Workspace, computed, trained};

fn devices() -> Vec<String> {
    match std::env::var("CONVIRT_TEST_DEVICES") {
        Ok(names) => names.split(',').map(String::from).collect(),
        Err(_) => {
            let others = DEVICE_NAMES.iter().filter(|name| **name != "flex");
            others.map(ToString::to_string).collect()
        }
    }
}

/// The losses and the norms of the gradients of three steps, with dropout, and the validation loss.
fn trained_on(device: &str, precision: &str) -> (Vec<[f64; 2]>, f64) {
    let workspace = Workspace::new();
    let summary = workspace
        .train(&[
            &format!("device={device}"),
            &format!("precision={precision}"),
            "max_steps=3",
            "eval_every_n_steps=3",
            "log_every_n_steps=1",
            "learning_rate=1e-4",
            "model.dropout=0.2",
        ])
        .unwrap();
    assert_eq!(summary.skipped_steps, 0, "{device} {precision}");
    let (_, lines) = computed(&summary.run);
    let steps = lines.iter().filter_map(|line| {
        let [_, loss, norm, ..] = &line[..] else {
            panic!("five columns");
        };
        Some([loss.as_f64()?, norm.as_f64()?])
    });
    (steps.collect(), summary.validation_loss.unwrap())
}

/// Asserts that numbers differ by at most `tolerance` times the expected one.
fn assert_close(actual: f64, expected: f64, tolerance: f64, context: &str) {
    println!("{context}: {actual}, {expected}");
    let error = (actual - expected).abs();
    assert!(
        error <= tolerance * expected.abs(),
        "{context}: {actual}, {expected}"
    );
}

#[test]
fn three_steps_of_a_training_are_those_of_the_cpu() {
    let (expected, validation) = trained_on("flex", "float32");
    assert_eq!(expected.len(), 3);
    for device in devices() {
        let (actual, actual_validation) = trained_on(&device, "float32");
        assert_eq!(actual.len(), 3);
        for (step, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
            // Adam's steps have the size of the learning rate however small a gradient is, so that
            // rounding in the first changes the others.
            let tolerance = [1e-5, 1e-3, 1e-2][step];
            let context = format!("{device}, step {step}");
            assert_close(
                actual[0],
                expected[0],
                tolerance,
                &format!("{context}, loss"),
            );
            assert_close(
                actual[1],
                expected[1],
                10.0 * tolerance,
                &format!("{context}, norm"),
            );
        }
        assert_close(actual_validation, validation, 1e-2, &device);
    }
}

/// A device that lacks a type computes in float32, and says so: `compute`'s own tests.
#[test]
fn mixed_precision_trains_as_float32_does() {
    let (expected, _) = trained_on("flex", "float32");
    for device in devices() {
        for (precision, tolerance) in [("bf16", 2e-2), ("fp16", 3e-3), ("high", 1e-3)] {
            let (actual, _) = trained_on(&device, precision);
            let context = format!("{device}, {precision}");
            assert_eq!(actual.len(), 3, "{context}");
            assert_close(actual[0][0], expected[0][0], tolerance, &context);
            assert_close(actual[0][1], expected[0][1], 10.0 * tolerance, &context);
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
