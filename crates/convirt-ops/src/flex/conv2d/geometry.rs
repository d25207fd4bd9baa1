//! Sizes of a convolution and of its matrix of patches.

use super::Conv2d;
use crate::flex::FlexTensor;
use crate::flex::matmul::{Matrix, min_part};
use crate::{Precision, Window};

/// Elements of patches that a thread gathers at a time: 2 MiB of float32, a core's second cache.
const PATCHES: usize = 1 << 19;

/// Rows of patches gathered at a time at least. The float32 kernel packs the weights anew for each
/// part; with 256 rows or more the packing is a small part of the work.
pub(super) const MIN_ROWS: usize = 256;

/// Sizes of one convolution, and how it multiplies.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    pub(super) batch: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) height_out: usize,
    pub(super) width_out: usize,
    pub(super) channels_out: usize,
    pub(super) kernel: [usize; 2],
    pub(super) window: Window,
    pub(super) groups: usize,
    pub(super) precision: Precision,
}

impl Geometry {
    pub(super) fn new(conv: &Conv2d, input: &FlexTensor, weight: &FlexTensor) -> Self {
        let dims = |tensor: &FlexTensor| -> [usize; 4] {
            std::array::from_fn(|axis| tensor.layout().shape()[axis])
        };
        let [batch, height, width, channels] = dims(input);
        let [channels_out, _, rows, columns] = dims(weight);
        Self {
            batch,
            height,
            width,
            channels,
            height_out: conv.window.positions(0, height, rows),
            width_out: conv.window.positions(1, width, columns),
            channels_out,
            kernel: [rows, columns],
            window: conv.window,
            groups: conv.groups,
            precision: conv.precision,
        }
    }

    /// Input channels of each group.
    pub(super) fn group_width(&self) -> usize {
        self.channels / self.groups
    }

    /// Output channels of each group.
    pub(super) fn group_width_out(&self) -> usize {
        self.channels_out / self.groups
    }

    /// Each group's rows of a weight, one row for each output channel.
    pub(super) fn group_rows<'w>(&self, weight: Matrix<'w>) -> impl Iterator<Item = Matrix<'w>> {
        let width = self.group_width_out();
        (0..self.groups).map(move |group| weight.row_range(group * width..(group + 1) * width))
    }

    /// Elements of the kernel.
    pub(super) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Width of the matrix of patches: elements of the kernel times channels of the group.
    pub(super) fn depth(&self) -> usize {
        self.taps() * self.group_width()
    }

    /// Height of the matrix of patches: output pixels of the batch.
    pub(super) fn positions(&self) -> usize {
        self.batch * self.height_out * self.width_out
    }

    /// Whether patches are the pixels themselves.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.window.stride == [1, 1] && self.window.padding == [0, 0]
    }

    /// Parts into which the rows of patches are divided, so that a part fits the cache and all
    /// threads have equal work. The output is the same for any number of threads.
    pub(super) fn parts(&self) -> usize {
        let (positions, threads) = (self.positions(), rayon::current_num_threads());
        let rows_per_thread = positions.div_ceil(threads);
        let rounds = rows_per_thread.div_ceil(rows_of_patches(self.depth()));
        let max_parts = positions / min_part(self.group_width_out());
        (threads * rounds).min(max_parts).max(1)
    }

    /// The convolution that computes the input's gradient; `None` unless the stride is 1.
    pub(super) fn transposed(&self) -> Option<Self> {
        let [rows, columns] = self.kernel;
        let extent = [rows - 1, columns - 1];
        let padding = |axis: usize| {
            (self.window.dilation[axis] * extent[axis]).checked_sub(self.window.padding[axis])
        };
        if self.window.stride != [1, 1] {
            return None;
        }
        Some(Self {
            height: self.height_out,
            width: self.width_out,
            channels: self.channels_out,
            height_out: self.height,
            width_out: self.width,
            channels_out: self.channels,
            window: Window {
                padding: [padding(0)?, padding(1)?],
                ..self.window
            },
            ..self.clone()
        })
    }
}

/// Rows of patches of `columns` elements that fit the cache.
pub(super) fn rows_of_patches(columns: usize) -> usize {
    (PATCHES / columns.max(1)).max(MIN_ROWS)
}
