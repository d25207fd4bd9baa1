//! Burn's linear layer, computed by `convirt-ops`.

use burn::nn::Linear;
use burn::tensor::Tensor;
use convirt_ops::linear;

/// Applies a linear layer.
///
/// # Shapes
///
/// - input: `[..., d_input]`
/// - output: `[..., d_output]`
pub(crate) fn apply<const D: usize>(layer: &Linear, input: Tensor<D>) -> Tensor<D> {
    let bias = layer.bias.as_ref().map(|bias| bias.val());
    linear(input, layer.weight.val(), bias)
}
