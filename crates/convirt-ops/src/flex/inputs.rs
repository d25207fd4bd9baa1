//! What operations of this backend take.

use burn::backend::tensor::FloatTensor;
use burn::backend::{DispatchTensor, Flex};
use burn::tensor::{DType, Tensor};

use super::tensor::new_vector;
use crate::device::is_flex;
use crate::operation::constant;

/// A tensor in main memory.
pub(crate) type FlexTensor = FloatTensor<Flex>;

/// Whether operations of this backend take a feature map or token state: float32 or bfloat16 in
/// main memory.
pub(crate) fn runs_here<const D: usize>(tensor: &Tensor<D>) -> bool {
    matches!(tensor.dtype(), DType::F32 | DType::BF16) && is_flex(&tensor.device())
}

/// Whether operations of this backend take a parameter: float32 in main memory.
pub(crate) fn float32_here<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.dtype() == DType::F32 && is_flex(&tensor.device())
}

/// An input of an operation that may be absent, to be read by [`present`]: a constant without
/// elements stands for an absent one.
pub(crate) fn optional<const D: usize>(tensor: Option<Tensor<D>>) -> DispatchTensor {
    match tensor {
        Some(tensor) => tensor.into_dispatch(),
        None => constant::<Flex>(new_vector(Vec::new())),
    }
}

/// An [`optional`] input, if it has elements.
pub(crate) fn present(tensor: FlexTensor) -> Option<FlexTensor> {
    (tensor.layout().shape().num_elements() > 0).then_some(tensor)
}
