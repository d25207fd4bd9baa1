//! Agreement with PyTorch on `ntxent`: loss, both directions, gradients for both sides.

use burn::tensor::Tensor;
use convirt_ops::is_flex;
use convirt_ops::test_devices::{device, on_each_device};

use super::*;
use crate::tests::reference::{Reference, assert_close, json, number};

/// PyTorch's own 32-bit error times this is the tolerance for the same computation in 32 bits.
const FACTOR: f64 = 10.0;

#[test]
fn losses_and_gradients_are_pytorchs() {
    on_each_device(|| {
        let device = device().autodiff();
        let reference = Reference::read("ntxent");
        let cases = json("ntxent");
        let cases = cases["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 11);
        // Other devices compile kernels for each case.
        let stride = if is_flex(&device) { 1 } else { 4 };
        for case in cases.iter().step_by(stride) {
            let id = number(case, "/id");
            let config = ContrastiveLossConfig {
                temperature: number(case, "/temperature"),
                image_to_text_weight: number(case, "/alpha_weight"),
                use_cosine_similarity: case["norm"].as_bool().unwrap(),
                ..Default::default()
            };
            let images = reference
                .float::<2>(&format!("{id}.zi"), &device)
                .require_grad();
            let texts = reference
                .float::<2>(&format!("{id}.zj"), &device)
                .require_grad();
            let score = |weight| {
                ContrastiveLossConfig {
                    image_to_text_weight: weight,
                    ..config
                }
                .init(&device)
                .unwrap()
                .forward(images.clone(), texts.clone(), None)
                .loss
            };
            let loss_error = (number(case, "/loss_f32") - number(case, "/loss_f64")).abs();
            // At least a unit in the last place of the logits, which are up to 1/τ.
            let rounding = f64::from(f32::EPSILON) / number(case, "/temperature");
            let tolerance = (FACTOR * loss_error).max(rounding);
            let loss = score(config.image_to_text_weight);
            for (name, actual, key) in [
                ("loss", loss.clone(), "/loss_f64"),
                ("image to text", score(1.0), "/loss_image_to_text_f64"),
                ("text to image", score(0.0), "/loss_text_to_image_f64"),
            ] {
                let expected = [number(case, key)].into();
                assert_close(
                    &format!("{id} {name}"),
                    actual.into_data(),
                    &expected,
                    tolerance,
                );
            }

            let gradients = loss.backward();
            let floor = f64::from(f32::EPSILON) * number(case, "/grad_absmax");
            let tolerance = (FACTOR * number(case, "/torch_f32_grad_err")).max(floor);
            for (side, name) in [(&images, "grad_zi"), (&texts, "grad_zj")] {
                let name = format!("{id}.{name}");
                let actual = Tensor::grad(side, &gradients).unwrap().into_data();
                assert_close(&name, actual, &reference.data(&name), tolerance);
            }
        }
    });
}
