//! Casts, and branches of a tensor whose gradients are added on all threads.

use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::Flex;
use burn::tensor::{DType, FloatDType, Tensor};
use rayon::prelude::*;

use super::buffer_pool::Buffer;
use super::element::{Element, convert, with_element_type};
use super::simd::vectorized;
use super::tensor::{contiguous, elements, elements_mut, new_tensor};
use super::{FlexTensor, Operation, apply};

/// Elements of a task: 64 KiB of float32, enough work to be worth handing to a thread.
const BLOCK: usize = 1 << 14;

pub(crate) fn cast<const D: usize>(input: Tensor<D>, target: FloatDType) -> Tensor<D> {
    let operation = Cast {
        source: input.dtype(),
        target: target.into(),
    };
    apply(operation, [input.into_dispatch()]).0
}

#[derive(Debug)]
struct Cast {
    source: DType,
    target: DType,
}

impl Operation<Flex, 1> for Cast {
    type Saved = ();

    fn forward(&self, [input]: [FlexTensor; 1]) -> (FlexTensor, ()) {
        (converted(input, self.target), ())
    }

    fn backward(self, (): (), gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        [Some(converted(gradient, self.source))]
    }
}

/// Converts a tensor to another type on all threads.
pub(super) fn converted(input: FlexTensor, target: DType) -> FlexTensor {
    let input = contiguous(input);
    let shape = input.layout().shape().clone();
    with_element_type!(input.dtype(), F => with_element_type!(target, T => {
        let numbers = elements::<F>(&input);
        let mut output = Buffer::<T>::unspecified(numbers.len());
        output
            .par_chunks_mut(BLOCK)
            .zip(numbers.par_chunks(BLOCK))
            .for_each(|(output, numbers)| convert(numbers, output));
        new_tensor(output, shape)
    }))
}

pub(crate) fn branch<const N: usize, const D: usize>(input: Tensor<D>) -> [Tensor<D>; N] {
    let arrived = Arc::new(Mutex::new(GradientSum {
        missing: N,
        sum: None,
    }));
    std::array::from_fn(|_| {
        let branch = Branch(Arc::clone(&arrived));
        apply(branch, [input.clone().into_dispatch()]).0
    })
}

/// One of several operations that return the same tensor.
#[derive(Debug)]
struct Branch(Arc<Mutex<GradientSum>>);

/// The sum of the gradients that have arrived.
#[derive(Debug)]
struct GradientSum {
    missing: usize,
    sum: Option<FlexTensor>,
}

impl Operation<Flex, 1> for Branch {
    type Saved = ();

    fn forward(&self, [input]: [FlexTensor; 1]) -> (FlexTensor, ()) {
        (input, ())
    }

    /// Returns the sum when the last gradient arrives.
    fn backward(self, (): (), gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let mut arrived = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gradient = contiguous(gradient);
        let sum = match arrived.sum.take() {
            None => gradient,
            Some(mut sum) => {
                with_element_type!(sum.dtype(), T => {
                    elements_mut::<T>(&mut sum)
                        .par_chunks_mut(BLOCK)
                        .zip(elements::<T>(&gradient).par_chunks(BLOCK))
                        .for_each(|(sum, gradient)| add(gradient, sum));
                });
                sum
            }
        };
        arrived.missing -= 1;
        match arrived.missing {
            0 => [Some(sum)],
            _ => {
                arrived.sum = Some(sum);
                [None]
            }
        }
    }
}

vectorized! {
    fn add<T: Element>(numbers: &[T], sums: &mut [T]) {
        let pairs = sums.iter_mut().zip(numbers);
        pairs.for_each(|(sum, number)| *sum = T::round(sum.widen() + number.widen()));
    }
}
