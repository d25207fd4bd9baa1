//! Rotation, shift and scale of a square plane.

use super::AugmentationParams;

/// Rotates around the middle, scales and shifts, bilinearly; what comes from outside is black.
///
/// torchvision's `affine` on a Pillow image: the inverse of T(shift)·C·R(angle)·scale·C⁻¹ says
/// for the middle of each pixel where it comes from. The outer half pixel repeats the edge.
pub(super) fn transform(plane: &mut [f32], size: usize, params: &AugmentationParams) {
    let [right, down] = params.translation;
    if params.rotation_degrees == 0.0 && params.scale == 1.0 && (right, down) == (0.0, 0.0) {
        return;
    }
    let source = Framed::new(plane, size);
    let side = size as f32;
    let middle = side / 2.0;
    let (sin, cos) = params.rotation_degrees.to_radians().sin_cos();
    let (sin, cos) = (sin / params.scale, cos / params.scale);
    for (row, target) in plane.chunks_exact_mut(size).enumerate() {
        let y = row as f32 + 0.5 - middle - down;
        for (column, target) in target.iter_mut().enumerate() {
            let x = column as f32 + 0.5 - middle - right;
            let from_x = cos * x + sin * y + middle;
            let from_y = cos * y - sin * x + middle;
            let inside = from_x >= 0.0 && from_x < side && from_y >= 0.0 && from_y < side;
            *target = if inside {
                source.sample(from_x, from_y)
            } else {
                0.0
            };
        }
    }
}

/// A plane in a frame of one pixel that repeats its edge, so that every pixel has neighbours.
struct Framed {
    pixels: Vec<f32>,
    stride: usize,
}

impl Framed {
    fn new(plane: &[f32], size: usize) -> Self {
        let stride = size + 2;
        let mut pixels = Vec::with_capacity(stride * stride);
        let rows = || plane.chunks_exact(size);
        let framed = rows().take(1).chain(rows()).chain(rows().last());
        for row in framed {
            pixels.push(row[0]);
            pixels.extend_from_slice(row);
            pixels.push(row[size - 1]);
        }
        Self { pixels, stride }
    }

    /// Interpolates at (x, y) of the plane within the frame: 0 is its left or upper border and
    /// `size` the other.
    fn sample(&self, x: f32, y: f32) -> f32 {
        // The middle of the frame's first pixel lies at -0.5.
        let (x, y) = (x + 0.5, y + 0.5);
        let (left, top) = (x as u32, y as u32);
        let (to_right, to_bottom) = (x - left as f32, y - top as f32);
        let corner = top as usize * self.stride + left as usize;
        let [above, below] = [corner, corner + self.stride].map(|at| {
            let pair = &self.pixels[at..at + 2];
            pair[0] + (pair[1] - pair[0]) * to_right
        });
        above + (below - above) * to_bottom
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{levels_apart, reference_bytes};
    use crate::radiograph::Radiograph;
    use crate::resize::CropBox;

    const STILL: AugmentationParams = AugmentationParams {
        crop: CropBox {
            left: 0,
            top: 0,
            width: 64,
            height: 64,
        },
        flip: false,
        rotation_degrees: 0.0,
        translation: [0.0, 0.0],
        scale: 1.0,
        brightness: 1.0,
        contrast: 1.0,
        blur_sigma: 0.0,
    };

    // Pillow cuts off the fraction of a level where we keep it: 1 level.
    #[test]
    fn rotation_shift_and_scale_agree_with_pillow() {
        let cases = [
            (13.7, [5.0, -3.0], 1.03),
            (-20.0, [0.0, 0.0], 1.0),
            (0.0, [-6.0, 6.0], 0.95),
            (7.25, [2.0, 4.0], 1.05),
        ];
        for colours in ["grey", "rgb"] {
            for (case, (rotation_degrees, translation, scale)) in cases.into_iter().enumerate() {
                let params = AugmentationParams {
                    rotation_degrees,
                    translation,
                    scale,
                    ..STILL
                };
                let (_, samples) = reference_bytes(&format!("{colours}.64"));
                let mut ours = Radiograph::from_u8(64, 64, 3, &samples);
                for plane in ours.planes_mut() {
                    transform(plane, 64, &params);
                }
                let (_, samples) = reference_bytes(&format!("{colours}.affine_bilinear{case}"));
                let pillow = Radiograph::from_u8(64, 64, 3, &samples);
                let apart = levels_apart(ours.pixels(), pillow.pixels());
                assert!(apart < 1.01, "{colours} {case}: {apart}");
            }
        }
    }

    #[test]
    fn a_shift_by_whole_pixels_moves_them_and_leaves_black() {
        let mut plane: Vec<f32> = (1..=16).map(|value| value as f32).collect();
        let params = AugmentationParams {
            translation: [1.0, -1.0],
            ..STILL
        };
        transform(&mut plane, 4, &params);
        assert_eq!(plane[..4], [0.0, 5.0, 6.0, 7.0]);
        assert_eq!(plane[12..], [0.0; 4]);
    }
}
