//! The fixed transform for evaluation.

use serde::{Deserialize, Serialize};

use crate::image::{
    CHANNELS, CropBox, DEVIATION, MEAN, Radiograph, normalize, pad_to_square, resize,
    resize_shorter_side,
};
use crate::setting::{SettingError, check_input_size};

/// How an image becomes square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvalResize {
    /// Scales the shorter side and crops the center: keeps the aspect ratio and loses the ends of
    /// the longer side. torchvision's `Resize(size)`, `CenterCrop(size)`.
    #[default]
    CenterCrop,
    /// Scales both sides: keeps the whole image and changes the aspect ratio.
    Stretch,
    /// Pads the shorter side with black and scales: keeps the whole image and the aspect ratio. The
    /// paper does this for classifiers. torchvision's `Pad`, `Resize((size, size))`.
    PadSquare,
}

/// Turns images into network inputs without randomness.
///
/// # Examples
///
/// ```
/// use convirt_data::{EvalResize, EvalTransform, Radiograph};
///
/// // A wide image: black, grey, white.
/// let row = [[0; 8], [128; 8], [255; 8]].concat();
/// let image = Radiograph::from_u8(24, 8, 1, &row.repeat(8));
/// let transform = EvalTransform::new(8, EvalResize::CenterCrop)?;
/// let view = transform.view(&image);
/// assert!(view.pixels().iter().all(|value| (value - 128.0 / 255.0).abs() < 1e-6));
/// assert_eq!(transform.apply(&image).len(), 3 * 8 * 8);
/// # Ok::<(), convirt_data::SettingError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct EvalTransform {
    size: usize,
    mode: EvalResize,
}

impl EvalTransform {
    /// Mean that is subtracted from red, green and blue, which are in 0 to 1: ImageNet's.
    pub const MEAN: [f32; CHANNELS] = MEAN;

    /// Standard deviation by which red, green and blue are then divided: ImageNet's.
    pub const DEVIATION: [f32; CHANNELS] = DEVIATION;

    /// Prepares inputs of `size` × `size` pixels.
    ///
    /// # Errors
    ///
    /// [`SettingError::OutOfRange`] when `size` is not in 8 to 4,096.
    pub fn new(size: usize, mode: EvalResize) -> Result<Self, SettingError> {
        check_input_size(size)?;
        Ok(Self { size, mode })
    }

    /// Returns the side of the inputs, in pixels.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Resizes the image with antialiasing and normalizes it by ImageNet's mean and standard
    /// deviation.
    ///
    /// # Shapes
    ///
    /// - output: `[3, size, size]`, flat
    pub fn apply(&self, image: &Radiograph) -> Vec<f32> {
        normalize(&self.view(image))
    }

    /// Resizes the image with antialiasing to `size` × `size` pixels, without normalization, for
    /// display.
    pub fn view(&self, image: &Radiograph) -> Radiograph {
        let size = self.size;
        match self.mode {
            EvalResize::Stretch => resize(image, CropBox::whole(image), size, size),
            EvalResize::PadSquare => {
                let square = pad_to_square(image);
                resize(&square, CropBox::whole(&square), size, size)
            }
            EvalResize::CenterCrop => {
                let scaled = resize_shorter_side(image, size);
                resize(&scaled, CropBox::center(&scaled, size, size), size, size)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixtures::{reference_bytes, reference_floats};

    fn reference(name: &str) -> Radiograph {
        let (shape, samples) = reference_bytes(name);
        let channels = shape.get(2).copied().unwrap_or(1);
        Radiograph::from_u8(shape[1], shape[0], channels, &samples)
    }

    // Largest difference in levels of 8 bits, undoing the division by the deviation.
    fn levels_apart(ours: &[f32], theirs: &[f32]) -> f32 {
        assert_eq!(ours.len(), theirs.len());
        let differences = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs());
        differences.fold(0.0, f32::max) * 255.0 * 0.229
    }

    // Pillow rounds twice to whole levels; we do not: 1 level.
    #[test]
    fn cropped_and_normalized_views_agree_with_torchvision() {
        for colours in ["grey", "rgb"] {
            let scaled = resize_shorter_side(&reference(colours), 40);
            let view = resize(&scaled, CropBox::center(&scaled, 32, 32), 32, 32);
            let expected = reference_floats(&format!("{colours}.resize40_crop32_norm"));
            let apart = levels_apart(&normalize(&view), &expected);
            assert!(apart < 1.05, "{colours}: {apart}");
        }
    }

    #[test]
    fn center_crop_takes_the_middle_of_the_longer_side() {
        // Left third black, middle grey, right third white.
        let row: Vec<u8> = (0..96).map(|x| [0, 128, 255][x / 32]).collect();
        let image = Radiograph::from_u8(96, 32, 1, &row.repeat(32));
        let cut = EvalTransform::new(32, EvalResize::CenterCrop).unwrap();
        let grey = normalize(&Radiograph::from_u8(32, 32, 1, &[128; 32 * 32]));
        assert_eq!(cut.apply(&image), grey);
        let whole = EvalTransform::new(32, EvalResize::Stretch).unwrap();
        let view = whole.apply(&image);
        assert!(view[0] < -2.0 && view[31] > 2.0);
    }

    // y, x = torch.meshgrid(torch.arange(13), torch.arange(20), indexing="ij")
    // square = F.pad(((x * 37 + y * 101) % 256).float()[None], [0, 3, 0, 4])
    // F.resize(square, [8, 8], antialias=True)[0, [1, 4, 6]]   # torchvision 0.29.2
    #[test]
    fn padded_views_agree_with_torchvision() {
        let samples: Vec<u8> = (0..13 * 20)
            .map(|i| ((i % 20 * 37 + i / 20 * 101) % 256) as u8)
            .collect();
        let image = Radiograph::from_u8(20, 13, 1, &samples);
        let view = EvalTransform::new(8, EvalResize::PadSquare).unwrap();
        let view = view.apply(&image);
        let levels = |row: usize| -> Vec<f32> {
            let row = &view[row * 8..(row + 1) * 8];
            row.iter()
                .map(|value| (value * 0.229 + 0.485) * 255.0)
                .collect()
        };
        for (row, expected) in [
            (
                1,
                [
                    72.2618, 105.536, 98.5744, 81.0672, 112.608, 93.872, 88.1392, 116.0327,
                ],
            ),
            (
                4,
                [
                    128.6291, 134.8208, 115.4208, 130.5856, 136.5808, 118.1584, 124.9728, 131.5927,
                ],
            ),
            (
                6,
                [
                    58.3309, 38.5328, 49.6144, 53.96, 40.8752, 55.4608, 48.52, 43.2255,
                ],
            ),
        ] {
            for (ours, theirs) in levels(row).into_iter().zip(expected) {
                // float32 on both sides, and normalization undone: 255 · 2⁻²³ · 10.
                assert!((ours - theirs).abs() < 3e-4, "row {row}: {ours} {theirs}");
            }
        }
        assert!(levels(7)[0].abs() < 1e-4, "black below the image");
    }

    #[test]
    fn the_same_image_gives_the_same_bits() {
        let image = reference("rgb");
        for mode in [
            EvalResize::CenterCrop,
            EvalResize::Stretch,
            EvalResize::PadSquare,
        ] {
            let transform = EvalTransform::new(48, mode).unwrap();
            let view = transform.apply(&image);
            assert_eq!(view.len(), 3 * 48 * 48);
            assert_eq!(transform.apply(&image), view);
        }
    }
}
