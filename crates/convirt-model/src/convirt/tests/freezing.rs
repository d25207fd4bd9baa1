//! Frozen parts of the whole model.

use std::collections::BTreeMap;

use burn::optim::decay::WeightDecayConfig;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::TensorData;

use super::*;
use crate::bert::tests::texts;
use crate::tests::reference;

/// A model with dropout whose embeddings and layers 0 and 2 are frozen.
fn frozen(device: &Device) -> ConVirt {
    let mut config = ConVirtConfig {
        freeze_embeddings: true,
        freeze_layers: vec![0, 2],
        ..config()
    };
    config.text.hidden_dropout_prob = 0.1;
    config.text.attention_probs_dropout_prob = 0.1;
    config.init(device).unwrap()
}

fn is_frozen(path: &str) -> bool {
    ["embeddings.", "layers.0.", "layers.2."]
        .iter()
        .any(|part| path.starts_with(&format!("text_encoder.{part}")))
}

/// The gradients of one step, and the model after it.
fn step(model: ConVirt) -> (BTreeMap<String, TensorData>, ConVirt) {
    let device = Device::flex().autodiff();
    device.seed(11);
    let images = Tensor::random([2, 3, 32, 32], burn::tensor::Distribution::Default, &device);
    let texts = texts(&[&[2, 7, 9, 3], &[2, 5, 3]], 4, &device);
    let loss = model.forward(images, texts, None).loss;
    let gradients = GradientsParams::from_grads(loss.backward(), &model);
    let by_path = reference::gradients(&model, &gradients);
    let mut adam = AdamConfig::new()
        .with_weight_decay(Some(WeightDecayConfig::new(0.1)))
        .init();
    (by_path, adam.step(1e-2, model, gradients))
}

fn assert_only_trained_parts_change(model: ConVirt) {
    let before = reference::parameters(&model);
    let (gradients, model) = step(model);
    let after = reference::parameters(&model);
    for (path, value) in &before {
        assert_eq!(*value == after[path], is_frozen(path), "{path}");
        let is_statistic = path.contains("running_");
        let has_gradient = gradients.contains_key(path);
        assert_eq!(has_gradient, !is_frozen(path) && !is_statistic, "{path}");
    }
}

#[test]
fn frozen_parts_keep_their_bits_under_weight_decay() {
    assert_only_trained_parts_change(frozen(&Device::flex().autodiff()));
}

#[test]
fn freezing_survives_evaluation_forks_and_loaded_weights() {
    let device = Device::flex().autodiff();
    let model = frozen(&device).valid().train().fork(&device);
    let weights = config().init(&device).unwrap().into_record();
    assert_only_trained_parts_change(model.load_record(weights));
}

/// A frozen image encoder also keeps its running statistics.
#[test]
fn frozen_image_encoder_keeps_its_statistics() {
    let device = Device::flex().autodiff();
    let mut model = config().init(&device).unwrap();
    model.image_encoder = model.image_encoder.freeze();
    let before = reference::parameters(&model.image_encoder);
    let (gradients, model) = step(model);
    assert_eq!(before, reference::parameters(&model.image_encoder));
    assert!(
        gradients
            .keys()
            .all(|path| !path.starts_with("image_encoder"))
    );
    assert!(gradients.contains_key("image_projection.linear1.weight"));
}

/// A record of the model in training mode, taken without `valid`, is up to date.
#[test]
fn record_of_the_training_model_is_exact() {
    let device = Device::flex().autodiff();
    let (_, model) = step(config().init(&device).unwrap());
    let recorded = config()
        .init(&device)
        .unwrap()
        .load_record(model.clone().into_record());
    let (recorded, trained) = (recorded.valid(), model.valid());
    assert_eq!(
        reference::parameters(&recorded),
        reference::parameters(&trained)
    );
}
