//! The similarities of a held-out batch, as a coloured square.

use std::fmt::Write;

use super::held_out::HeldOut;
use crate::html::Escaped;

/// Pairs shown at the most.
const MAX_PAIRS: usize = 24;

/// Draws the similarity of the first images of different texts (rows) and their texts (columns);
/// on the diagonal are the pairs.
pub(super) fn draw(pairs: &HeldOut, texts: &[&str]) -> String {
    let chosen: Vec<usize> = pairs.image_of.iter().copied().take(MAX_PAIRS).collect();
    let side = chosen.len();
    let of = |row: usize, column: usize| pairs.similarity(chosen[row], pairs.text_of[chosen[column]]);
    let values = (0..side * side).map(|i| of(i / side, i % side));
    let fold = |(low, high): (f32, f32), value: f32| (low.min(value), high.max(value));
    let (low, high) = values.fold((f32::INFINITY, f32::NEG_INFINITY), fold);
    let range = (high - low).max(f32::EPSILON);
    let mut svg = format!(
        "<svg class=\"matrix\" viewBox=\"0 0 {side} {side}\" role=\"img\" \
         aria-label=\"similarity of {side} images and texts\">"
    );
    for row in 0..side {
        for column in 0..side {
            let value = of(row, column);
            let opacity = (value - low) / range;
            let text = Escaped(texts[chosen[column]]);
            let class = if row == column { " class=\"pair\"" } else { "" };
            let _ = write!(
                svg,
                "<g{class}><title>image {} and text {}: {value:.3} {text}</title>\
                 <rect x=\"{column}\" y=\"{row}\" width=\"1\" height=\"1\" fill-opacity=\"{opacity:.2}\"/></g>",
                row + 1,
                column + 1
            );
        }
    }
    let _ = write!(
        svg,
        "</svg><p>Images from top to bottom, texts from left to right, {side} held-out pairs: from \
         {low:.2} (light) to {high:.2} (dark). A model that knows has a dark diagonal.</p>"
    );
    svg
}
