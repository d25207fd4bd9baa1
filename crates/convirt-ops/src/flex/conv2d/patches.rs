//! Patches of feature maps: copied to the rows of a matrix, and added back to the feature map.
//!
//! A row of a dense kernel is one run of memory, channels innermost. Parts of it in the padding are
//! zeros:
//!
//! ```text
//!   feature map, one row:   │ x0 │ x1 │ x2 │ …       each x is `channels` numbers
//!   kernel row at x0:  │ 0  │ x0 │ x1 │              padding, then one copy of two pixels
//! ```

use std::ops::Range;

use super::geometry::Geometry;
use crate::flex::element::Element;
use crate::flex::simd::vectorized;

/// Copies some columns of some rows of the matrix of patches. A row holds the kernel's elements row
/// by row, channels innermost, and zeros in the padding.
pub(super) fn gather<T: Element>(
    shape: &Geometry,
    input: &[T],
    group: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    patches: &mut [T],
) {
    let width = shape.group_width();
    let channels = shape.channels;
    let is_dense = shape.groups == 1 && shape.window.dilation[1] == 1;
    // A row of a dense kernel is one run of memory; otherwise each element is.
    let (runs, run_taps) = if is_dense {
        (shape.kernel[0], shape.kernel[1])
    } else {
        (shape.taps(), 1)
    };
    let run = run_taps * width;
    for (row, row_patch) in rows.zip(patches.chunks_exact_mut(columns.len())) {
        let image = row / (shape.height_out * shape.width_out);
        let y = row / shape.width_out % shape.height_out;
        let x = row % shape.width_out;
        for index in columns.start / run..columns.end.div_ceil(run).min(runs) {
            let (tap_y, tap_x) = if is_dense {
                (index, 0)
            } else {
                (index / shape.kernel[1], index % shape.kernel[1])
            };
            let run_columns = columns.start.max(index * run)..columns.end.min((index + 1) * run);
            let row_patch =
                &mut row_patch[run_columns.start - columns.start..run_columns.end - columns.start];
            let run_columns = run_columns.start - index * run..run_columns.end - index * run;
            let top = shape.window.offset(0, y, tap_y);
            let left = shape.window.offset(1, x, tap_x);
            // Elements of the run inside the feature map.
            let first = (-left).clamp(0, run_taps as isize) as usize * width;
            let last = (shape.width as isize - left).clamp(0, run_taps as isize) as usize * width;
            let inside = run_columns.start.max(first)..run_columns.end.min(last);
            if top < 0 || top >= shape.height as isize || inside.is_empty() {
                row_patch.fill(T::default());
                continue;
            }
            let line = (image * shape.height + top as usize) * shape.width;
            let start = (line as isize + left) * channels as isize;
            let start = (start + (group * width) as isize + inside.start as isize) as usize;
            let (before, remainder) = row_patch.split_at_mut(inside.start - run_columns.start);
            let (middle, after) = remainder.split_at_mut(inside.len());
            before.fill(T::default());
            middle.copy_from_slice(&input[start..start + middle.len()]);
            after.fill(T::default());
        }
    }
}

vectorized! {
    /// Adds the elements of one image's patches to the pixels that they are copies of.
    pub(super) fn add_patches(
        shape: &Geometry,
        group: usize,
        rows: Range<usize>,
        patches: &[f32],
        image: &mut [f32],
    ) {
        let (width, window) = (shape.group_width(), &shape.window);
        for (row, patch) in rows.zip(patches.chunks_exact(shape.depth())) {
            let (y, x) = (row / shape.width_out, row % shape.width_out);
            let lines = patch.chunks_exact(shape.kernel[1] * width).enumerate();
            for (tap_y, line) in lines {
                let Some(y) = window.under(0, y, tap_y, shape.height) else {
                    continue;
                };
                for (tap_x, patch_pixel) in line.chunks_exact(width).enumerate() {
                    let Some(x) = window.under(1, x, tap_x, shape.width) else {
                        continue;
                    };
                    let first = (y * shape.width + x) * shape.channels + group * width;
                    let pixel = &mut image[first..first + width];
                    let pairs = pixel.iter_mut().zip(patch_pixel);
                    pairs.for_each(|(sum, number)| *sum += number);
                }
            }
        }
    }
}
