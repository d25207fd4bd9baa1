//! Memory of tensors, read and written as slices.

use std::cell::RefCell;

use burn::tensor::{Bytes, DType, Shape, TensorData};

use super::FlexTensor;

/// The tensor with its elements one after the other, copied where they are not.
pub(crate) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.as_slice::<f32>().is_some() {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// The elements of a [`contiguous`] tensor.
pub(crate) fn elements(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("a contiguous tensor")
}

/// The elements of a [`contiguous`] tensor to write, copied first where others hold them.
pub(crate) fn elements_mut(tensor: &mut FlexTensor) -> &mut [f32] {
    let offsets = tensor.layout().contiguous_offsets();
    let (start, end) = offsets.expect("a contiguous tensor");
    &mut tensor.storage_mut()[start..end]
}

/// A new tensor of these elements.
pub(crate) fn tensor(elements: impl Into<Bytes>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::from_bytes(
        elements.into(),
        shape.into(),
        DType::F32,
    ))
}

/// A new tensor of few elements.
pub(crate) fn vector(elements: Vec<f32>) -> FlexTensor {
    let shape = [elements.len()];
    tensor(Bytes::from_elems(elements), shape)
}

/// Lends the thread's scratch memory: `length` elements of any value.
pub(crate) fn with_scratch<R>(length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        /// One for each call inside another.
        static SCRATCH: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
    }
    let mut scratch = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    if scratch.len() < length {
        scratch.resize(length, 0.0);
    }
    let result = work(&mut scratch[..length]);
    SCRATCH.with_borrow_mut(|idle| idle.push(scratch));
    result
}
