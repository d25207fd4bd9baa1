//! Burn's dropout layer, computed by `convirt-ops`.

use burn::nn::Dropout;
use burn::tensor::Tensor;
use convirt_ops::dropout;

/// Applies a dropout layer.
///
/// # Shapes
///
/// - input, output: any
pub(crate) fn apply_dropout<const D: usize>(layer: &Dropout, input: Tensor<D>) -> Tensor<D> {
    let probability = dropout_probability(layer, &input);
    dropout(input, probability)
}

/// The dropout probability for a tensor: 0 outside training.
pub(crate) fn dropout_probability<const D: usize>(layer: &Dropout, input: &Tensor<D>) -> f64 {
    let trains = layer.training.is_enabled() && input.device().is_autodiff();
    if trains { layer.prob } else { 0.0 }
}
