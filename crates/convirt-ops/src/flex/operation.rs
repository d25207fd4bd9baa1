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

use crate::device::is_flex;
use crate::profile::{Pass, timed};

/// A tensor in main memory.
pub(crate) type FlexTensor = FloatTensor<Flex>;

/// A function of `N` tensors with a hand-written gradient.
///
/// Gradients have the types of what they are of. The first input is the feature map or token state;
/// others of that kind have its type, parameters are of float32.
pub(crate) trait Operation<const N: usize>: Debug + Send + Sized + 'static {
    /// What the gradient needs to know of the forward pass.
    type Saved: Clone + Debug + Send + 'static;

    /// Computes the output. An input that nobody else holds may give its memory to the output.
    fn forward(&self, inputs: [FlexTensor; N]) -> (FlexTensor, Self::Saved);

    /// Computes the inputs' gradients from the output's, those that are wanted.
    fn backward(
        self,
        saved: Self::Saved,
        gradient: FlexTensor,
        wanted: [bool; N],
    ) -> [Option<FlexTensor>; N];
}

/// Whether a feature map or token state is one that operations of this backend take: float32 or
/// bfloat16 in main memory.
pub(crate) fn runs_here<const D: usize>(tensor: &Tensor<D>) -> bool {
    matches!(tensor.dtype(), DType::F32 | DType::BF16) && is_flex(&tensor.device())
}

/// Whether a parameter is one that operations of this backend take: float32 in main memory.
pub(crate) fn float32_here<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.dtype() == DType::F32 && is_flex(&tensor.device())
}

/// Applies an operation to tensors that [run here](runs_here), recording it where gradients are on.
///
/// Plain tensors among tensors of a graph are constants.
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
    // Neither the operation nor its inputs are computed again, whatever the strategy.
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

/// The operation's type, without its path.
fn name<const N: usize, O: Operation<N>>() -> &'static str {
    let path = std::any::type_name::<O>();
    path.rsplit("::").next().unwrap_or(path)
}

/// The memory of a tensor outside graphs that [runs here](runs_here).
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
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let gradient = grads.consume::<Flex>(&ops.node);
        let results = timed(name::<N, O>(), Pass::Backward, || {
            self.0.backward(ops.state, gradient, wanted)
        });
        for (parent, result) in ops.parents.into_iter().zip(results) {
            if let (Some(parent), Some(result)) = (parent, result) {
                grads.register::<Flex>(parent.id, result);
            }
        }
    }
}
