//! The random parameters of one view.

use rand::{Rng, RngExt};

use super::AugmentationConfig;
use crate::image::{CropBox, Radiograph};

/// Side of the input that [`AugmentationConfig::blur_sigma`] refers to, in pixels.
const BLUR_REFERENCE_SIZE: f64 = 224.0;

/// Attempts to draw a crop that fits, before the center is used instead, as in torchvision.
const CROP_ATTEMPTS: usize = 10;

/// Parameters of one augmented view, drawn from an [`AugmentationConfig`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AugmentationParams {
    /// Part of the image that is used, in its pixels.
    pub crop: CropBox,
    /// Whether the view is mirrored horizontally.
    pub flip: bool,
    /// Clockwise rotation around the center, in degrees.
    pub rotation_degrees: f32,
    /// Shift to the right and downwards, in pixels of the view.
    pub translation: [f32; 2],
    /// Scale factor.
    pub scale: f32,
    /// Brightness factor.
    pub brightness: f32,
    /// Contrast factor.
    pub contrast: f32,
    /// Standard deviation of the blur, in pixels of the view; 0 for none.
    pub blur_sigma: f32,
}

pub(super) fn draw(
    config: &AugmentationConfig,
    size: usize,
    image: &Radiograph,
    rng: &mut impl Rng,
) -> AugmentationParams {
    let shift = config.translation * size as f64;
    let [dimmest, brightest] = widen(config.brightness, config.strength);
    let [flattest, sharpest] = widen(config.contrast, config.strength);
    AugmentationParams {
        crop: draw_crop(config, image, rng),
        flip: rng.random_bool(config.flip_probability),
        rotation_degrees: uniform(rng, -config.rotation_degrees, config.rotation_degrees),
        translation: [uniform(rng, -shift, shift), uniform(rng, -shift, shift)],
        scale: uniform(rng, config.scale[0], config.scale[1]),
        brightness: uniform(rng, dimmest, brightest),
        contrast: uniform(rng, flattest, sharpest),
        blur_sigma: uniform(rng, config.blur_sigma[0], config.blur_sigma[1])
            * (size as f64 / BLUR_REFERENCE_SIZE) as f32,
    }
}

/// Draws a crop like torchvision's `RandomResizedCrop.get_params`.
fn draw_crop(config: &AugmentationConfig, image: &Radiograph, rng: &mut impl Rng) -> CropBox {
    let (width, height) = (image.width(), image.height());
    let [narrowest, widest] = config.crop_aspect.map(f64::ln);
    for _ in 0..CROP_ATTEMPTS {
        let share = rng.random_range(config.crop_area[0]..=config.crop_area[1]);
        let area = share * width as f64 * height as f64;
        let aspect = rng.random_range(narrowest..=widest).exp();
        let crop_width = (area * aspect).sqrt().round() as usize;
        let crop_height = (area / aspect).sqrt().round() as usize;
        if (1..=width).contains(&crop_width) && (1..=height).contains(&crop_height) {
            return CropBox {
                left: rng.random_range(0..=width - crop_width),
                top: rng.random_range(0..=height - crop_height),
                width: crop_width,
                height: crop_height,
            };
        }
    }
    let aspect = width as f64 / height as f64;
    let [narrowest, widest] = config.crop_aspect;
    let (crop_width, crop_height) = if aspect < narrowest {
        (width, (width as f64 / narrowest).round() as usize)
    } else if aspect > widest {
        ((height as f64 * widest).round() as usize, height)
    } else {
        (width, height)
    };
    CropBox::center(image, crop_width.max(1), crop_height.max(1))
}

/// Scales the distance of both ends of a range from 1; the result is not negative.
fn widen([low, high]: [f64; 2], strength: f64) -> [f64; 2] {
    [low, high].map(|end| (1.0 + (end - 1.0) * strength).max(0.0))
}

