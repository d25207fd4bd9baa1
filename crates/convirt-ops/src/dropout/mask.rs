//! Masks of dropout: a hash of an element's row and column decides whether it is dropped.

use std::sync::Arc;

use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};

use super::{TokenDropout, first_item, mixed_seed, next_dropout_seed};
use crate::device::is_flex;

/// Rows of the mask for each item: no text has more tokens.
const ROWS_PER_ITEM: u64 = 1 << 20;

/// Elements of a row of the mask of a vector: 16 KiB of float32, so that a new row's keys cost
/// nothing beside its elements.
const VECTOR_ROW: usize = 1 << 12;

/// Factors of the hash.
const FACTORS: [u32; 2] = [0x7FEB_352D, 0x846C_A68B];

/// A dropout mask over rows of elements, those of the items of a batch. Where an item's rows lie in
/// memory, and how many the others have, changes nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mask {
    seed: u64,
    first_item: usize,
    /// Elements with a smaller hash are dropped.
    threshold: u32,
    /// Factor of the elements that are not dropped.
    scale: f32,
}

impl Mask {
    /// Draws a mask from the current [`with_dropout_seed`](crate::with_dropout_seed) or else from
    /// the device's random numbers, with several items, one for each head, for each of the batch;
    /// `None` for probability 0.
    pub(crate) fn draw(probability: f64, heads: usize, device: &Device) -> Option<Self> {
        if probability == 0.0 {
            return None;
        }
        Some(Self {
            seed: next_dropout_seed(device),
            first_item: first_item() * heads,
            threshold: (probability * 2f64.powi(32)) as u32,
            scale: (1.0 / (1.0 - probability)) as f32,
        })
    }

    /// The mask of a row of an item.
    #[inline]
    pub(crate) fn row(self, [item, row]: [usize; 2]) -> RowMask {
        let number = (self.first_item + item) as u64 * ROWS_PER_ITEM + row as u64;
        let key = mixed_seed(self.seed, number);
        RowMask {
            keys: [key as u32, (key >> 32) as u32],
            threshold: self.threshold,
            scale: self.scale,
        }
    }

    /// Multiplies the rows of a tensor, those of its last dimension, by their factors, which are
    /// computed on its device. `place` returns the item and the row of each.
    pub(crate) fn multiply<const D: usize>(
        self,
        input: Tensor<D>,
        place: impl Fn(usize) -> [usize; 2],
    ) -> Tensor<D> {
        let shape = input.dims();
        let (rows, width) = rows_and_width(&shape);
        let masks: Vec<RowMask> = (0..rows).map(|row| self.row(place(row))).collect();
        let device = input.device().without_autodiff();
        let is_dropped: Tensor<D, Bool> = match D {
            1 => self
                .is_dropped(&masks, [rows, width], &device)
                .reshape([rows * width])
                .narrow(0, 0, shape[0])
                .reshape(shape),
            _ => self.is_dropped(&masks, shape, &device),
        };
        input.mul_scalar(self.scale).mask_fill(is_dropped, 0.0)
    }

