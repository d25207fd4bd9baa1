//! Normalization by the statistics of ImageNet.

use super::radiograph::Radiograph;

/// Channels of the network's input: red, green, blue.
pub(crate) const CHANNELS: usize = 3;

/// Mean of ImageNet's training set for red, green, blue, in 0 to 1; torchvision's constants.
pub(crate) const MEAN: [f32; CHANNELS] = [0.485, 0.456, 0.406];

/// Standard deviation that goes with [`MEAN`].
pub(crate) const DEVIATION: [f32; CHANNELS] = [0.229, 0.224, 0.225];

/// Subtracts ImageNet's mean and divides by its standard deviation; grey is repeated in all
/// channels.
///
/// # Shapes
///
/// - output: `[3, height, width]`, flat
pub(crate) fn normalize(image: &Radiograph) -> Vec<f32> {
    let mut output = Vec::with_capacity(CHANNELS * image.width() * image.height());
    // A single grey plane is repeated three times.
    for (plane, (mean, deviation)) in image.planes().cycle().zip(MEAN.into_iter().zip(DEVIATION)) {
        let scale = 1.0 / deviation;
        output.extend(plane.iter().map(|value| (value - mean) * scale));
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_becomes_three_channels_each_with_its_own_scale() {
        let image = Radiograph::from_u8(1, 1, 1, &[255]);
        let expected = [
            (1.0 - 0.485) / 0.229,
            (1.0 - 0.456) / 0.224,
            (1.0 - 0.406) / 0.225,
        ];
        for (ours, expected) in normalize(&image).iter().zip(expected) {
            assert!((ours - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn colours_keep_their_order() {
        let input = normalize(&Radiograph::from_u8(1, 1, 3, &[255, 0, 0]));
        assert!(input[0] > 2.0 && input[1] < -2.0 && input[2] < -1.8);
    }
}