fn uniform(rng: &mut impl Rng, low: f64, high: f64) -> f32 {
    rng.random_range(low..=high) as f32
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    const DRAWS: usize = 4000;

    fn draws(config: &AugmentationConfig, width: usize, height: usize) -> Vec<AugmentationParams> {
        let image = Radiograph::from_u8(width, height, 1, &vec![0; width * height]);
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        (0..DRAWS)
            .map(|_| draw(config, 224, &image, &mut rng))
            .collect()
    }

    fn range(values: impl Iterator<Item = f32>) -> [f32; 2] {
        values.fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], value| {
            [low.min(value), high.max(value)]
        })
    }

    // 4,000 uniform draws come within a hundredth of the range of both ends, except with a
    // probability of 2·exp(-40).
    fn assert_fills(drawn: [f32; 2], [low, high]: [f32; 2]) {
        let margin = (high - low) / 100.0;
        assert!(
            (low..=low + margin).contains(&drawn[0]) && (high - margin..=high).contains(&drawn[1]),
            "{drawn:?} of [{low}, {high}]"
        );
    }

    #[test]
    fn draws_fill_every_range_and_stay_inside() {
        let params = draws(&AugmentationConfig::default(), 256, 210);
        let of = |get: fn(&AugmentationParams) -> f32| range(params.iter().map(get));
        assert_fills(of(|p| p.rotation_degrees), [-20.0, 20.0]);
        assert_fills(of(|p| p.translation[0]), [-22.4, 22.4]);
        assert_fills(of(|p| p.translation[1]), [-22.4, 22.4]);
        assert_fills(of(|p| p.scale), [0.95, 1.05]);
        assert_fills(of(|p| p.brightness), [0.6, 1.4]);
        assert_fills(of(|p| p.contrast), [0.6, 1.4]);
        assert_fills(of(|p| p.blur_sigma), [0.1, 3.0]);
        let flips = params.iter().filter(|p| p.flip).count();
        // Five standard deviations of a fair coin.
        assert!(flips.abs_diff(DRAWS / 2) < 5 * 32, "{flips}");
    }

    #[test]
    fn crops_lie_inside_and_have_the_configured_area_and_aspect() {
        for p in draws(&AugmentationConfig::default(), 256, 210) {
            let CropBox {
                left,
                top,
                width,
                height,
            } = p.crop;
            assert!(left + width <= 256 && top + height <= 210);
            let area = (width * height) as f64 / (256.0 * 210.0);
            let aspect = width as f64 / height as f64;
            // Sides are rounded to pixels.
            assert!((0.595..=1.0).contains(&area), "{area}");
            assert!((0.74..=1.35).contains(&aspect), "{aspect}");
        }
    }

    #[test]
    fn a_very_narrow_image_is_cropped_at_its_center() {
        let tall = draws(&AugmentationConfig::default(), 10, 400)[0].crop;
        assert_eq!((tall.left, tall.width, tall.height), (0, 10, 13));
        assert!(tall.top.abs_diff(193) <= 1);
        let wide = draws(&AugmentationConfig::default(), 400, 10)[0].crop;
        assert_eq!((wide.top, wide.width, wide.height), (0, 13, 10));
    }

    #[test]
    fn strength_widens_brightness_and_contrast_alone() {
        let config = AugmentationConfig {
            strength: 3.0,
            ..AugmentationConfig::default()
        };
        let params = draws(&config, 64, 64);
        let of = |get: fn(&AugmentationParams) -> f32| range(params.iter().map(get));
        assert_fills(of(|p| p.brightness), [0.0, 2.2]);
        assert_fills(of(|p| p.contrast), [0.0, 2.2]);
        assert_fills(of(|p| p.scale), [0.95, 1.05]);
        let config = AugmentationConfig {
            strength: 0.0,
            ..config
        };
        assert!(
            draws(&config, 64, 64)
                .iter()
                .all(|p| p.brightness == 1.0 && p.contrast == 1.0)
        );
    }

    #[test]
    fn the_blur_shrinks_with_the_input() {
        let image = Radiograph::from_u8(8, 8, 1, &[0; 64]);
        let config = AugmentationConfig {
            blur_sigma: [2.0, 2.0],
            ..AugmentationConfig::default()
        };
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        assert_eq!(draw(&config, 112, &image, &mut rng).blur_sigma, 1.0);
    }
}
