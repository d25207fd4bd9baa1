//! Decoded images with one grey plane or three colour planes.

use image::DynamicImage;

mod stretch;
mod png;

pub(crate) use png::without_profile;
pub(super) use stretch::Stretch;

/// Version of the decoder, increased when the same file gives a different image.
pub(crate) const DECODER_VERSION: u32 = 4;

/// A decoded image: brightness from 0 (black) to 1 (white), plane by plane.
///
/// A grey image has one channel until it is normalized for the network, which makes augmentation
/// three times as fast. Colour files whose channels are equal become grey images.
///
/// # Examples
///
/// ```
/// use convirt_data::Radiograph;
///
/// // Two grey RGB pixels, then two pixels with colour.
/// let grey = Radiograph::from_u8(2, 1, 3, &[0, 0, 0, 255, 255, 255]);
/// assert_eq!((grey.channels(), grey.pixels()), (1, &[0.0, 1.0][..]));
/// let colour = Radiograph::from_u8(2, 1, 3, &[255, 0, 0, 0, 0, 255]);
/// assert_eq!(colour.pixels(), [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Radiograph {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) depth: Depth,
    pub(super) pixels: Vec<f32>,
    /// The stretch of grey levels, if the file did not specify one; lost when the image is changed
    /// or cached.
    pub(super) stretch: Option<Stretch>,
}

/// Bit depth of the samples in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    Eight,
    Sixteen,
}

impl Depth {
    /// Returns the largest sample of this depth, which is white.
    pub(crate) fn white(self) -> f32 {
        match self {
            Self::Eight => f32::from(u8::MAX),
            Self::Sixteen => f32::from(u16::MAX),
        }
    }
}

impl Radiograph {
    /// Makes an image from interleaved 8-bit samples, row by row; 255 is white.
    ///
    /// `samples_per_pixel` is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha); alpha is
    /// ignored.
    ///
    /// # Panics
    ///
    /// For any other `samples_per_pixel`, and when the length of `samples` is not
    /// `width · height · samples_per_pixel`.
    pub fn from_u8(width: usize, height: usize, samples_per_pixel: usize, samples: &[u8]) -> Self {
        let white = Depth::Eight.white();
        let pixels = planes(width, height, samples_per_pixel, samples)
            .into_iter()
            .map(|sample| f32::from(sample) / white)
            .collect();
        Self::from_planes(width, height, Depth::Eight, pixels)
    }

    /// Makes an image from interleaved 16-bit samples, stretched to their range with 0.5 % of them
    /// clipped at each end.
    ///
    /// 16-bit files mostly use only 10 to 15 bits (DICOM exports: 12), so dividing by 65,535 would
    /// give black images. Clipping prevents a dead pixel from darkening all others. DICOM files
    /// without a window are stretched in the same way. An image with a single level becomes black.
    ///
    /// # Panics
    ///
    /// Those of [`from_u8`](Self::from_u8).
    pub fn from_u16(
        width: usize,
        height: usize,
        samples_per_pixel: usize,
        samples: &[u16],
    ) -> Self {
        let samples = planes(width, height, samples_per_pixel, samples);
        let mut counts = vec![0; usize::from(u16::MAX) + 1];
        for &sample in &samples {
            counts[usize::from(sample)] += 1;
        }
        let histogram = (0..=u16::MAX).map(f64::from).zip(counts);
        let stretch = Stretch::from_histogram(histogram.collect());
        let brightness = |sample: u16| stretch.apply(sample.into()).clamp(0.0, 1.0) as f32;
        let pixels = samples.into_iter().map(brightness).collect();
        Self::from_planes(width, height, Depth::Sixteen, pixels).with_stretch(Some(stretch))
    }

    pub(crate) fn from_planes(width: usize, height: usize, depth: Depth, pixels: Vec<f32>) -> Self {
        let area = width * height;
        assert!(
            area > 0 && (pixels.len() == area || pixels.len() == 3 * area),
            "{} samples do not make an image of {width}×{height}",
            pixels.len()
        );
        Self {
            width,
            height,
            depth,
            pixels,
            stretch: None,
        }
    }

    pub(super) fn with_stretch(self, stretch: Option<Stretch>) -> Self {
        Self { stretch, ..self }
    }

    pub(super) fn from_decoded(decoded: DynamicImage) -> Self {
        let (width, height) = (decoded.width() as usize, decoded.height() as usize);
        match decoded {
            DynamicImage::ImageLuma8(samples) => Self::from_u8(width, height, 1, &samples),
            DynamicImage::ImageLumaA8(samples) => Self::from_u8(width, height, 2, &samples),
            DynamicImage::ImageRgb8(samples) => Self::from_u8(width, height, 3, &samples),
            DynamicImage::ImageRgba8(samples) => Self::from_u8(width, height, 4, &samples),
            DynamicImage::ImageLuma16(samples) => Self::from_u16(width, height, 1, &samples),
            DynamicImage::ImageLumaA16(samples) => Self::from_u16(width, height, 2, &samples),
            DynamicImage::ImageRgb16(samples) => Self::from_u16(width, height, 3, &samples),
            // JPEG and PNG decode to no other type except 16-bit RGBA.
            other => Self::from_u16(width, height, 4, &other.into_rgba16()),
        }
    }

