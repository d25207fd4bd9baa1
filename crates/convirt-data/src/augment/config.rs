//! Configuration of the augmentation.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::Augmentation;
use crate::setting::{SettingError, check, check_input_size};

/// Configures an [`Augmentation`]: the ranges of its random parameters, uniform unless noted.
///
/// The defaults are the paper's or, where it gives none, torchvision's.
///
/// # Examples
///
/// ```
/// use convirt_data::AugmentationConfig;
///
/// let config = AugmentationConfig { flip_probability: 0.0, ..AugmentationConfig::default() };
/// assert_eq!(config.init(224)?.size(), 224);
///
/// let config = AugmentationConfig { translation: 2.0, ..config };
/// let message = config.init(224).unwrap_err().to_string();
/// assert_eq!(message, "`translation` is 2; it must be in [0, 1]");
/// # Ok::<(), convirt_data::SettingError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentationConfig {
    /// Fraction of the image's area that the crop covers: lowest and highest, in (0, 1].
    pub crop_area: [f64; 2],
    /// Aspect ratio (width / height) of the crop, drawn log-uniformly. The paper does not give one;
    /// this is the default of torchvision's `RandomResizedCrop`, which Colab uses. `[1, 1]` crops
    /// squares.
    pub crop_aspect: [f64; 2],
    /// Probability of a horizontal flip.
    pub flip_probability: f64,
    /// Largest rotation either way, in degrees.
    pub rotation_degrees: f64,
    /// Largest shift either way, as a fraction of the side.
    pub translation: f64,
    /// Scale factor, lowest and highest.
    pub scale: [f64; 2],
    /// Brightness factor at strength 1, lowest and highest.
    pub brightness: [f64; 2],
    /// Contrast factor at strength 1, lowest and highest.
    pub contrast: [f64; 2],
    /// Standard deviation of the Gaussian blur, lowest and highest, in pixels of a 224-pixel
    /// input; smaller inputs are blurred by proportionally fewer pixels. The highest may be 0.
    pub blur_sigma: [f64; 2],
    /// Strength of brightness and contrast jitter: scales their distance from 1, like `s` in SimCLR
    /// (Chen et al. 2020, appendix A) and `dataset.s` in Colab.
    pub strength: f64,
}

impl Default for AugmentationConfig {
    fn default() -> Self {
        Self {
            crop_area: [0.6, 1.0],
            crop_aspect: [3.0 / 4.0, 4.0 / 3.0],
            flip_probability: 0.5,
            rotation_degrees: 20.0,
            translation: 0.1,
            scale: [0.95, 1.05],
            brightness: [0.6, 1.4],
            contrast: [0.6, 1.4],
            blur_sigma: [0.1, 3.0],
            strength: 1.0,
        }
    }
}

impl AugmentationConfig {
    /// Range of [`strength`](Self::strength).
    pub const STRENGTHS: RangeInclusive<f64> = 0.0..=10.0;

    /// Prepares views of `size` × `size` pixels.
    ///
    /// # Errors
    ///
    /// [`SettingError::OutOfRange`] with the name of the setting: `size` is not in 8 to 4,096, a
    /// range is not ascending, or a value is outside its bounds.
    pub fn init(&self, size: usize) -> Result<Augmentation, SettingError> {
        check_input_size(size)?;
        let ranges = [
            ("crop_area", self.crop_area, 0.01..=1.0, "in [0.01, 1]"),
            ("crop_aspect", self.crop_aspect, 0.1..=10.0, "in [0.1, 10]"),
            ("scale", self.scale, 0.1..=10.0, "in [0.1, 10]"),
            ("brightness", self.brightness, 0.0..=10.0, "in [0, 10]"),
            ("contrast", self.contrast, 0.0..=10.0, "in [0, 10]"),
            ("blur_sigma", self.blur_sigma, 0.0..=20.0, "in [0, 20]"),
        ];
        for (setting, [low, high], bounds, allowed) in ranges {
            check(setting, low, bounds.clone(), allowed)?;
            check(setting, high, bounds, allowed)?;
            check(setting, high, low..=f64::INFINITY, "at least its lower end")?;
        }
        let (flips, degrees) = (self.flip_probability, self.rotation_degrees);
        check("flip_probability", flips, 0.0..=1.0, "in [0, 1]")?;
        check("rotation_degrees", degrees, 0.0..=180.0, "in [0, 180]")?;
        check("translation", self.translation, 0.0..=1.0, "in [0, 1]")?;
        check("strength", self.strength, Self::STRENGTHS, "in [0, 10]")?;
        Ok(Augmentation {
            config: self.clone(),
            size,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_named() {
        type Change = fn(&mut AugmentationConfig);
        let changes: [(&str, Change); 6] = [
            ("crop_area", |config| config.crop_area = [0.9, 0.6]),
            ("crop_area", |config| config.crop_area = [0.5, 1.2]),
            ("scale", |config| config.scale = [0.0, 1.0]),
            ("contrast", |config| config.contrast = [f64::NAN, 1.0]),
            ("flip_probability", |config| config.flip_probability = 1.1),
            ("strength", |config| config.strength = -1.0),
        ];
        for (setting, change) in changes {
            let mut config = AugmentationConfig::default();
            change(&mut config);
            let error = config.init(224).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{setting}` is ")), "{error}");
        }
        assert!(AugmentationConfig::default().init(4).is_err());
    }

    #[test]
    fn defaults_are_the_papers() {
        let config = AugmentationConfig::default();
        assert_eq!(config.crop_area, [0.6, 1.0]);
        assert_eq!(
            (config.flip_probability, config.rotation_degrees),
            (0.5, 20.0)
        );
        assert_eq!((config.translation, config.scale), (0.1, [0.95, 1.05]));
        assert_eq!(
            (config.brightness, config.contrast),
            ([0.6, 1.4], [0.6, 1.4])
        );
        assert_eq!((config.blur_sigma, config.strength), ([0.1, 3.0], 1.0));
    }
}
