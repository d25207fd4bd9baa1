//! Dropout without a mask in memory: a hash of an element's row and column decides whether it is
//! dropped, forward and backward alike.

use burn::tensor::{Device, Tensor};
use rayon::prelude::*;

use super::element::{Element, with_element_type};
use super::simd::vectorized;
use super::tensor::{contiguous, elements_mut};
use super::{FlexTensor, Operation, apply};
use crate::dropout::{first_row, mixed_seed, next_dropout_seed};

/// Elements of a row of the mask of a vector: 16 KiB of float32, so that a new row's keys cost
/// nothing beside its elements.
const ROW: usize = 1 << 12;

pub(crate) fn dropout<const D: usize>(input: Tensor<D>, probability: f64) -> Tensor<D> {
    let Some(mask) = Mask::draw(probability, 1) else {
        return input;
    };
    let width = if D == 1 { ROW } else { input.dims()[D - 1] };
    apply(Dropout { mask, width }, [input.into_dispatch()]).0
}

/// A dropout mask over rows of elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mask {
    seed: u64,
    first_row: usize,
    /// Elements with a smaller hash are dropped.
    threshold: u32,
    /// Factor of the elements that are not dropped.
    scale: f32,
}

impl Mask {
    /// Draws a mask from the current [`with_dropout_seed`](crate::with_dropout_seed) or else from
    /// the backend's random numbers, with several rows for each row or token of the batch; `None`
    /// for probability 0.
    pub(crate) fn draw(probability: f64, rows_per_token: usize) -> Option<Self> {
        if probability == 0.0 {
            return None;
        }
        Some(Self {
            seed: next_dropout_seed(&Device::flex()),
            first_row: first_row() * rows_per_token,
            threshold: (probability * 2f64.powi(32)) as u32,
            scale: (1.0 / (1.0 - probability)) as f32,
        })
    }

    /// The mask of a row.
    #[inline]
    pub(crate) fn row(self, row: usize) -> RowMask {
        let key = mixed_seed(self.seed, (self.first_row + row) as u64);
        RowMask {
            keys: [key as u32, (key >> 32) as u32],
            threshold: self.threshold,
            scale: self.scale,
        }
    }
}

/// The part of a [`Mask`] for one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowMask {
    keys: [u32; 2],
    threshold: u32,
    scale: f32,
}

impl RowMask {
    /// The factor of an element: 0 if it is dropped.
    ///
    /// The hash of the column is built like those of
    /// [hash-prospector](https://github.com/skeeto/hash-prospector). One key of the row goes in at
    /// the start and one in the middle, so that no row is a permutation of another.
    #[inline(always)]
    pub(crate) fn factor(self, column: usize) -> f32 {
        let mut hash = (column as u32).wrapping_mul(0x9E37_79B9) ^ self.keys[0];
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x7FEB_352D);
        hash = hash.wrapping_add(self.keys[1]);
        hash = (hash ^ (hash >> 15)).wrapping_mul(0x846C_A68B);
        hash ^= hash >> 16;
        if hash < self.threshold {
            0.0
        } else {
            self.scale
        }
    }

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
    mask: Mask,
    width: usize,
}

/// The gradient is multiplied by the same factors as the input.
impl Operation<1> for Dropout {
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