    /// Returns the width in pixels; at least 1.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns the height in pixels; at least 1.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Returns 1 for a grey image and 3 for red, green, blue.
    pub fn channels(&self) -> usize {
        self.pixels.len() / (self.width * self.height)
    }

    /// Returns the brightness of each pixel, from 0 to 1.
    ///
    /// # Shapes
    ///
    /// - output: `[channels, height, width]`, flat
    pub fn pixels(&self) -> &[f32] {
        &self.pixels
    }

    pub(crate) fn planes(&self) -> impl Iterator<Item = &[f32]> + Clone {
        self.pixels.chunks_exact(self.width * self.height)
    }

    pub(crate) fn planes_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.pixels.chunks_exact_mut(self.width * self.height)
    }

    pub(crate) fn pixels_mut(&mut self) -> &mut [f32] {
        &mut self.pixels
    }

    pub(crate) fn depth(&self) -> Depth {
        self.depth
    }

    /// Returns the stretch of grey levels that was used for a file without a window.
    pub(crate) fn stretch(&self) -> Option<Stretch> {
        self.stretch
    }
}

/// Converts YCbCr to RGB: BT.601 with full range (ITU-T T.871, section 7; DICOM PS3.3, section
/// C.7.6.3.1.2).
pub(crate) fn ycbcr_to_rgb(pixel: [u8; 3]) -> [u8; 3] {
    let [luma, blue, red] = pixel.map(f32::from);
    let (blue, red) = (blue - 128.0, red - 128.0);
    let colours = [
        luma + 1.402 * red,
        luma - 0.344_136 * blue - 0.714_136 * red,
        luma + 1.772 * blue,
    ];
    // Casts saturate.
    colours.map(|colour| colour.round() as u8)
}

/// Deinterleaves samples into planes: one if all colours are equal, else three.
fn planes<T: Copy + PartialEq>(
    width: usize,
    height: usize,
    samples_per_pixel: usize,
    samples: &[T],
) -> Vec<T> {
    assert!(
        (1..=4).contains(&samples_per_pixel),
        "{samples_per_pixel} samples per pixel"
    );
    assert_eq!(
        samples.len(),
        width * height * samples_per_pixel,
        "samples of an image of {width}×{height}×{samples_per_pixel}"
    );
    if samples_per_pixel == 1 {
        return samples.to_vec();
    }
    let coloured = samples_per_pixel >= 3
        && samples
            .chunks_exact(samples_per_pixel)
            .any(|pixel| pixel[0] != pixel[1] || pixel[1] != pixel[2]);
    let channels = if coloured { 3 } else { 1 };
    let plane = |channel| samples.iter().skip(channel).step_by(samples_per_pixel);
    (0..channels).flat_map(plane).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_has_one_plane_and_colour_three() {
        let grey = Radiograph::from_u8(2, 1, 3, &[0, 0, 0, 255, 255, 255]);
        assert_eq!((grey.channels(), grey.pixels()), (1, &[0.0, 1.0][..]));
        let colour = Radiograph::from_u8(2, 1, 3, &[255, 0, 0, 0, 255, 255]);
        assert_eq!(colour.channels(), 3);
        assert_eq!(colour.pixels(), [1.0, 0.0, 0.0, 1.0, 0.0, 1.0]);
    }

    #[test]
    fn alpha_is_ignored() {
        let plain = Radiograph::from_u8(2, 1, 1, &[10, 20]);
        assert_eq!(Radiograph::from_u8(2, 1, 2, &[10, 0, 20, 255]), plain);
        assert_eq!(
            Radiograph::from_u8(2, 1, 4, &[10, 10, 10, 7, 20, 20, 20, 9]),
            plain
        );
    }

    #[test]
    fn sixteen_bit_samples_are_stretched_from_black_to_white() {
        // 12 of 16 bits, not starting at 0.
        let mut samples = vec![100; 500];
        samples.extend([4095; 500]);
        samples[0] = 2097;
        let image = Radiograph::from_u16(1000, 1, 1, &samples);
        assert_eq!((image.pixels()[1], image.pixels()[999]), (0.0, 1.0));
        assert!((image.pixels()[0] - 1997.0 / 3995.0).abs() < 1e-6);
    }

    #[test]
    fn a_blank_image_is_black_and_not_nan() {
        for level in [0, 4095, u16::MAX] {
            let image = Radiograph::from_u16(2, 2, 1, &[level; 4]);
            assert_eq!(image.pixels(), [0.0; 4]);
        }
    }
}
