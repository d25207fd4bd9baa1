//! The autodiff graph that a tensor joins.

use burn::tensor::Tensor;

/// Gives a tensor the autodiff association of another one, including its checkpointing strategy. A
/// tensor that has an association keeps it.
///
/// Burn's own `Tensor::autodiff` takes the default strategy, and operations on tensors of two
/// strategies panic.
pub fn associate<const D: usize, const E: usize>(tensor: Tensor<D>, with: &Tensor<E>) -> Tensor<D> {
    match with.gradient_checkpointing_strategy() {
        Some(strategy) if !tensor.is_autodiff() => tensor
            .autodiff()
            .with_gradient_checkpointing_strategy(strategy),
        _ => tensor,
    }
}
