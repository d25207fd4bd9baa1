//! Crop, flip, rotation, scale and shift in one resampling pass.

use super::AugmentationParams;
use crate::image::{CropBox, Radiograph, resize};

/// Largest reduction, in pixels of the image for each pixel of the view, at which bilinear
/// interpolation uses all pixels. Beyond it, the image is averaged first.
const MAX_REDUCTION: f64 = 1.5;

/// Renders the geometric part of `params` as a square view with a side of `size` pixels.
///
/// The result is that of torchvision's `resized_crop`, `hflip` and bilinear `affine` with black
/// outside, but interpolated once instead of twice. The inverse of T(shift)·C·R(angle)·scale·C⁻¹,
/// the flip and the crop map the center of each pixel of the view to a point in the image. The
/// outer half pixel repeats the edge.
pub(super) fn view(image: &Radiograph, size: usize, params: &AugmentationParams) -> Radiograph {
    let is_unmoved =
        params.rotation_degrees == 0.0 && params.scale == 1.0 && params.translation == [0.0, 0.0];
    let crop = params.crop;
    let longest = crop.width.max(crop.height) as f64;
    if !is_unmoved && longest <= MAX_REDUCTION * size as f64 {
        return warp(image, crop, size, params);
    }
    let mut scaled = resize(image, crop, size, size);
    if !is_unmoved {
        return warp(&scaled, CropBox::whole(&scaled), size, params);
    }
    if params.flip {
        for plane in scaled.planes_mut() {
            plane.chunks_exact_mut(size).for_each(<[f32]>::reverse);
        }
    }
    scaled
}

fn warp(image: &Radiograph, crop: CropBox, size: usize, params: &AugmentationParams) -> Radiograph {
    let side = size as f32;
    let middle = side / 2.0;
    let (sin, cos) = params.rotation_degrees.to_radians().sin_cos();
    let (sin, cos) = (sin / params.scale, cos / params.scale);
    let [shift_x, shift_y] = params.translation;
    let columns = Axis::new(crop.left, crop.width, side);
    let rows = Axis::new(crop.top, crop.height, side);

    let mut pixels = Vec::with_capacity(image.channels() * size * size);
    for plane in image.planes() {
        for row in 0..size {
            let y = row as f32 + 0.5 - middle - shift_y;
            pixels.extend((0..size).map(|column| {
                let x = column as f32 + 0.5 - middle - shift_x;
                let source_x = cos * x + sin * y + middle;
                let source_y = cos * y - sin * x + middle;
                let range = 0.0..side;
                if !range.contains(&source_x) || !range.contains(&source_y) {
                    return 0.0;
                }
                let source_x = if params.flip {
                    side - source_x
                } else {
                    source_x
                };
                let (left, right, x_weight) = columns.neighbours(source_x);
                let (top, bottom, y_weight) = rows.neighbours(source_y);
                let [above, below] = [top, bottom].map(|row| {
                    let row = &plane[row * image.width()..][..image.width()];
                    row[left] + (row[right] - row[left]) * x_weight
                });
                above + (below - above) * y_weight
            }));
        }
    }
    Radiograph::from_planes(size, size, image.depth(), pixels)
}

/// Maps positions in the unrotated view to pixels of the crop, along one axis.
struct Axis {
    first: f32,
    last: f32,
    pixels_per_pixel: f32,
}

impl Axis {
    fn new(start: usize, length: usize, side: f32) -> Self {
        Self {
            first: start as f32,
            last: (start + length - 1) as f32,
            pixels_per_pixel: length as f32 / side,
        }
    }

