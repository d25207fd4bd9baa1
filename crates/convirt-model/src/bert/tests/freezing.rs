//! Frozen parts of the text encoder.

use burn::optim::GradientsParams;
use burn::tensor::TensorData;

use super::*;

/// An encoder with so much dropout that two runs never agree by chance.
fn encoder(device: &Device) -> Bert {
    let config = BertConfig {
        hidden_dropout_prob: 0.5,
        attention_probs_dropout_prob: 0.5,
        ..small(BertFamily::Bert)
    };
    config.init(device).unwrap()
}

fn input(device: &Device) -> TextInput {
    texts(&[&[2, 7, 9, 3], &[2, 5, 3]], 4, device)
}

fn has_gradient(module: &impl Module, gradients: &GradientsParams) -> bool {
    struct Any<'a>(&'a GradientsParams, bool);
    impl ModuleVisitor for Any<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1 |= self.0.get::<D>(param.id).is_some();
        }
    }
    let mut any = Any(gradients, false);
    module.visit(&mut any);
    any.1
}

fn gradients(encoder: &Bert, device: &Device) -> GradientsParams {
    let state = encoder.forward_to(input(device), encoder.layers.len());
    GradientsParams::from_grads(state.square().sum().backward(), encoder)
}

#[test]
fn frozen_lowest_layers_record_no_graph_and_drop_nothing() {
    let device = Device::flex().autodiff();
    let encoder = encoder(&device)
        .freeze_embeddings()
        .freeze_layers(&[0, 1])
        .unwrap();
    let runs: [Vec<Tensor<3>>; 2] = [0, 1].map(|_| encoder.forward(input(&device)));
    for (layer, is_tracked) in [false, false, false, true].into_iter().enumerate() {
        let state = &runs[0][layer];
        assert!(state.is_autodiff(), "hidden state {layer}");
        assert_eq!(state.is_tracked(), is_tracked, "hidden state {layer}");
        let [first, second]: [TensorData; 2] =
            [0, 1].map(|run: usize| runs[run][layer].clone().into_data());
        assert_eq!(first == second, !is_tracked, "hidden state {layer}");
    }
    let gradients = gradients(&encoder, &device);
    assert!(!has_gradient(&encoder.embeddings, &gradients));
    assert!(!has_gradient(&encoder.layers[0], &gradients));
    assert!(!has_gradient(&encoder.layers[1], &gradients));
    assert!(has_gradient(&encoder.layers[2], &gradients));
}

#[test]
fn frozen_layer_above_a_trained_one_passes_gradients_through() {
    let device = Device::flex().autodiff();
    let encoder = encoder(&device).freeze_layers(&[1, 2]).unwrap();
    let gradients = gradients(&encoder, &device);
    assert!(has_gradient(&encoder.embeddings, &gradients));
    assert!(has_gradient(&encoder.layers[0], &gradients));
    assert!(!has_gradient(&encoder.layers[1], &gradients));
    assert!(!has_gradient(&encoder.layers[2], &gradients));
}

#[test]
fn frozen_encoder_in_training_returns_the_evaluation_result() {
    let device = Device::flex().autodiff();
    device.seed(4);
    let encoder = encoder(&device);
    let evaluation = encoder.valid().forward_to(input(&Device::flex()), 3);
    let frozen = encoder.freeze().forward_to(input(&device), 3);
    assert!(frozen.is_autodiff() && !frozen.is_tracked());
    assert_eq!(frozen.into_data(), evaluation.into_data());
}

#[test]
fn frozen_lowest_layers_work_with_gradient_checkpointing() {
    let device = Device::flex().autodiff().gradient_checkpointing();
    let encoder = encoder(&device)
        .freeze_embeddings()
        .freeze_layers(&[0])
        .unwrap();
    let gradients = gradients(&encoder, &device);
    assert!(!has_gradient(&encoder.layers[0], &gradients));
    assert!(has_gradient(&encoder.layers[1], &gradients));
}

#[test]
fn layers_without_gradients_that_are_not_frozen_keep_their_dropout() {
    let device = Device::flex().autodiff();
    let encoder = encoder(&device).no_grad();
    let [first, second] = [0, 1].map(|_| encoder.forward_to(input(&device), 3).into_data());
    assert_ne!(first, second);
}

#[test]
fn layer_beyond_the_encoder_is_an_error() {
    let error = encoder(&Device::flex()).freeze_layers(&[0, 3]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`freeze_layers` names layer 3, but the encoder has 3 layers"
    );
}
