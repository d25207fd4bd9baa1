//! From a [`Radiograph`] to a PNG.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageResult};

use super::Radiograph;

impl Radiograph {
    /// Returns the image as a PNG file of 8 bits, grey or colour.
    pub(crate) fn to_png(&self) -> ImageResult<Vec<u8>> {
        let area = self.width * self.height;
        // Values are within 0 to 1, so that the cast only cuts off the half that was added.
        let level = |value: f32| (value * 255.0 + 0.5) as u8;
        let channels = self.channels();
        let samples: Vec<u8> = (0..area * channels)
            .map(|i| level(self.pixels[i % channels * area + i / channels]))
            .collect();
        let color = match channels {
            1 => ExtendedColorType::L8,
            _ => ExtendedColorType::Rgb8,
        };
        let mut bytes = Vec::new();
        PngEncoder::new(&mut bytes).write_image(
            &samples,
            self.width as u32,
            self.height as u32,
            color,
        )?;
        Ok(bytes)
    }
}
