//! Casts, and tensors that several operations take, with gradients added on all threads.

use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{DType, FloatDType, Tensor};
use rayon::prelude::*;

use super::buffer::{contiguous, elements, elements_mut, tensor};
use super::element::{Element, convert, of_element};
use super::memory::Buffer;
use super::simd::vectorized;
use super::{FlexTensor, Operation, apply};

/// Elements of a thread's turn.
const BLOCK: usize = 1 << 14;

pub(crate) fn cast<const D: usize>(input: Tensor<D>, to: FloatDType) -> Tensor<D> {
    let operation = Cast {
        from: input.dtype(),
        to: to.into(),
    };
    apply(operation, [input.into_dispatch()]).0
}

#[derive(Debug)]
struct Cast {
    from: DType,
    to: DType,
}

impl Operation<1> for Cast {
    type Saved = ();

    fn forward(&self, [input]: [FlexTensor; 1]) -> (FlexTensor, ()) {
        (converted(input, self.to), ())
    }

    fn backward(self, (): (), gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        [Some(converted(gradient, self.from))]
    }
}

/// A tensor of the other type, made on all threads.
pub(super) fn converted(input: FlexTensor, to: DType) -> FlexTensor {
    let input = contiguous(input);
    let shape = input.layout().shape().clone();
    of_element!(input.dtype(), F => of_element!(to, T => {
        let numbers = elements::<F>(&input);
        let mut found = Buffer::<T>::any(numbers.len());
        found
            .par_chunks_mut(BLOCK)
            .zip(numbers.par_chunks(BLOCK))
            .for_each(|(to, numbers)| convert(numbers, to));
        tensor(found, shape)
    }))
}

pub(crate) fn branch<const N: usize, const D: usize>(input: Tensor<D>) -> [Tensor<D>; N] {
    let arrived = Arc::new(Mutex::new(Arrived {
        missing: N,
        sum: None,
    }));
    std::array::from_fn(|_| {
        let branch = Branch(Arc::clone(&arrived));
        apply(branch, [input.clone().into_dispatch()]).0
    })
}

/// One of several operations that hand on the same tensor.
#[derive(Debug)]
struct Branch(Arc<Mutex<Arrived>>);

/// What has come back of the gradients of all.
#[derive(Debug)]
struct Arrived {
    missing: usize,
    sum: Option<FlexTensor>,
}

impl Operation<1> for Branch {
    type Saved = ();

    fn forward(&self, [input]: [FlexTensor; 1]) -> (FlexTensor, ()) {
        (input, ())
    }

    /// The last gradient to come takes the sum to the input.
    fn backward(self, (): (), gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let mut arrived = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gradient = contiguous(gradient);
        let sum = match arrived.sum.take() {
            None => gradient,
            Some(mut sum) => {
                of_element!(sum.dtype(), T => {
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
    fn add<T: Element>(numbers: &[T], to: &mut [T]) {
        let pairs = to.iter_mut().zip(numbers);
        pairs.for_each(|(to, number)| *to = T::round(to.widen() + number.widen()));
    }
}
