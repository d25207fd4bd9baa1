//! Maps of channels as a convolution's products take them: float32, or rounded in pairs.

use std::sync::Arc;

use super::super::buffer::elements;
use super::super::memory::Buffer;
use super::super::product::{Left, Matrix, Right};
use super::super::{FlexTensor, bfloat16};
use crate::Precision;

/// A map as it is kept for the gradient.
#[derive(Clone, Debug)]
pub(super) enum SavedMap {
    Float32(FlexTensor),
    /// [Pairs](bfloat16::pairs) of neighbouring channels.
    Pairs(Arc<Buffer>),
}

impl SavedMap {
    /// In pairs if so wanted and possible.
    pub(super) fn new(map: FlexTensor, in_pairs: bool) -> Self {
        let pairs = in_pairs.then(|| bfloat16::pairs(elements(&map))).flatten();
        pairs.map_or(Self::Float32(map), |pairs| Self::Pairs(pairs.into()))
    }

    pub(super) fn map(&self) -> Map<'_> {
        match self {
            Self::Float32(map) => Map {
                elements: elements(map),
                channels: 1,
            },
            Self::Pairs(pairs) => Map {
                elements: pairs,
                channels: 2,
            },
        }
    }
}

/// A map as products take it.
#[derive(Clone, Copy)]
pub(super) struct Map<'a> {
    pub(super) elements: &'a [f32],
    /// Channels of an element: one, or a pair of rounded ones.
    pub(super) channels: usize,
}

impl<'a> Map<'a> {
    /// A group's elements of each of so many pixels with so many channels.
    pub(super) fn of_group(
        &self,
        group: usize,
        groups: usize,
        pixels: usize,
        channels: usize,
    ) -> Matrix<'a> {
        let width = channels / groups / self.channels;
        let all = Matrix::new(self.elements, pixels, channels / self.channels);
        all.column_range(group * width..(group + 1) * width)
    }

    /// Rows of elements as a left factor.
    pub(super) fn left<'r>(&self, rows: Matrix<'r>) -> Left<'r> {
        match self.channels {
            1 => Left::Float32(rows),
            _ => Left::Pairs(rows),
        }
    }

    /// Columns of elements as the rows of a left factor.
    pub(super) fn left_transposed<'r>(&self, columns: Matrix<'r>) -> Left<'r> {
        match self.channels {
            1 => Left::Float32(columns.transposed()),
            _ => Left::TransposedPairs(columns),
        }
    }

    /// Rows of elements as a right factor.
    pub(super) fn right<'r>(&self, rows: Matrix<'r>, precision: Precision) -> Right<'r> {
        match self.channels {
            1 => Right::here(rows, precision),
            _ => Right::of_pairs(rows),
        }
    }
}
