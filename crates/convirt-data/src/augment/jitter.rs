//! Brightness and contrast jitter.

use crate::image::Radiograph;

/// Multiplies all values by `factor` and clamps them to 0 to 1, as Pillow's
/// `ImageEnhance.Brightness`.
pub(super) fn brighten(image: &mut Radiograph, factor: f32) {
    for value in image.pixels_mut() {
        *value = (*value * factor).clamp(0.0, 1.0);
    }
}

/// Multiplies the distance of all values from the mean brightness by `factor` and clamps them to 0
/// to 1, as Pillow's `ImageEnhance.Contrast`.
pub(super) fn contrast(image: &mut Radiograph, factor: f32) {
    let offset = mean_brightness(image) * (1.0 - factor);
    for value in image.pixels_mut() {
        *value = (*value * factor + offset).clamp(0.0, 1.0);
    }
}

/// Returns the mean luma (ITU-R BT.601) of all pixels, as in Pillow's conversion to grey.
fn mean_brightness(image: &Radiograph) -> f32 {
    const GREY: &[f64] = &[1.0];
    const RED_GREEN_BLUE: &[f64] = &[0.299, 0.587, 0.114];
    let weights = if image.channels() == 1 {
        GREY
    } else {
        RED_GREEN_BLUE
    };
    let area = (image.width() * image.height()) as f64;
    let sums = image
        .planes()
        .map(|plane| plane.iter().copied().map(f64::from).sum::<f64>());
    let total: f64 = sums.zip(weights).map(|(sum, weight)| sum * weight).sum();
    (total / area) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixtures::{levels_apart, reference_bytes};

    fn reference(name: &str) -> Radiograph {
        let (_, samples) = reference_bytes(name);
        Radiograph::from_u8(64, 64, 3, &samples)
    }

    // Pillow truncates to whole levels, and rounds the mean for the contrast to a level, which adds
    // half a level times the distance of the factor from 1.
    #[test]
    fn brightness_and_contrast_agree_with_pillow() {
        for colours in ["grey", "rgb"] {
            for factor in [0.6, 1.3] {
                let mut ours = reference(&format!("{colours}.64"));
                brighten(&mut ours, factor);
                let pillow = reference(&format!("{colours}.brightness{factor}"));
                let apart = levels_apart(ours.pixels(), pillow.pixels());
                assert!(apart < 1.01, "{colours} brightness {factor}: {apart}");

                let mut ours = reference(&format!("{colours}.64"));
                contrast(&mut ours, factor);
                let pillow = reference(&format!("{colours}.contrast{factor}"));
                let apart = levels_apart(ours.pixels(), pillow.pixels());
                assert!(apart < 1.2, "{colours} contrast {factor}: {apart}");
            }
        }
    }

    #[test]
    fn values_stay_between_black_and_white() {
        let mut image = Radiograph::from_u8(2, 1, 1, &[10, 250]);
        brighten(&mut image, 1.4);
        contrast(&mut image, 3.0);
        assert_eq!(image.pixels(), [0.0, 1.0]);
    }
}
