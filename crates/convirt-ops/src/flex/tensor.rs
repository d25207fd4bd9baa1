//! Tensors' elements as slices, new tensors, and scratch memory.

use std::cell::RefCell;

use burn::tensor::{Bytes, Shape, TensorData};

use super::FlexTensor;
use super::buffer_pool::{Buffer, Plain, line_count};
use super::element::Element;
use super::pages::Lines;

/// The tensor with its elements in one row in memory; copied if they are not.
pub(crate) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    match tensor.layout().contiguous_offsets() {
        Some(_) => tensor,
        None => tensor.to_contiguous(),
    }
}

/// The elements of a [`contiguous`] tensor of this type.
pub(crate) fn elements<T: Element>(tensor: &FlexTensor) -> &[T] {
    tensor.as_slice().expect("a contiguous tensor")
}

/// The elements of a [`contiguous`] tensor of this type, to be written; copied first if another
/// tensor holds them.
pub(crate) fn elements_mut<T: Element>(tensor: &mut FlexTensor) -> &mut [T] {
    let offsets = tensor.layout().contiguous_offsets();
    let (start, end) = offsets.expect("a contiguous tensor");
    &mut tensor.storage_mut()[start..end]
}

/// A new tensor of these elements.
pub(crate) fn new_tensor<T: Element>(elements: Buffer<T>, shape: impl Into<Shape>) -> FlexTensor {
    let data = TensorData::from_bytes(elements.into(), shape.into(), T::DTYPE);
    FlexTensor::from_data(data)
}

/// A new vector, for few elements.
pub(crate) fn new_vector(elements: Vec<f32>) -> FlexTensor {
    let shape = [elements.len()];
    let bytes = Bytes::from_elems(elements);
    FlexTensor::from_data(TensorData::from_bytes(bytes, shape, f32::DTYPE))
}

/// Lends the thread's scratch memory: `length` elements of unspecified values, aligned to a cache
/// line.
pub(crate) fn with_scratch<T: Plain, R>(length: usize, work: impl FnOnce(&mut [T]) -> R) -> R {
    thread_local! {
        /// One for each level of nested calls.
        static SCRATCH: RefCell<Vec<Lines>> = const { RefCell::new(Vec::new()) };
    }
    let mut scratch = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    let lines = line_count::<T>(length);
    if scratch.len() < lines {
        scratch = Lines::zeroed(lines.next_power_of_two());
    }
    let first = scratch.as_mut_ptr().cast::<T>();
    // SAFETY: there are enough lines for the elements, aligned for them, and any bits are an
    // element.
    let elements = unsafe { std::slice::from_raw_parts_mut(first, length) };
    let result = work(elements);
    SCRATCH.with_borrow_mut(|idle| idle.push(scratch));
    result
}
