//! Dropout without a mask in memory, forward and backward alike.

use burn::backend::Flex;
use burn::tensor::{Device, Tensor};
use rayon::prelude::*;

use super::element::{Element, with_element_type};
use super::simd::vectorized;
use super::tensor::{contiguous, elements_mut};
use super::{FlexTensor, Operation, apply};
use crate::dropout::{RowMask, TokenDropout, TokenMask, rows_and_width};

pub(crate) fn dropout<const D: usize>(input: Tensor<D>, dropout: TokenDropout) -> Tensor<D> {
    let shape = input.dims();
    let Some(mask) = TokenMask::draw(dropout, &shape, &Device::flex()) else {
        return input;
    };
    let (_, width) = rows_and_width(&shape);
    apply(Dropout { mask, width }, [input.into_dispatch()]).0
}

impl RowMask {
    /// Multiplies a row in place.
    #[inline(always)]
    pub(crate) fn multiply<T: Element>(self, row: &mut [T]) {
        for (column, value) in row.iter_mut().enumerate() {
            *value = T::round(value.widen() * self.factor(column));
        }
    }

    /// Writes the multiplied row.
    #[inline(always)]
    pub(crate) fn multiply_to<T: Element>(self, row: &[T], output: &mut [T]) {
        for (column, (output, value)) in output.iter_mut().zip(row).enumerate() {
            *output = T::round(value.widen() * self.factor(column));
        }
    }
}

/// Dropout itself, of rows of `width` elements.
#[derive(Debug)]
struct Dropout {
    mask: TokenMask,
    width: usize,
}

/// The gradient is multiplied by the same factors as the input.
impl Operation<Flex, 1> for Dropout {
    type Saved = ();

    fn forward(&self, [input]: [FlexTensor; 1]) -> (FlexTensor, ()) {
        let mut values = contiguous(input);
        with_element_type!(values.dtype(), T => {
            let rows = elements_mut::<T>(&mut values).par_chunks_mut(self.width.max(1));
            let rows = rows.enumerate();
            rows.for_each(|(index, values)| multiply(self.mask.row(index), values));
        });
        (values, ())
    }

    fn backward(self, (): (), gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        [Some(self.forward([gradient]).0)]
    }
}

vectorized! {
    fn multiply<T: Element>(mask: RowMask, values: &mut [T]) {
        mask.multiply(values);
    }
}
