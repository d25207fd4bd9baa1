//! The matrix of similarities of held-out pairs, as a coloured square.

use std::fmt::Write;

use super::held_out::HeldOut;
use super::html::Escaped;

/// Maximum number of pairs shown.
const MAX_PAIRS: usize = 24;

/// Draws the similarities of images with different texts (rows) to these texts (columns). The pairs
/// are on the diagonal.
pub(super) fn draw(pairs: &HeldOut<'_>) -> String {
    let chosen: Vec<_> = pairs.first_pairs(MAX_PAIRS).collect();
    let side = chosen.len();
    let all = chosen.iter().flat_map(|&(image, _)| {
        let row = chosen.iter();
        row.map(move |&(_, text)| pairs.similarity(image, text))
    });
    let fold = |(low, high): (f32, f32), value: f32| (low.min(value), high.max(value));
    let (low, high) = all.fold((f32::INFINITY, f32::NEG_INFINITY), fold);
    let range = (high - low).max(f32::EPSILON);
    let mut svg = format!(
        "<svg class=\"matrix\" viewBox=\"0 0 {side} {side}\" role=\"img\" \
         aria-label=\"similarity of {side} images and texts\">"
    );
    for (row, &(image, _)) in chosen.iter().enumerate() {
        for (column, &(_, text)) in chosen.iter().enumerate() {
            let value = pairs.similarity(image, text);
            let opacity = (value - low) / range;
            let class = if row == column { " class=\"pair\"" } else { "" };
            let _ = write!(
                svg,
                "<g{class}><title>image {} and text {}: {value:.3}. {}</title><rect x=\"{column}\" \
                 y=\"{row}\" width=\"1\" height=\"1\" fill-opacity=\"{opacity:.2}\"/></g>",
                row + 1,
                column + 1,
                Escaped(pairs.text(text))
            );
        }
    }
    let _ = write!(
        svg,
        "</svg><p class=\"legend matrix-legend\"><span>{low:.2}</span><i></i><span>{high:.2}</span></p>\
         <p>Similarity of {side} images (from top to bottom) and their texts (from left to right). A \
         good model has a dark diagonal.</p>"
    );
    svg
}