    /// Returns the two pixels next to a position, and the interpolation weight of the second.
    fn neighbours(&self, at: f32) -> (usize, usize, f32) {
        let at = self.first + at * self.pixels_per_pixel - 0.5;
        let at = at.clamp(self.first, self.last);
        // Casts through u32 are single instructions.
        let before = at as u32;
        let after = (before + 1).min(self.last as u32);
        (before as usize, after as usize, at - before as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{CropBox, Radiograph};
    use crate::tests::fixtures::{levels_apart, reference_bytes};

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

    // Pillow truncates to whole levels; we do not: 1 level.
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
                let ours = view(&Radiograph::from_u8(64, 64, 3, &samples), 64, &params);
                let (_, samples) = reference_bytes(&format!("{colours}.affine_bilinear{case}"));
                let pillow = Radiograph::from_u8(64, 64, 3, &samples);
                let apart = levels_apart(ours.pixels(), pillow.pixels());
                assert!(apart < 1.01, "{colours} {case}: {apart}");
            }
        }
    }

    fn numbered(size: usize) -> Radiograph {
        let levels = (0..size * size).map(|value| value as u8);
        Radiograph::from_u8(size, size, 1, &levels.collect::<Vec<_>>())
    }

    #[test]
    fn a_shift_by_whole_pixels_moves_them_and_leaves_black() {
        let image = numbered(4);
        let params = AugmentationParams {
            crop: CropBox::whole(&image),
            translation: [1.0, -1.0],
            ..STILL
        };
        let moved = view(&image, 4, &params);
        let pixels = image.pixels();
        assert_eq!(moved.pixels()[..4], [&[0.0], &pixels[4..7]].concat());
        assert_eq!(moved.pixels()[12..], [0.0; 4]);
        let flipped = AugmentationParams {
            flip: true,
            ..params
        };
        let expected = [0.0, pixels[7], pixels[6], pixels[5]];
        assert_eq!(view(&image, 4, &flipped).pixels()[..4], expected);
    }

    // A tiny shift takes the one-pass path; no shift is torchvision's crop and resize. At a
    // reduction of 1.1, the antialiasing filter hardly differs from plain interpolation.
    #[test]
    fn one_pass_agrees_with_crop_and_resize() {
        let (_, samples) = reference_bytes("grey.64");
        let image = Radiograph::from_u8(64, 64, 3, &samples);
        let crop = CropBox {
            left: 9,
            top: 5,
            width: 41,
            height: 50,
        };
        for (size, most) in [(64, 0.3), (45, 12.0)] {
            for flip in [false, true] {
                let still = AugmentationParams {
                    crop,
                    flip,
                    ..STILL
                };
                let nearly = AugmentationParams {
                    translation: [1e-4, 0.0],
                    ..still
                };
                let [one, other] = [still, nearly].map(|it| view(&image, size, &it));
                // The shift makes the first column black.
                let apart = one.pixels().iter().zip(other.pixels()).enumerate();
                let apart = apart.filter(|(i, _)| i % size > 0);
                let apart = apart
                    .map(|(_, (a, b))| (a - b).abs() * 255.0)
                    .fold(0.0, f32::max);
                assert!(apart <= most, "{size} {flip}: {apart}");
            }
        }
    }

    #[test]
    fn a_strong_reduction_averages_pixels() {
        // A fine chequerboard becomes grey when reduced, at any rotation.
        let levels: Vec<u8> = (0..160 * 160)
            .map(|i| ((i % 160 + i / 160) % 2 * 255) as u8)
            .collect();
        let image = Radiograph::from_u8(160, 160, 1, &levels);
        let params = AugmentationParams {
            crop: CropBox::whole(&image),
            rotation_degrees: 3.0,
            ..STILL
        };
        let middle = view(&image, 16, &params).pixels()[8 * 16 + 8];
        assert!((middle - 0.5).abs() < 0.02, "{middle}");
    }

    #[test]
    fn pixels_outside_the_crop_have_no_influence() {
        let mut levels = vec![255; 64 * 64];
        for row in 10..40 {
            levels[row * 64 + 20..row * 64 + 60].fill(100);
        }
        let image = Radiograph::from_u8(64, 64, 1, &levels);
        let params = AugmentationParams {
            crop: CropBox {
                left: 20,
                top: 10,
                width: 40,
                height: 30,
            },
            rotation_degrees: 17.0,
            scale: 1.05,
            ..STILL
        };
        for size in [64, 8] {
            let seen = view(&image, size, &params);
            let grey = 100.0 / 255.0;
            assert!(
                seen.pixels()
                    .iter()
                    .all(|it| *it == 0.0 || (it - grey).abs() < 1e-6)
            );
        }
    }
}
