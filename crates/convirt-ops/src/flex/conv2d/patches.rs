//! Patches of feature maps, copied to the rows of a matrix and added back.

use std::ops::Range;

use super::geometry::Geometry;
use crate::flex::element::Element;
use crate::flex::simd::vectorized;

/// Copies columns of some rows of the matrix of patches: for each position of the window, its
/// elements row by row, channels innermost; zero in the padding.
pub(super) fn gather<T: Element>(
    shape: &Geometry,
    input: &[T],
    group: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    to: &mut [T],
) {
    let width = shape.group_width();
    let channels = shape.channels;
    let is_dense = shape.groups == 1 && shape.window.dilation[1] == 1;
    // Neighbours in a row of the window are neighbours in memory, where the window is dense.
    let (runs, run_taps) = match is_dense {
        true => (shape.kernel[0], shape.kernel[1]),
        false => (shape.taps(), 1),
    };
    let run = run_taps * width;
    for (row, to) in rows.zip(to.chunks_exact_mut(columns.len())) {
        let image = row / (shape.height_out * shape.width_out);
        let y = row / shape.width_out % shape.height_out;
        let x = row % shape.width_out;
        for index in columns.start / run..columns.end.div_ceil(run).min(runs) {
            let (tap_y, tap_x) = match is_dense {
                true => (index, 0),
                false => (index / shape.kernel[1], index % shape.kernel[1]),
            };
            let wanted = columns.start.max(index * run)..columns.end.min((index + 1) * run);
            let to = &mut to[wanted.start - columns.start..wanted.end - columns.start];
            let wanted = wanted.start - index * run..wanted.end - index * run;
            let top = shape.window.offset(0, y, tap_y);
            let left = shape.window.offset(1, x, tap_x);
            // Elements of the run that lie inside the map.
            let first = (-left).clamp(0, run_taps as isize) as usize * width;
            let last = (shape.width as isize - left).clamp(0, run_taps as isize) as usize * width;
            let inside = wanted.start.max(first)..wanted.end.min(last);
            if top < 0 || top >= shape.height as isize || inside.is_empty() {
                to.fill(T::default());
                continue;
            }
            let line = (image * shape.height + top as usize) * shape.width;
            let start = (line as isize + left) * channels as isize;
            let start = (start + (group * width) as isize + inside.start as isize) as usize;
            let (before, rest) = to.split_at_mut(inside.start - wanted.start);
            let (middle, after) = rest.split_at_mut(inside.len());
            before.fill(T::default());
            middle.copy_from_slice(&input[start..start + middle.len()]);
            after.fill(T::default());
        }
    }
}

vectorized! {
    /// Adds the elements of patches of one image to the pixels that they are copies of.
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
                for (tap_x, from) in line.chunks_exact(width).enumerate() {
                    let Some(x) = window.under(1, x, tap_x, shape.width) else {
                        continue;
                    };
                    let first = (y * shape.width + x) * shape.channels + group * width;
                    let to = &mut image[first..first + width];
                    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
                }
            }
        }
    }
}
