//! How an operation with a hand-written gradient enters Burn's graph.

use std::fmt::Debug;

#[cfg(feature = "cubecl")]
use burn::backend::Cube;
#[cfg(feature = "flex")]
use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, Backend, BackendTensor, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind,
};
use burn::tensor::Tensor;

use crate::profile::{Pass, timed};

/// A backend that a tensor may belong to, by its variant of [`DispatchTensorKind`].
pub(crate) trait Variant: Backend {
    /// Whether operations have ended when their call returns, so that their time can be taken.
    const IS_SYNCHRONOUS: bool;

    /// Wraps a tensor of this backend.
    fn wrap(tensor: BackendTensor<Self>) -> DispatchTensorKind;

    /// Unwraps a tensor; `None` if it belongs to another backend.
    fn unwrap(kind: DispatchTensorKind) -> Option<BackendTensor<Self>>;
}

#[cfg(feature = "flex")]
impl Variant for Flex {
    const IS_SYNCHRONOUS: bool = true;

    fn wrap(tensor: BackendTensor<Self>) -> DispatchTensorKind {
        DispatchTensorKind::Flex(tensor)
    }

    fn unwrap(kind: DispatchTensorKind) -> Option<BackendTensor<Self>> {
        match kind {
            DispatchTensorKind::Flex(tensor) => Some(tensor),
            #[allow(unreachable_patterns, reason = "other backends' features")]
            _ => None,
        }
    }
}

#[cfg(feature = "cubecl")]
impl Variant for Cube {
    const IS_SYNCHRONOUS: bool = false;

    fn wrap(tensor: BackendTensor<Self>) -> DispatchTensorKind {
        DispatchTensorKind::Cube(tensor)
    }

    fn unwrap(kind: DispatchTensorKind) -> Option<BackendTensor<Self>> {
        match kind {
            DispatchTensorKind::Cube(tensor) => Some(tensor),
            #[allow(unreachable_patterns, reason = "other backends' features")]
            _ => None,
        }
    }
}

/// A function of `N` tensors of a backend with a hand-written gradient.
///
/// A gradient has the type of its tensor. The first input is the feature map or token state; other
/// feature maps and token states have its type, and parameters are float32.
pub(crate) trait Operation<B: Variant, const N: usize>:
    Debug + Send + Sized + 'static
{
    /// The values that the forward pass keeps for the backward pass.
    type Saved: Clone + Debug + Send + 'static;

    /// Computes the output. It may reuse the memory of an input that nothing else holds.
    fn forward(&self, inputs: [FloatTensor<B>; N]) -> (FloatTensor<B>, Self::Saved);

    /// Computes the gradients of the inputs that need one from the output's gradient.
    fn backward(
        self,
        saved: Self::Saved,
        gradient: FloatTensor<B>,
        needs_gradient: [bool; N],
    ) -> [Option<FloatTensor<B>>; N];
}

/// Applies an operation to tensors of its backend, and records it in the autodiff graph of its
/// inputs if they have one.
///
/// Tensors outside the graph are constants.
pub(crate) fn apply<B: Variant, const N: usize, const D: usize, O: Operation<B, N>>(
    operation: O,
    inputs: [DispatchTensor; N],
) -> (Tensor<D>, O::Saved) {
    let context = inputs
        .iter()
        .map(|input| input.autodiff)
        .find(|context| *context != DispatchAutodiffContext::Disabled);
    let Some(autodiff) = context else {
        let (output, saved) = forward(&operation, inputs.map(plain::<B>));
        return (Tensor::from_dispatch(constant::<B>(output)), saved);
    };
    let parts = inputs.map(|input| recorded::<B>(input).into_parts());
    let mut guards = Vec::with_capacity(N);
    let primitives = parts.map(|(primitive, guard)| {
        guards.push(guard);
        primitive
    });
    let guards = guards.try_into().expect("a guard for each input");
    let (output, saved) = forward(&operation, primitives);
    // No checkpointing: the saved values are kept, whatever the device's strategy.
    let preparation = Step(operation)
        .prepare::<NoCheckpointing>(guards)
        .compute_bound()
        .stateful();
    let output = match preparation {
        OpsKind::Tracked(preparation) => preparation.finish(saved.clone(), output),
        OpsKind::UnTracked(preparation) => preparation.finish(output),
    };
    let kind = B::wrap(BackendTensor::Autodiff(output));
    let kind = DispatchTensorKind::Autodiff(Box::new(kind));
    let output = Tensor::from_dispatch(DispatchTensor { kind, autodiff });
    (output, saved)
}

fn forward<B: Variant, const N: usize, O: Operation<B, N>>(
    operation: &O,
    inputs: [FloatTensor<B>; N],
) -> (FloatTensor<B>, O::Saved) {
    in_profile::<B, O, _>(Pass::Forward, || operation.forward(inputs))
}

/// Adds an operation's time to the profile under its type's [`short_name`].
fn in_profile<B: Variant, O, R>(pass: Pass, work: impl FnOnce() -> R) -> R {
    if !B::IS_SYNCHRONOUS {
        return work();
    }
    timed(short_name(std::any::type_name::<O>()), pass, work)
}

/// A type's name without path, parameters and what it is a parameter of: `Gelu` of
/// `composition::On<gelu::Gelu<3>>`.
fn short_name(path: &str) -> &str {
    let name = path.rsplit("::").next().unwrap_or(path);
    name.split(['<', '>']).next().unwrap_or(name)
}

/// A tensor outside autodiff graphs.
pub(crate) fn constant<B: Variant>(tensor: FloatTensor<B>) -> DispatchTensor {
    DispatchTensor {
        kind: B::wrap(BackendTensor::Float(tensor)),
        autodiff: DispatchAutodiffContext::Disabled,
    }
}

/// The backend's tensor of a tensor outside autodiff graphs.
///
/// # Panics
///
/// When it belongs to another backend.
pub(crate) fn plain<B: Variant>(tensor: DispatchTensor) -> FloatTensor<B> {
    let tensor = B::unwrap(tensor.kind);
    tensor.expect("operands on one device").float()
}

fn recorded<B: Variant>(tensor: DispatchTensor) -> FloatTensor<Autodiff<B>> {
    if tensor.autodiff == DispatchAutodiffContext::Disabled {
        return FloatTensor::<Autodiff<B>>::new(plain::<B>(tensor));
    }
    if let DispatchTensorKind::Autodiff(kind) = tensor.kind
        && let Some(BackendTensor::Autodiff(tensor)) = B::unwrap(*kind)
    {
        return tensor;
    }
    panic!("operands on one device");
}

/// The backward step of an operation.
#[derive(Debug)]
struct Step<O>(O);

impl<B: Variant, const N: usize, O: Operation<B, N>> Backward<B, N> for Step<O> {
    type State = O::Saved;

    fn backward(self, ops: Ops<O::Saved, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let needs_gradient = ops.parents.each_ref().map(Option::is_some);
        let gradient = grads.consume::<B>(&ops.node);
        let results = in_profile::<B, O, _>(Pass::Backward, || {
            self.0.backward(ops.state, gradient, needs_gradient)
        });
        for (parent, result) in ops.parents.into_iter().zip(results) {
            if let (Some(parent), Some(result)) = (parent, result) {
                grads.register::<B>(parent.id, result);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_have_no_paths_and_parameters() {
        let paths = ["flex::linear::Linear", "composition::On<gelu::Gelu<3>>"];
        assert_eq!(paths.map(short_name), ["Linear", "Gelu"]);
    }
}