    /// Computes [`RowMask::hash`] of some rows on a device, and which elements it drops. The last
    /// dimension of the shape is the width, and the others have the rows.
    fn is_dropped<const D: usize>(
        self,
        rows: &[RowMask],
        shape: [usize; D],
        device: &Device,
    ) -> Tensor<D, Bool> {
        let width = shape[D - 1];
        if is_flex(device) {
            // Its integer products do not wrap around in every build.
            let hashes = rows
                .iter()
                .flat_map(|row| (0..width).map(|column| row.hash(column)));
            let dropped: Vec<bool> = hashes.map(|hash| hash < self.threshold).collect();
            return Tensor::from_data(TensorData::new(dropped, shape), device);
        }
        // Of shapes that fit each other: Burn fuses operations up to the next change of shape.
        let numbers = |numbers: Vec<u32>, shape: [usize; D]| {
            let numbers = TensorData::new(numbers, shape);
            Tensor::<D, Int>::from_data(numbers, (device, DType::U32))
        };
        let (mut of_columns, mut of_rows) = ([1; D], shape);
        (of_columns[D - 1], of_rows[D - 1]) = (width, 1);
        let columns = numbers((0..width as u32).map(column_key).collect(), of_columns);
        let keys = |key: usize| numbers(rows.iter().map(|row| row.keys[key]).collect(), of_rows);
        let mix = |hash: Tensor<D, Int>, shift: u32| {
            let shifted = hash.clone().bitwise_right_shift_scalar(shift);
            hash.bitwise_xor(shifted)
        };
        let mut hash = columns.bitwise_xor(keys(0));
        hash = mix(hash, 16).mul_scalar(FACTORS[0]) + keys(1);
        hash = mix(mix(hash, 15).mul_scalar(FACTORS[1]), 16);
        hash.lower_elem(self.threshold)
    }
}

/// A [`Mask`] over token states, or other rows in memory.
#[derive(Clone, Debug)]
pub(crate) struct TokenMask {
    mask: Mask,
    /// Item and row of each row in memory.
    places: Arc<[[usize; 2]]>,
}

impl TokenMask {
    /// Draws a mask over a tensor of a shape; `None` for probability 0.
    pub(crate) fn draw(dropout: TokenDropout, shape: &[usize], device: &Device) -> Option<Self> {
        let mask = Mask::draw(dropout.probability, 1, device)?;
        let (rows, _) = rows_and_width(shape);
        let places = match (dropout.lengths, shape) {
            (Some(lengths), _) => {
                let texts = lengths.iter().enumerate();
                let places = texts.flat_map(|(text, &tokens)| (0..tokens).map(move |t| [text, t]));
                places.collect()
            }
            (None, &[_, tokens, _]) => (0..rows).map(|row| [row / tokens, row % tokens]).collect(),
            _ => (0..rows).map(|row| [row, 0]).collect(),
        };
        Some(Self { mask, places })
    }

    /// The mask of a row in memory.
    #[inline]
    pub(crate) fn row(&self, row: usize) -> RowMask {
        self.mask.row(self.places[row])
    }

    /// Multiplies the rows of a tensor, as [`Mask::multiply`] does.
    pub(crate) fn multiply<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        self.mask.multiply(input, |row| self.places[row])
    }
}

/// The rows of a tensor of a shape, and their elements; a vector's last row has fewer.
pub(crate) fn rows_and_width(shape: &[usize]) -> (usize, usize) {
    match shape {
        [elements] => (elements.div_ceil(VECTOR_ROW), VECTOR_ROW),
        [rows @ .., width] => (rows.iter().product(), *width),
        [] => (0, 0),
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
    /// The hash that decides whether an element is dropped.
    ///
    /// That of the column is built like those of
    /// [hash-prospector](https://github.com/skeeto/hash-prospector). One key of the row goes in at
    /// the start and one in the middle, so that no row is a permutation of another.
    #[inline(always)]
    fn hash(self, column: usize) -> u32 {
        let mut hash = column_key(column as u32) ^ self.keys[0];
        hash = (hash ^ (hash >> 16)).wrapping_mul(FACTORS[0]);
        hash = hash.wrapping_add(self.keys[1]);
        hash = (hash ^ (hash >> 15)).wrapping_mul(FACTORS[1]);
        hash ^ (hash >> 16)
    }

    /// The factor of an element: 0 if it is dropped.
    #[inline(always)]
    pub(crate) fn factor(self, column: usize) -> f32 {
        if self.hash(column) < self.threshold {
            0.0
        } else {
            self.scale
        }
    }
}

/// Spreads the numbers of columns over all bits.
#[inline(always)]
fn column_key(column: u32) -> u32 {
    column.wrapping_mul(0x9E37_79B9)
}
