//! How an operation enters Burn's graph.

use std::fmt::Debug;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, BackendTensor, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind, Flex,
};
use burn::tensor::{DType, Tensor};

use super::tensor::new_vector;
use crate::device::is_flex;
use crate::profile::{Pass, timed};

/// A tensor in main memory.
pub(crate) type FlexTensor = FloatTensor<Flex>;

/// A function of `N` tensors with a hand-written gradient.
///
/// A gradient has the type of its tensor. The first input is the feature map or token state; other
/// feature maps and token states have its type, and parameters are float32. An input may be
/// [`optional`].
pub(crate) trait Operation<const N: usize>: Debug + Send + Sized + 'static {
    /// The values that the forward pass keeps for the backward pass.
    type Saved: Clone + Debug + Send + 'static;

    /// Computes the output. It may reuse the memory of an input that nothing else holds.
    fn forward(&self, inputs: [FlexTensor; N]) -> (FlexTensor, Self::Saved);

    /// Computes the gradients of the inputs that need one from the output's gradient.
    fn backward(
        self,
        saved: Self::Saved,
        gradient: FlexTensor,
        needs_gradient: [bool; N],
    ) -> [Option<FlexTensor>; N];
}

/// Whether operations of this backend take a feature map or token state: float32 or bfloat16 in
/// main memory.
pub(crate) fn runs_here<const D: usize>(tensor: &Tensor<D>) -> bool {
    matches!(tensor.dtype(), DType::F32 | DType::BF16) && is_flex(&tensor.device())
}

/// Whether operations of this backend take a parameter: float32 in main memory.
pub(crate) fn float32_here<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.dtype() == DType::F32 && is_flex(&tensor.device())
}

/// Applies an operation to tensors that [run here](runs_here), and records it in the autodiff graph
/// of its inputs if they have one.
///
/// Tensors outside the graph are constants.
pub(crate) fn apply<const N: usize, const D: usize, O: Operation<N>>(
    operation: O,
    inputs: [DispatchTensor; N],
) -> (Tensor<D>, O::Saved) {
    let context = inputs
        .iter()
        .map(|input| input.autodiff)
        .find(|context| *context != DispatchAutodiffContext::Disabled);
    let wrap = |kind, autodiff| Tensor::from_dispatch(DispatchTensor { kind, autodiff });
    let Some(context) = context else {
        let (output, saved) = forward(&operation, inputs.map(plain));
        let kind = DispatchTensorKind::Flex(BackendTensor::Float(output));
        return (wrap(kind, DispatchAutodiffContext::Disabled), saved);
    };
    let parts = inputs.map(|input| recorded(input).into_parts());
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
    let kind = DispatchTensorKind::Flex(BackendTensor::Autodiff(output));
    let kind = DispatchTensorKind::Autodiff(Box::new(kind));
    (wrap(kind, context), saved)
}

fn forward<const N: usize, O: Operation<N>>(
    operation: &O,
    inputs: [FlexTensor; N],
) -> (FlexTensor, O::Saved) {
    timed(name::<N, O>(), Pass::Forward, || operation.forward(inputs))
}

/// An input of an operation that may be absent, to be read by [`present`]: a constant without
/// elements stands for an absent one.
pub(crate) fn optional<const D: usize>(tensor: Option<Tensor<D>>) -> DispatchTensor {
    match tensor {
        Some(tensor) => tensor.into_dispatch(),
        None => DispatchTensor {
            kind: DispatchTensorKind::Flex(BackendTensor::Float(new_vector(Vec::new()))),
            autodiff: DispatchAutodiffContext::Disabled,
        },
    }
}

/// An [`optional`] input, if it has elements.
pub(crate) fn present(tensor: FlexTensor) -> Option<FlexTensor> {
    (tensor.layout().shape().num_elements() > 0).then_some(tensor)
}

/// The operation's type, without its path.
fn name<const N: usize, O: Operation<N>>() -> &'static str {
    let path = std::any::type_name::<O>();
    path.rsplit("::").next().unwrap_or(path)
}

/// The backend's tensor of a tensor outside autodiff graphs that [runs here](runs_here).
pub(crate) fn plain(tensor: DispatchTensor) -> FlexTensor {
    match tensor.kind {
        DispatchTensorKind::Flex(tensor) => tensor.float(),
        other => panic!("operands on one device; found {other:?} beside a tensor in memory"),
    }
}

fn recorded(tensor: DispatchTensor) -> FloatTensor<Autodiff<Flex>> {
    if tensor.autodiff == DispatchAutodiffContext::Disabled {
        return FloatTensor::<Autodiff<Flex>>::new(plain(tensor));
    }
    if let DispatchTensorKind::Autodiff(kind) = tensor.kind
        && let DispatchTensorKind::Flex(BackendTensor::Autodiff(tensor)) = *kind
    {
        return tensor;
    }
    panic!("operands on one device; found a tensor of another backend beside one in memory");
}

/// The backward step of an operation.
#[derive(Debug)]
struct Step<O>(O);

impl<const N: usize, O: Operation<N>> Backward<Flex, N> for Step<O> {
    type State = O::Saved;

    fn backward(self, ops: Ops<O::Saved, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let needs_gradient = ops.parents.each_ref().map(Option::is_some);
        let gradient = grads.consume::<Flex>(&ops.node);
        let results = timed(name::<N, O>(), Pass::Backward, || {
            self.0.backward(ops.state, gradient, needs_gradient)
        });
        for (parent, result) in ops.parents.into_iter().zip(results) {
            if let (Some(parent), Some(result)) = (parent, result) {
                grads.register::<Flex>(parent.id, result);
            }
        }
    }
}
